"""One round: implement, judge, evaluate, decide, and keep only what is right.

It gets one task and ends in one `RoundRecord`. It never decides what to try next (a policy does), never measures or
judges itself (the roles do) and never draws. Each step is recorded before the next one relies on it, so a round that a
crash interrupted goes on with the step that was in flight.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from vibeserve_tui import events as ev
from vibeserve_tui.errors import AgentError, WorkspaceError
from vibeserve_tui.state.run import Run


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt at a task: where it starts from and what was wrong with the last one."""

    round: int
    attempt: int
    task: ev.TaskPlan
    parent: str
    """Commit the attempt starts from."""
    feedback: str = ""


def commit_attempt(run: Run, work: Work, *, message: str, when: int) -> ev.AttemptCommitted:
    """The workspace as the commit of this attempt, whoever changed it; `when` in seconds of the epoch."""
    ref = f"attempts/{work.round:03d}/{work.attempt}"
    commit = run.store.snapshot(run.dir.workspace, ref=ref, parent=work.parent, message=message, when=when)
    size = run.store.diff_size(work.parent, commit.sha)
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
    )


@dataclass(frozen=True, slots=True)
class Decision:
    action: ev.Action
    by: str
    comment: str = ""


class Implementer(Protocol):
    async def implement(self, work: Work) -> ev.AttemptCommitted:
        """Change the parent's tree and commit the attempt. Raises AgentError or WorkspaceError when nothing came of it."""


class Judge(Protocol):
    async def judge(self, work: Work, commit: str) -> ev.Verdict:
        """Is the attempt right? Decided by tests, in a fresh context; the implementer's words play no part."""


class Evaluator(Protocol):
    async def evaluate(self, number: int, champion: str, candidate: str) -> ev.Measured:
        """Is the candidate faster? Champion and candidate are measured now, beside one another."""


class Operator(Protocol):
    async def decide(self, number: int, default: ev.Default) -> Decision:
        """The person, or the approval mode in their place."""


@dataclass(frozen=True, slots=True)
class Crew:
    implementer: Implementer
    judge: Judge
    evaluator: Evaluator
    operator: Operator


async def play_round(run: Run, crew: Crew, number: int, task: ev.TaskPlan, *, attempts: int) -> ev.RoundRecord:
    """Try the task until the judge accepts an attempt or the attempts run out; measure what passed; let it be decided."""
    parent = commit_of(run, task.parent)
    feedback, attempt = _where_it_stood(run)
    while attempt <= attempts:
        work = Work(number, attempt, task, parent, feedback)
        committed, verdict = await _try_once(run, crew, work)
        if not verdict.passed:
            # The next attempt starts from the parent again: a rejected tree hides what was wrong with it.
            feedback, attempt = verdict.reason, attempt + 1
            continue
        assert committed is not None
        measured = await _measure(run, crew, number, committed.commit)
        decision = await _decide(run, crew, number, measured)
        if decision.action == "retry" and attempt < attempts:
            feedback, attempt = f"the operator asks: {decision.comment}", attempt + 1
            continue
        reason = measured.reason if decision.by == "gate" else f"{decision.by}: {decision.comment or decision.action}"
        return _record(run, outcome_of(measured, decision), reason, decision.by)
    failures = run.state.in_flight.failures if run.state.in_flight else []
    return _record(run, ev.Outcome.FAILED, failures[-1] if failures else "no attempt passed", "judge")


async def _try_once(run: Run, crew: Crew, work: Work) -> tuple[ev.AttemptCommitted | None, ev.Verdict]:
    here = run.state.in_flight
    assert here is not None
    if here.attempt < work.attempt:
        run.emit(ev.AttemptStarted(round=work.round, attempt=work.attempt))
    if here.verdict is not None:
        return here.committed, here.verdict
    try:
        committed = here.committed or await _implement(run, crew, work)
        run.emit(ev.PhaseStarted(phase=ev.Phase.JUDGE, round=work.round, detail=work.task.title))
        verdict = await crew.judge.judge(work, committed.commit)
    except (AgentError, WorkspaceError) as error:
        committed = None
        verdict = ev.Verdict(outcome="fail", reason=str(error), first_failure="implement")
    run.emit(ev.AttemptJudged(round=work.round, attempt=work.attempt, verdict=verdict))
    return committed, verdict


async def _implement(run: Run, crew: Crew, work: Work) -> ev.AttemptCommitted:
    run.emit(ev.PhaseStarted(phase=ev.Phase.IMPLEMENT, round=work.round, detail=work.task.title))
    committed = await crew.implementer.implement(work)
    run.emit(committed)
    return committed


async def _measure(run: Run, crew: Crew, number: int, candidate: str) -> ev.Measured:
    here = run.state.in_flight
    assert here is not None
    if here.measured is None:
        run.emit(ev.PhaseStarted(phase=ev.Phase.MEASURE, round=number, detail=here.task.title))
        measured = await crew.evaluator.evaluate(number, run.state.champion_commit, candidate)
        run.emit(ev.MeasurementFinished(round=number, measured=measured))
        return measured
    return here.measured


async def _decide(run: Run, crew: Crew, number: int, measured: ev.Measured) -> Decision:
    here = run.state.in_flight
    assert here is not None
    if here.decision is not None:
        return Decision(here.decision.action, here.decision.by, here.decision.comment)
    run.emit(ev.PhaseStarted(phase=ev.Phase.DECIDE, round=number))
    return await crew.operator.decide(number, "approve" if measured.outcome == "accepted" else "revert")


def commit_of(run: Run, number: int) -> str:
    """The commit that a round left behind, whatever became of it."""
    record = run.state.rounds.get(number)
    if record is None or not record.commit:
        raise WorkspaceError(f"round {number} left no commit to start from")
    return record.commit


def _where_it_stood(run: Run) -> tuple[str, int]:
    """Feedback and attempt to go on with: 1 for a fresh round, the interrupted one after a crash."""
    here = run.state.in_flight
    assert here is not None
    return here.feedback, max(1, here.attempt)


def _record(run: Run, outcome: ev.Outcome, reason: str, decided_by: str) -> ev.RoundRecord:
    """The round as recorded so far, closed with its outcome."""
    here = run.state.in_flight
    assert here is not None
    last = next((attempt for attempt in reversed(run.state.attempts) if attempt.round == here.number), None)
    size = last or ev.AttemptCommitted(round=here.number, attempt=0, commit="", tree="", parent="", ref="")
    return ev.RoundRecord(
        number=here.number,
        task=here.task,
        outcome=outcome,
        reason=reason,
        attempts=here.attempt,
        commit=size.commit,
        tree=size.tree,
        verdict=here.verdict,
        measured=here.measured,
        fate="champion" if outcome is ev.Outcome.KEPT else "discarded",
        hypothesis_outcome=hypothesis_outcome(here.task.hypothesis, here.measured),
        files_changed=size.files_changed,
        lines_added=size.lines_added,
        lines_removed=size.lines_removed,
        skills=size.skills,
        took_s=round(time.time() - here.started_wall, 1),
        decided_by=decided_by,
    )


def outcome_of(measured: ev.Measured, decision: Decision) -> ev.Outcome:
    """How gate and operator together end a round: the operator may force either way, wrong and void stay what they are."""
    if measured.fault:
        return ev.Outcome.FAILED
    if decision.action == "approve":
        return ev.Outcome.KEPT
    if measured.outcome == "void":
        return ev.Outcome.VOID
    if measured.outcome == "indecisive" and decision.by == "gate":
        return ev.Outcome.INDECISIVE
    return ev.Outcome.REVERTED


def hypothesis_outcome(hypothesis: ev.Hypothesis | None, measured: ev.Measured | None) -> ev.HypothesisOutcome:
    """The claim's fate, apart from the candidate's: the interval against the minimum effect that was claimed."""
    if measured is None:
        return "implementation_failed"
    figure = measured.headline
    if hypothesis is None or figure is None or figure.ci_low is None or figure.ci_high is None:
        return "not_active" if measured.reason.startswith("not active") else "inconclusive"
    if figure.ci_low >= hypothesis.minimum_effect:
        return "proven"
    if figure.ci_high < hypothesis.minimum_effect:
        return "disproven"
    return "inconclusive"
