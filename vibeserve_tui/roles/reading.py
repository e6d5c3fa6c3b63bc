"""The evaluator's reading: what figures and profile of a round say, told by a model or by the playbook's rules.

The reading refers to figures by id and the engine fills them in, so that no number in it is anybody's but the engine's.
"""

from __future__ import annotations

import asyncio
import shutil

from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import AgentRequest, Brief, PerfFacts, Role, Voice
from vibeserve_tui.agents.replies import IssueDraft, PerfReport, checked
from vibeserve_tui.errors import AgentError
from vibeserve_tui.roles.conversation import ask
from vibeserve_tui.roles.evidence import Evidence, evidence_of
from vibeserve_tui.roles.filing import file_drafts
from vibeserve_tui.roles.prompting import render
from vibeserve_tui.roles.standing import board_in_words
from vibeserve_tui.roles.workplace import Commission, Workplace
from vibeserve_tui.state.run import Run


class ProfileReader:
    def __init__(self, run: Run, voice: Voice, workplace: Workplace | None) -> None:
        self._run = run
        self._voice = voice
        self._workplace = workplace

    async def read(self, taken: ev.ProfileTaken, commit: str) -> None:
        """Journal the reading and file what it proposes; a profile that nobody could read costs a warning."""
        evidence = evidence_of(self._run.state, taken.round)
        folder = self._run.dir.checkouts / f"reading-{commit[:12]}"
        try:
            brief = await self._brief(self._workplace, taken, commit, evidence) if self._workplace else None
            schema = checked(PerfReport, lambda report: _faults(report, evidence)) if brief else PerfReport
            request = AgentRequest(Role.EVALUATOR, PerfFacts(taken), schema, brief)
            report = await ask(self._run, self._voice, request, PerfReport, task="read the profile")
        except AgentError as error:
            self._run.emit(ev.Warned(text=f"the profile of round {taken.round} was not read: {error}"))
            return
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        if brief is not None:
            self._tell(report, evidence)

    async def _brief(self, workplace: Workplace, taken: ev.ProfileTaken, commit: str, evidence: Evidence) -> Brief:
        run, record = self._run, self._run.state.rounds[taken.round]
        folder = run.dir.checkouts / f"reading-{commit[:12]}"
        await asyncio.to_thread(run.store.checkout, commit, folder)
        words = render(
            "evaluator",
            number=taken.round,
            title=record.task.title,
            focus=record.task.profile_focus,
            evidence=evidence,
            profile=f"{taken.tool}, {taken.quality}; hints: {', '.join(taken.hints) or 'none'}",
            board=board_in_words(run.state),
        )
        rehearsal = workplace.rehearsal(folder, f"{taken.round:03d}/reading")
        return workplace.brief(Commission(Role.EVALUATOR, self._voice, words, folder, rehearsal=rehearsal))

    def _tell(self, report: PerfReport, evidence: Evidence) -> None:
        limits = "; ".join(f"{level}: {what}" for level, what in report.limiting_resource.items())
        hints = ", ".join(f"{hint.code} ({' '.join(hint.evidence)})" for hint in report.hints)
        parts = [
            f"bottleneck {report.bottleneck}{f'; {limits}' if limits else ''}",
            report.reading,
            f"hints: {hints}" if hints else "",
            f"next profile: {report.next_profile}" if report.next_profile else "",
        ]
        said = evidence.filled("\n".join(filter(None, parts)))
        self._run.emit(ev.AgentSaid(role="evaluator", text=said))
        file_drafts(self._run, report.issues, by="evaluator")


def _faults(report: PerfReport, evidence: Evidence) -> list[str]:
    unknown = evidence.unknown(name for hint in report.hints for name in hint.evidence)
    faults = [f"there is no evidence {', '.join(unknown)}; use the ids of the prompt"] if unknown else []
    return faults + [
        f"issue {issue.title!r} lacks {missing}" for issue in report.issues if (missing := _missing(issue))
    ]


def _missing(issue: IssueDraft) -> str:
    kinds = {
        "code_evidence": issue.code_evidence, "metric_evidence": issue.metric_evidence,
        "profile_evidence": issue.profile_evidence,
    }  # fmt: skip
    return ", ".join(name for name, text in kinds.items() if not text)
