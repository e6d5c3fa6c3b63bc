"""Drafts of issues that travel in replies, filed on the board: capped by the schema, and never twice."""

from __future__ import annotations

from collections.abc import Iterable

from vibeserve_tui import events as ev
from vibeserve_tui.agents.replies import IssueDraft
from vibeserve_tui.state import issues
from vibeserve_tui.state.run import Run


def issue_of(draft: IssueDraft, by: str) -> ev.Issue:
    return ev.Issue(
        id="",
        type=draft.type,
        title=draft.title,
        status=ev.IssueStatus.BLOCKED if draft.blocked_because else ev.IssueStatus.OPEN,
        priority=draft.priority,
        body=draft.body,
        mechanism=draft.blocked_because,
        skill=draft.skill,
        filed_by=by,
    )


def file_drafts(run: Run, drafts: Iterable[IssueDraft], *, by: str) -> None:
    """Those whose title is on the board already are dropped."""
    for draft in drafts:
        filed = issues.file_issue(run.state.issues, issue_of(draft, by))
        if filed:
            run.emit(filed)


def issue_for(run: Run, task: ev.TaskPlan, named: str = "") -> ev.Issue:
    """The issue that the task belongs to; filed now if there is none."""
    board = run.state.issues
    same = (issue for issue in board.values() if issue.title == task.title and issue.skill == task.skill)
    found = board.get(named) or next(same, None)
    if found is not None:
        return found
    perf = ev.IssueType.PERF
    issue = ev.Issue(id=issues.next_id(board), type=perf, title=task.title, skill=task.skill, body=task.instructions)
    run.emit(ev.IssueChanged(issue=issue))
    return issue
