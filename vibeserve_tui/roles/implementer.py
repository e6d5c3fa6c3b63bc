"""The implementer: a fresh copy of the parent's tree goes to the agent, and what comes back is committed as an attempt.

The commit is the truth about what was changed; the agent's own account of it is only shown beside it. Recipes are
applied by the playbook whoever plans: that needs no model.
"""

from __future__ import annotations

import asyncio
import sys

from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import AgentRequest, Brief, BuildFacts, Role, Voice, load_voice
from vibeserve_tui.agents.replies import ImplReport, LocalCheck
from vibeserve_tui.agents.toolbox.leftovers import remove_caches
from vibeserve_tui.errors import AgentError, WorkspaceError
from vibeserve_tui.roles.briefing import Briefing, composition
from vibeserve_tui.roles.conversation import ask
from vibeserve_tui.roles.diff_lines import changed_lines
from vibeserve_tui.roles.filing import file_drafts
from vibeserve_tui.roles.prompting import render
from vibeserve_tui.roles.standing import hypothesis_in_words, standing, tree_in_words
from vibeserve_tui.roles.workplace import Commission, Workplace
from vibeserve_tui.round import Work, commit_attempt
from vibeserve_tui.state.run import Run


class Implementer:
    def __init__(self, run: Run, voice: Voice, briefing: Briefing, workplace: Workplace | None = None) -> None:
        self._run = run
        self._voice = voice
        self._briefing = briefing
        self._workplace = workplace
        self._playbook = load_voice("playbook")

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
        writes = task.kind == "agent"
        brief = self._brief(self._workplace, work) if self._workplace and writes else None
        voice = self._voice if writes or not self._workplace else self._playbook
        request = AgentRequest(Role.IMPLEMENTER, facts, ImplReport, brief)
        report = await ask(run, voice, request, ImplReport, task=task.title)
        if report.gave_up:
            raise AgentError(f"the implementer gave up: {report.gave_up}")
        await asyncio.to_thread(remove_caches, run.dir.workspace)
        if self._workplace and writes:
            await self._check(self._workplace, report.local_checks)
        committed = await asyncio.to_thread(self.commit, work, report)
        file_drafts(run, report.follow_ups, by="implementer")
        return committed

    def _brief(self, workplace: Workplace, work: Work) -> Brief:
        run, record = self._run, self._run.state.rounds[work.task.parent]
        left = run.state.rounds_left
        seconds = 60 * run.state.max_minutes - run.active_s
        words = render(
            "implementer",
            task=work.task,
            hypothesis=hypothesis_in_words(work.task.hypothesis),
            feedback=work.feedback,
            parent={
                "number": record.number,
                "title": record.task.title,
                "recipes": ", ".join(record.skills) or "none",
                "files": tree_in_words(run.store, work.parent),
            },
            standing=standing(run.state, rounds_left=left, seconds_left=seconds),
        )
        commission = Commission(
            Role.IMPLEMENTER,
            self._voice,
            words,
            run.dir.workspace,
            reads=work.task.reads,
            recipes=workplace.recipes(rounds_left=left, seconds_left=seconds),
            rehearsal=workplace.rehearsal(run.dir.workspace, f"{work.round:03d}/{work.attempt}"),
        )
        return workplace.brief(commission)

    async def _check(self, workplace: Workplace, checks: tuple[LocalCheck, ...]) -> None:
        """The implementer's own checks, before the judge is troubled. Raises WorkspaceError for the first that fails."""
        for check in checks:
            argv = tuple(sys.executable if word == "{python}" else word for word in check.argv)
            result = await workplace.run_read_only(self._run.dir.workspace, argv, check.timeout_s)
            output = (result.stdout + result.stderr).decode("utf-8", "replace").strip()
            ok = result.returncode == 0 and result.killed is None
            call = ev.ToolCall(
                name="local_check", arguments=check.name, ok=ok, output=output[-4000:], took_s=round(result.wall_s, 2)
            )
            self._run.emit(ev.ToolUsed(role="implementer", call=call))
            if not ok:
                raise WorkspaceError(
                    f"its own check {check.name!r} fails: {(output.splitlines() or ['it says nothing'])[-1]}"
                )

    def commit(self, work: Work, report: ImplReport) -> ev.AttemptCommitted:
        """The workspace as an attempt, whoever worked in it. Raises WorkspaceError when nothing was changed."""
        run = self._run
        started = run.state.in_flight.started_wall if run.state.in_flight else run.state.ts_wall
        message = f"round {work.round}: {work.task.title}\n\n{report.summary}\n\n{_trailers(work, report)}"
        done = commit_attempt(run, work, message=message, when=int(started))
        if done.tree == run.store.tree_of(work.parent):
            raise WorkspaceError("the attempt changed nothing")
        present = composition(run.store, done.commit, work.round).recipes
        return done.model_copy(
            update={
                "summary": _account(report, self._unfounded(work, done.commit, report)),
                "skills": tuple(choice.recipe for choice in present),
            }
        )

    def _unfounded(self, work: Work, commit: str, report: ImplReport) -> str:
        """Where the account differs from the commit."""
        changed = changed_lines(self._run.store.diff(work.parent, commit))
        claimed = [note.path for note in report.changes if note.path not in changed]
        return f"(says that it changed {', '.join(claimed)}: it did not)" if claimed else ""


def _account(report: ImplReport, unfounded: str) -> str:
    """What the implementer says of its work, and where that is not so."""
    counter = f"counter {report.activation_added}" if report.activation_added else ""
    return "\n".join(filter(None, (report.summary, counter, report.deviations, unfounded)))


def _trailers(work: Work, report: ImplReport) -> str:
    trailers = {"VibeServe-Round": str(work.round), "VibeServe-Attempt": str(work.attempt)}
    trailers |= {"VibeServe-Skill": work.task.skill} if work.task.skill else {}
    trailers |= {"VibeServe-Issue": work.task.issue} if work.task.issue else {}
    trailers |= {"VibeServe-Read": ", ".join(report.skills_read)} if report.skills_read else {}
    return "\n".join(f"{name}: {value}" for name, value in trailers.items())
