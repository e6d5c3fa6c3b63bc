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
