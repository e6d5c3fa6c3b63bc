"""The issue board: what is being done, what waits, what is blocked and why, what is done."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from textual.message import Message

from vibeserve_tui.events import Issue, IssueStatus
from vibeserve_tui.safe_text import clean_line
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import BLANK, Ink, Line, Span, fit, line, spread, width_of
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

COLUMNS: tuple[tuple[str, frozenset[IssueStatus]], ...] = (
    ("Doing", frozenset({IssueStatus.DOING})),
    ("Open", frozenset({IssueStatus.OPEN})),
    ("Blocked", frozenset({IssueStatus.BLOCKED})),
    ("Done and dropped", frozenset({IssueStatus.DONE, IssueStatus.PARKED, IssueStatus.ABANDONED})),
)
KANBAN_FROM = 100
"""Columns of the terminal from which cards beside one another say more than a list; only the zoomed pane is so wide."""
KANBAN_ROWS = 20
GAP, CARD_LINES = 2, 4


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


def described(issue: Issue) -> str:
    """All that is known of an issue, as Markdown; what nobody wrote is not made up."""
    rounds = ", ".join(f"r{number}" for number in issue.rounds)
    facts = (
        ("status", f"{glyphs.ISSUES[issue.status]} {issue.status}"),
        ("kind", f"{issue.type}, P{issue.priority}"),
        ("filed by", issue.filed_by),
        ("recipe", issue.skill),
        ("rounds", rounds or "none yet"),
        ("why", issue.mechanism),
    )
    head = "\n".join(f"- {name}: {value}" for name, value in facts if value)
    return f"{head}\n\n{issue.body or 'No description.'}"


def place_of(issue: Issue) -> int:
    """The kanban column of an issue, from the left."""
    return next(at for at, (_, statuses) in enumerate(COLUMNS) if issue.status in statuses)


def draw_kanban(issues: Sequence[Issue], chosen: str, width: int) -> list[Line]:
    """Four columns of cards: what is being worked on, what waits, what is blocked, what is over."""
    cells = (width - 3 * GAP) // len(COLUMNS)
    stacks: list[list[Line]] = []
    for at, (title, _) in enumerate(COLUMNS):
        here = [issue for issue in issues if place_of(issue) == at]
        stack = [line((fit(f"{title} {len(here)}", cells), Ink.BOLD)), line(("─" * cells, Ink.MUTED))]
        for issue in here:
            stack += [*_card(issue, issue.id == chosen, cells), BLANK]
        stacks.append(stack)
    height = max(map(len, stacks))
    return [_across([stack[y] if y < len(stack) else BLANK for stack in stacks], cells) for y in range(height)]


def _card(issue: Issue, chosen: bool, width: int) -> list[Line]:
    mark = Span(glyphs.CURSOR if chosen else " ", Ink.ACCENT)
    rounds = f"r{max(issue.rounds)}" if issue.rounds else ""
    head = (
        mark,
        Span(f"{glyphs.ISSUES[issue.status]} ", INKS[issue.status]),
        Span(f"P{issue.priority} {issue.id}", Ink.MUTED),
    )
    text = f"{issue.title}: {issue.mechanism}" if issue.mechanism else issue.title
    words = textwrap.wrap(clean_line(text), max(8, width - 2)) or [""]
    if len(words) > CARD_LINES:
        words = [*words[: CARD_LINES - 1], f"{words[CARD_LINES - 1][: width - 3]}{glyphs.ELLIPSIS}"]
    ink = Ink.BOLD if chosen else Ink.PLAIN if place_of(issue) < len(COLUMNS) - 1 else Ink.MUTED
    return [spread(head, (Span(rounds, Ink.MUTED),), width), *((mark, Span(f" {word}", ink)) for word in words)]


def _across(cards: Sequence[Line], cells: int) -> Line:
    spans: list[Span] = []
    for at, card in enumerate(cards):
        spans += [Span(" " * GAP if at else ""), *card, Span(" " * max(0, cells - width_of(card)))]
    return tuple(spans)


class BoardPane(Pane):
    digit, label = "4", "Board"
    filters = True
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

    @property
    def is_kanban(self) -> bool:
        """Whether there is room for the columns: the pane has the screen to itself, and the screen is wide."""
        return self.size.width >= KANBAN_FROM and self.size.height >= KANBAN_ROWS

    def draw(self, view: RunView) -> Drawing:
        self._issues = in_order(list(view.state.issues.values()))
        if view.filter:
            self._issues = [issue for issue in self._issues if view.filter in f"{issue.id} {issue.title}".lower()]
        if not self._issues:
            text = "No issues yet: the orchestrator files them after round 0. i adds one."
            return Drawing(
                empty(f'Nothing matches "{view.filter}". esc clears.' if view.filter else text, self.text_width),
                "Board",
            )
        ids = [issue.id for issue in self._issues]
        self._chosen = self._chosen if self._chosen in ids else ids[0]
        if self.is_kanban:
            return Drawing(draw_kanban(self._issues, self._chosen, self.text_width), "Board", self._counts())
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

    # ---- keys in columns, where no line is one issue -----------------------------------------------------------

    def action_move(self, step: int) -> None:
        if self.is_kanban:
            self._choose(self._at + step)
        else:
            super().action_move(step)

    def action_page(self, direction: int) -> None:
        """To the next column that holds something."""
        if not self.is_kanban:
            super().action_page(direction)
            return
        places = [place_of(issue) for issue in self._issues]
        here = places[self._at] if places else 0
        ahead = [at for at, place in enumerate(places) if (place - here) * direction > 0]
        if ahead:
            nearest = places[ahead[0] if direction > 0 else ahead[-1]]
            self._choose(places.index(nearest))

    def action_edge(self, direction: int) -> None:
        if self.is_kanban:
            self._choose(0 if direction < 0 else len(self._issues) - 1)
        else:
            super().action_edge(direction)

    @property
    def _at(self) -> int:
        return next((at for at, issue in enumerate(self._issues) if issue.id == self._chosen), 0)

    def _choose(self, at: int) -> None:
        if self._issues:
            self._chosen = self._issues[min(max(0, at), len(self._issues) - 1)].id
            self.show(self.view)
            marked = [y for y in range(self.line_count) if any(span.text == glyphs.CURSOR for span in self.line_at(y))]
            for y in reversed(marked):  # the head of the card last, so that it is what surely shows
                self.show_line(y)
