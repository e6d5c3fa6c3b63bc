"""The issue board: what is being done, what waits, what is blocked and why, what is done."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message

from vibeserve_tui.events import Issue, IssueStatus
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import Ink, Line, Span, fit, spread
from vibeserve_tui.tui.panes.pane import Drawing, Pane, empty
from vibeserve_tui.tui.view import RunView

ORDER = (
    IssueStatus.DOING, IssueStatus.OPEN, IssueStatus.BLOCKED, IssueStatus.DONE, IssueStatus.PARKED, IssueStatus.ABANDONED,
)  # fmt: skip
INKS = {
    IssueStatus.DOING: Ink.ACCENT,
    IssueStatus.OPEN: Ink.PLAIN,
    IssueStatus.BLOCKED: Ink.BAD,
    IssueStatus.DONE: Ink.MUTED,
    IssueStatus.PARKED: Ink.MUTED,
    IssueStatus.ABANDONED: Ink.MUTED,
}


def in_order(issues: list[Issue]) -> list[Issue]:
    """By status, then priority; done ones with the latest round first."""

    def place(issue: Issue) -> tuple[int, int, int, str]:
        finished = issue.status in (IssueStatus.DONE, IssueStatus.PARKED, IssueStatus.ABANDONED)
        latest = -max(issue.rounds, default=0) if finished else 0
        return ORDER.index(issue.status), latest, issue.priority, issue.id.rjust(8)

    return sorted(issues, key=place)


def draw_issue(issue: Issue, width: int) -> Line:
    """One line: sign, priority, id, title with the reason it is not done, and its last round."""
    text = f"{issue.title}: {issue.mechanism}" if issue.mechanism else issue.title
    ink = Ink.PLAIN if issue.status in (IssueStatus.DOING, IssueStatus.OPEN, IssueStatus.BLOCKED) else Ink.MUTED
    left = (
        Span(f"{glyphs.ISSUES[issue.status]} ", INKS[issue.status]),
        Span(f"P{issue.priority} {fit(issue.id, 5)} ", Ink.MUTED),
        Span(text, ink),
    )
    rounds = f"r{max(issue.rounds)}" if issue.rounds else ""
    return spread(left, (Span(rounds, Ink.MUTED),), width)


class BoardPane(Pane):
    digit, label = "4", "Board"
    views = frozenset({"board"})

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._issues: list[Issue] = []
        self._chosen = ""

    @dataclass
    class Opened(Message):
        """The operator wants to read this issue."""

        issue: Issue

    @property
    def chosen(self) -> Issue | None:
        """The issue under the cursor."""
        return next((issue for issue in self._issues if issue.id == self._chosen), None)

    def draw(self, view: RunView) -> Drawing:
        self._issues = in_order(list(view.state.issues.values()))
        if view.filter:
            self._issues = [issue for issue in self._issues if view.filter in f"{issue.id} {issue.title}".lower()]
        if not self._issues:
            text = "No issues yet: the orchestrator files them after round 0. i adds one."
            return Drawing(empty(f'Nothing matches "{view.filter}". esc clears.' if view.filter else text), "Board")
        ids = [issue.id for issue in self._issues]
        self._chosen = self._chosen if self._chosen in ids else ids[0]
        lines = [draw_issue(issue, self.text_width) for issue in self._issues]
        return Drawing(lines, "Board", self._counts(), cursor=ids.index(self._chosen))

    def _counts(self) -> str:
        counts = {status: sum(issue.status is status for issue in self._issues) for status in ORDER}
        dropped = counts.pop(IssueStatus.PARKED) + counts.pop(IssueStatus.ABANDONED)
        parts = [f"{count} {status}" for status, count in counts.items() if count]
        return " · ".join([*parts, f"{dropped} dropped"] if dropped else parts)

    def select(self, index: int) -> None:
        super().select(index)
        if self.cursor is not None and self.cursor < len(self._issues):
            self._chosen = self._issues[self.cursor].id
