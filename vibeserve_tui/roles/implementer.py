"""The implementer: a fresh copy of the parent's tree goes to the agent, and what comes back is committed as an attempt.

The commit is the truth about what was changed; the agent's own account of it is only shown beside it.
"""

from __future__ import annotations

import asyncio

from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import AgentRequest, BuildFacts, Role, Voice
from vibeserve_tui.agents.replies import ImplReport
from vibeserve_tui.errors import WorkspaceError
from vibeserve_tui.roles.briefing import Briefing, composition
from vibeserve_tui.roles.conversation import ask
from vibeserve_tui.round import Work
from vibeserve_tui.state.run import Run


class Implementer:
    def __init__(self, run: Run, voice: Voice, briefing: Briefing) -> None:
        self._run = run
        self._voice = voice
        self._briefing = briefing

    async def implement(self, work: Work) -> ev.AttemptCommitted:
        run, task = self._run, work.task
        seed = run.dir.checkouts / "seed"
        await asyncio.to_thread(run.store.checkout, work.parent, run.dir.workspace)
        if task.rebuild:
            await asyncio.to_thread(run.store.checkout, run.state.rounds[0].commit, seed)
        facts = BuildFacts(
            book=self._briefing.book,
            facts=self._briefing.facts(run.state),
            task=task,
            workspace=run.dir.workspace,
            seed=seed,
            feedback=work.feedback,
        )
        request = AgentRequest(Role.IMPLEMENTER, facts, ImplReport)
        report = await ask(run, self._voice, request, ImplReport, task=task.title)
        return await asyncio.to_thread(self._commit, work, report)

    def _commit(self, work: Work, report: ImplReport) -> ev.AttemptCommitted:
        run, ref = self._run, f"attempts/{work.round:03d}/{work.attempt}"
        started = run.state.in_flight.started_wall if run.state.in_flight else run.state.ts_wall
        message = f"round {work.round}: {work.task.title}\n\n{report.summary}\n\n{_trailers(work)}"
        commit = run.store.snapshot(run.dir.workspace, ref=ref, parent=work.parent, message=message, when=int(started))
        if commit.tree == run.store.tree_of(work.parent):
            raise WorkspaceError("the attempt changed nothing")
        size = run.store.diff_size(work.parent, commit.sha)
        present = composition(run.store, commit.sha, work.round).recipes
        return ev.AttemptCommitted(
            round=work.round,
            attempt=work.attempt,
            commit=commit.sha,
            tree=commit.tree,
            parent=work.parent,
            ref=f"refs/{ref}",
            files_changed=size.files,
            lines_added=size.added,
            lines_removed=size.removed,
            summary=report.summary,
            skills=tuple(choice.recipe for choice in present),
        )


def _trailers(work: Work) -> str:
    trailers = {"VibeServe-Round": str(work.round), "VibeServe-Attempt": str(work.attempt)}
    trailers |= {"VibeServe-Skill": work.task.skill} if work.task.skill else {}
    trailers |= {"VibeServe-Issue": work.task.issue} if work.task.issue else {}
    return "\n".join(f"{name}: {value}" for name, value in trailers.items())
