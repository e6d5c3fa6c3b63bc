"""The reviewer: a model's look at a change that passed every test. It may veto and nothing else.

Each review has a fresh context: task, diff and what the tests said, never the implementer's words or an earlier review.
A veto counts only with a blocking finding whose file and line are in the diff. No review, or one that cannot be read,
leaves the tests' verdict as it is.
"""

from __future__ import annotations

import asyncio
import shutil

from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import AgentRequest, ReviewFacts, Role, Voice
from vibeserve_tui.agents.replies import Finding, JudgeReport
from vibeserve_tui.agents.toolbox.outputs import Outputs
from vibeserve_tui.errors import AgentError
from vibeserve_tui.roles.conversation import ask
from vibeserve_tui.roles.diff_lines import changed_lines, shows
from vibeserve_tui.roles.filing import file_drafts
from vibeserve_tui.roles.prompting import render
from vibeserve_tui.roles.workplace import Commission, Workplace
from vibeserve_tui.round import Work
from vibeserve_tui.state.run import Run

STEP, TITLE = "review", "a reviewer's veto"
DIFF_LIMIT = 40_000


class Reviewer:
    def __init__(self, run: Run, voice: Voice, workplace: Workplace) -> None:
        self._run = run
        self._voice = voice
        self._workplace = workplace
        self._seen: set[str] = set()
        """Trees that were reviewed: none is vetoed twice, and none costs twice."""

    async def reviewed(self, work: Work, verdict: ev.Verdict) -> ev.Verdict:
        """The verdict with the review as its last step. Recipes come reviewed; only what an agent wrote is looked at."""
        if not verdict.passed or work.task.kind != "agent" or work.round == 0 or verdict.tree in self._seen:
            return verdict
        self._seen.add(verdict.tree)
        diff = await asyncio.to_thread(self._run.store.diff, work.parent, verdict.commit)
        try:
            report = await self._ask(work, verdict, diff)
        except AgentError as error:
            self._run.emit(ev.Warned(text=f"round {work.round} was not reviewed: {error}"))
            return verdict
        file_drafts(self._run, [report.bug] if report.bug else [], by="judge")
        return self._with_review(verdict, report, diff)

    async def _ask(self, work: Work, verdict: ev.Verdict, diff: str) -> JudgeReport:
        folder = self._run.dir.checkouts / f"review-{verdict.commit[:12]}"
        await asyncio.to_thread(self._run.store.checkout, verdict.commit, folder)
        outputs = Outputs(self._run.dir.put_blob)
        shown = outputs.cut(diff, DIFF_LIMIT)
        words = render("judge", task=work.task, battery=battery_in_words(verdict), diff=shown)
        label = f"{work.round:03d}/{work.attempt}/judge"
        rehearsal = self._workplace.rehearsal(folder, label)
        commission = Commission(Role.JUDGE, self._voice, words, folder, rehearsal=rehearsal, outputs=outputs)
        request = AgentRequest(Role.JUDGE, ReviewFacts(work.task, diff), JudgeReport, self._workplace.brief(commission))
        try:
            return await ask(self._run, self._voice, request, JudgeReport, task=f"review {work.task.title}")
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _with_review(self, verdict: ev.Verdict, report: JudgeReport, diff: str) -> ev.Verdict:
        if report.verdict == "pass":
            return _plus_step(verdict, passed=True, detail=_remarks(report))
        placed = [
            f for f in report.findings if f.severity == "blocking" and shows(changed_lines(diff), f.path, f.lines)
        ]
        if not placed:
            self._run.emit(ev.Warned(text="a veto without a place in the diff was ignored"))
            return _plus_step(verdict, passed=True, detail="ignored: a veto whose findings are not in the diff")
        reason = "; ".join(map(_in_words, placed))
        suspicion = f" ({report.suspicion})" if report.suspicion else ""
        failed = _plus_step(verdict, passed=False, detail=reason)
        feedback = f"\n{report.feedback}" if report.feedback else ""
        update = {"outcome": "fail", "first_failure": STEP, "reason": f"veto{suspicion}: {reason}{feedback}"}
        return failed.model_copy(update=update)


def battery_in_words(verdict: ev.Verdict) -> str:
    lines = [
        f"{step.id} {step.title}: {'passed' if step.passed else 'failed'}, {step.detail}" for step in verdict.steps
    ]
    return "\n".join(lines) or "no step was recorded"


def _plus_step(verdict: ev.Verdict, *, passed: bool, detail: str) -> ev.Verdict:
    step = ev.JudgeStep(id=STEP, title=TITLE, passed=passed, detail=detail, tests=1)
    return verdict.model_copy(update={"steps": (*verdict.steps, step)})


def _in_words(finding: Finding) -> str:
    probe = f"; to see it: {finding.how_to_reproduce}" if finding.how_to_reproduce else ""
    return f"{finding.path}:{finding.lines[0]}-{finding.lines[1]} {finding.category}: {finding.claim}{probe}"


def _remarks(report: JudgeReport) -> str:
    """What a reviewer who lets a change pass has to say about it."""
    unmet = [f"not met: {one.text} ({one.evidence or 'no evidence'})" for one in report.criteria if not one.met]
    return "; ".join(filter(None, (report.feedback, *unmet, *map(_in_words, report.findings))))[:1000] or "no objection"
