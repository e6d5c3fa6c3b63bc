"""The issue-tracker policy: an orchestrator plans each round, the board and the memory keep what was learnt.

Every idea is an issue with a status; what did not work keeps its mechanism, so that it is neither forgotten nor tried
again for no reason. A neutral change may be spared when it opens the way to something better.
"""

from __future__ import annotations

from vibeserve_tui import events as ev
from vibeserve_tui.agents.replies import IssueDraft
from vibeserve_tui.roles.orchestrator import Orchestrator
from vibeserve_tui.state import issues, memory
from vibeserve_tui.state.run import Run


class Policy:
    def __init__(self, run: Run, orchestrator: Orchestrator) -> None:
        self._run = run
        self._orchestrator = orchestrator

    async def plan(self, *, rounds_left: int, seconds_left: float) -> ev.TaskPlan | str:
        reply = await self._orchestrator.plan(rounds_left=rounds_left, seconds_left=seconds_left)
        for draft in reply.backlog:
            self._file(draft)
        if reply.task is None:
            return reply.stop_reason or "the orchestrator has no further idea"
        issue = self._issue_for(reply.task)
        number = max(self._run.state.rounds, default=0) + 1
        self._run.emit(issues.start(issue, number))
        return reply.task.model_copy(update={"issue": issue.id})

    def fate(self, record: ev.RoundRecord) -> ev.RoundRecord:
        spared = record.outcome is not ev.Outcome.KEPT and self._orchestrator.spares(record)
        return record.model_copy(update={"fate": "prerequisite"}) if spared else record

    def observe(self, record: ev.RoundRecord) -> None:
        issue = self._run.state.issues.get(record.task.issue)
        if issue is not None:
            self._run.emit(_settled(issue, record))
        heading = _HEADINGS[record.outcome]
        self._run.note(heading, f"r{record.number} {record.task.title}: {_in_words(record)}")

    def _file(self, draft: IssueDraft) -> None:
        """File a draft once; a blocked one opens as soon as nothing blocks it any more, and the reverse."""
        known = next(
            (i for i in self._run.state.issues.values() if i.skill == draft.skill and i.title == draft.title), None
        )
        status = ev.IssueStatus.BLOCKED if draft.blocked_because else ev.IssueStatus.OPEN
        if known is None:
            fresh = ev.Issue(
                id="",
                type=draft.type,
                title=draft.title,
                status=status,
                priority=draft.priority,
                body=draft.body,
                mechanism=draft.blocked_because,
                skill=draft.skill,
            )
            filed = issues.file_issue(self._run.state.issues, fresh)
            if filed:
                self._run.emit(filed)
        elif known.status in (ev.IssueStatus.OPEN, ev.IssueStatus.BLOCKED) and known.filed_by == "orchestrator":
            changed = known.model_copy(
                update={"status": status, "mechanism": draft.blocked_because, "priority": draft.priority}
            )
            if changed != known:
                self._run.emit(ev.IssueChanged(issue=changed))

    def _issue_for(self, task: ev.TaskPlan) -> ev.Issue:
        """The issue that the task belongs to; filed now if there is none."""
        board = self._run.state.issues
        found = next(
            (i for i in board.values() if task.skill and i.skill == task.skill and i.title == task.title), None
        )
        if found is not None:
            return found
        filed = ev.IssueChanged(
            issue=ev.Issue(id=issues.next_id(board), type=ev.IssueType.PERF, title=task.title, skill=task.skill)
        )
        self._run.emit(filed)
        return filed.issue


_HEADINGS = {
    ev.Outcome.KEPT: memory.WORKS,
    ev.Outcome.REVERTED: memory.DEAD_ENDS,
    ev.Outcome.FAILED: memory.DEAD_ENDS,
    ev.Outcome.INDECISIVE: memory.UNCLEAR,
    ev.Outcome.VOID: memory.UNCLEAR,
}
_STATUS = {
    ev.Outcome.KEPT: ev.IssueStatus.DONE,
    ev.Outcome.REVERTED: ev.IssueStatus.ABANDONED,
    ev.Outcome.FAILED: ev.IssueStatus.ABANDONED,
    ev.Outcome.INDECISIVE: ev.IssueStatus.PARKED,
    ev.Outcome.VOID: ev.IssueStatus.PARKED,
}


def _settled(issue: ev.Issue, record: ev.RoundRecord) -> ev.IssueChanged:
    status = _STATUS[record.outcome]
    return issues.settle(issue, status, "" if status is ev.IssueStatus.DONE else _in_words(record))


def _in_words(record: ev.RoundRecord) -> str:
    """`+41.2 % [+39.0, +43.5], kept` or the reason why there is no figure."""
    figure = record.measured.headline if record.measured else None
    if figure is None or figure.ratio is None:
        return f"{record.outcome.value}: {record.reason}"
    gain = f"×{figure.ratio:.2f}"
    if figure.ci_low is not None and figure.ci_high is not None:
        gain += f" [{figure.ci_low:.2f}, {figure.ci_high:.2f}]"
    spared = ", spared because it opens the way to more" if record.fate == "prerequisite" else ""
    params = ", ".join(f"{name}={value}" for name, value in record.task.params.items())
    return (
        f"{gain} on {figure.metric} at {figure.level}, {record.outcome.value}{spared}{f' ({params})' if params else ''}"
    )
