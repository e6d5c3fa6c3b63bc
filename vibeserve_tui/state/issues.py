"""The issue board: what is still to do, what is being done, and why the rest was given up.

The board itself is part of `RunState`; this module only decides what may change and says it as events. Every issue has a
type (feature, bug, perf) and a status; blocked, parked and abandoned ones carry the mechanism that made them so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vibeserve_tui import events as ev
from vibeserve_tui.commands import EditIssue, NewIssue
from vibeserve_tui.errors import InputError, did_you_mean

NEEDS_MECHANISM = frozenset({ev.IssueStatus.BLOCKED, ev.IssueStatus.PARKED, ev.IssueStatus.ABANDONED})
_ORDER = {status: place for place, status in enumerate(ev.IssueStatus)}


def next_id(issues: Mapping[str, ev.Issue]) -> str:
    """`I-1`, `I-2`, … in the order of filing."""
    return f"I-{1 + max((int(name[2:]) for name in issues if name[2:].isdigit()), default=0)}"


def file_issue(issues: Mapping[str, ev.Issue], draft: ev.Issue) -> ev.IssueChanged | None:
    """The event that files a draft under the next id; None when an open one has the same title already."""
    if any(issue.title == draft.title and issue.status is not ev.IssueStatus.ABANDONED for issue in issues.values()):
        return None
    return ev.IssueChanged(issue=draft.model_copy(update={"id": next_id(issues)}))


def start(issue: ev.Issue, number: int) -> ev.IssueChanged:
    """The issue is being worked on in round `number`."""
    rounds = issue.rounds if number in issue.rounds else (*issue.rounds, number)
    return ev.IssueChanged(issue=issue.model_copy(update={"status": ev.IssueStatus.DOING, "rounds": rounds}))


def settle(issue: ev.Issue, status: ev.IssueStatus, mechanism: str = "") -> ev.IssueChanged:
    """The issue leaves `doing` (or the backlog) for good or for now; giving up needs a mechanism, not one bad number."""
    if status in NEEDS_MECHANISM and not mechanism:
        raise InputError(f"{issue.id} cannot become {status} without saying why", fix="say what makes it so")
    return ev.IssueChanged(issue=issue.model_copy(update={"status": status, "mechanism": mechanism}))


def from_operator(issues: Mapping[str, ev.Issue], command: NewIssue) -> ev.IssueChanged:
    draft = ev.Issue(
        id=next_id(issues),
        type=command.type,
        title=command.title,
        body=command.body,
        priority=command.priority,
        skill=command.skill,
        filed_by="operator",
    )
    return ev.IssueChanged(issue=draft)


def edited(issues: Mapping[str, ev.Issue], command: EditIssue) -> ev.IssueChanged:
    """The operator's edit. Raises InputError for an unknown issue or a give-up without its mechanism."""
    issue = issues.get(command.issue)
    if issue is None:
        raise InputError(f"there is no issue {command.issue!r}{did_you_mean(command.issue, issues)}")
    changes = command.model_dump(include={"title", "body", "status", "priority", "mechanism"}, exclude_none=True)
    changed = issue.model_copy(update=changes)
    if changed.status in NEEDS_MECHANISM and not changed.mechanism:
        raise InputError(
            f"{issue.id} cannot become {changed.status} without saying why", fix="edit the issue and name its mechanism"
        )
    return ev.IssueChanged(issue=changed)


def in_order(issues: Iterable[ev.Issue]) -> list[ev.Issue]:
    """As a board is read: doing first, then open by priority, then the rest; ties by age."""
    rank = {ev.IssueStatus.DOING: -1, ev.IssueStatus.BLOCKED: 1, ev.IssueStatus.DONE: 2}
    return sorted(
        issues,
        key=lambda issue: (
            rank.get(issue.status, 0 if issue.status is ev.IssueStatus.OPEN else 3 + _ORDER[issue.status]),
            issue.priority,
            int(issue.id[2:]) if issue.id[2:].isdecimal() else 0,
        ),
    )


def as_markdown(issues: Iterable[ev.Issue]) -> str:
    """The board as a file that a person can read (`views/issues.md`)."""
    lines = ["# Issues", "", "| id | type | status | P | rounds | title |", "|---|---|---|---|---|---|"]
    for issue in in_order(issues):
        rounds = ", ".join(map(str, issue.rounds)) or "–"
        title = issue.title + (f" – {issue.mechanism}" if issue.mechanism else "")
        lines.append(f"| {issue.id} | {issue.type} | {issue.status} | {issue.priority} | {rounds} | {title} |")
    return "\n".join(lines) + "\n"
