"""The rounds: sign, lineage, headline figure with its bar, difference with its interval, and what was tried."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message

from vibeserve_tui import events as ev
from vibeserve_tui.reasons import in_words
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import Ink, Line, Span, fit, line, right
from vibeserve_tui.tui.panes.pane import Drawing, Pane, empty
from vibeserve_tui.tui.view import RunView, provisional_headline, round_sign
from vibeserve_tui.tui.widgets.whisker import bar

CHANGE_AT_LEAST = 28
"""Cells of the text column with its gap; other columns go before it gets narrower."""
ISSUE_CELLS, DELTA_CELLS = 7, 8


@dataclass(frozen=True, slots=True)
class Row:
    number: int
    parent: int | None
    sign: str
    sign_ink: Ink
    value: float | None
    change: fig.Change
    title: str
    issue: str
    superseded: bool = False
    provisional: bool = False

    @property
    def name(self) -> str:
        """`8←6`: round 8 started from the tree of round 6, not of the one before it."""
        plain = self.parent is None or self.parent == self.number - 1
        return str(self.number) if plain else f"{self.number}{glyphs.LINEAGE}{self.parent}"


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns there is room for: the interval goes first, then issue, bar and difference."""

    name: int
    value: int
    bar: int
    delta: bool
    interval: int
    issue: bool
    change: int


def rows_of(view: RunView) -> list[Row]:
    rows = [_finished(view, record) for _, record in sorted(view.state.rounds.items())]
    here = view.state.in_flight
    if here and here.number not in view.state.rounds:
        rows.append(_running(view))
    return rows


def _finished(view: RunView, record: ev.RoundRecord) -> Row:
    sign, ink = round_sign(view, record)
    figure = record.measured.headline if record.measured else None
    change = fig.change_of(figure) if figure and record.number else fig.Change(None)
    title = record.task.title
    if record.outcome in (ev.Outcome.FAILED, ev.Outcome.VOID) and record.reason:
        title = f"{title}: {in_words(record.reason)}"
    return Row(
        number=record.number,
        parent=view.parent_of(record.number),
        sign=sign,
        sign_ink=ink,
        value=figure.b if figure else None,
        change=change,
        title=title,
        issue=record.task.issue,
        superseded=record.outcome is not ev.Outcome.KEPT,
    )


def _running(view: RunView) -> Row:
    state = view.state
    here = state.in_flight
    assert here is not None
    figure = here.measured.headline if here.measured else provisional_headline(view)
    sign = (glyphs.WAITING, Ink.WARN) if state.approval else (glyphs.RUNNING, Ink.ACCENT)
    return Row(
        number=here.number,
        parent=view.parent_of(here.number),
        sign=sign[0],
        sign_ink=sign[1],
        value=figure.b if figure else None,
        change=fig.change_of(figure) if figure and here.number else fig.Change(None),
        title=f"{here.task.title} · attempt {here.attempt}" if here.attempt > 1 else here.task.title,
        issue=here.task.issue,
        provisional=here.measured is None,
    )


def columns_for(rows: list[Row], figures: list[str], label: str, width: int) -> Columns:
    name = max(3, *(len(row.name) for row in rows)) if rows else 3
    value = max(7, *(len(text) for text in figures)) if figures else 7
    room = width - (2 + name + 1) - (value + 1) - CHANGE_AT_LEAST
    delta = room > DELTA_CELLS
    room -= DELTA_CELLS if delta else 0
    # The label stands over figure and bar together, so the bar is at least as wide as its rest.
    least = max(len(label) - value - 1, 6)
    bar_cells = max(least, min(12 if width < 84 else 8, room - 1)) if room > least else 0
    room -= bar_cells + 1 if bar_cells else 0
    if not bar_cells:
        room -= max(0, len(label) - value)
        value = max(value, len(label))
    issue = room >= ISSUE_CELLS and width >= 64
    room -= ISSUE_CELLS if issue else 0
    interval = max([len(fig.interval(row.change)) + 2 for row in rows], default=0)
    interval = interval if 2 < interval <= room else 0
    room -= interval
    return Columns(name, value, bar_cells, delta, interval, issue, CHANGE_AT_LEAST + room)


def draw_rows(rows: list[Row], metric: ev.MetricRef, width: int) -> list[Line]:
    """A header line and one line a round; figures are never cut."""
    places = fig.column_places(metric.unit, *(row.value for row in rows))
    figures = [_value_text(row, places) for row in rows]
    label = f"{fig.metric_label(metric.name)}, {metric.unit}"
    columns = columns_for(rows, figures, label, width)
    highest = max((row.value for row in rows if row.value is not None), default=0.0)
    return [
        _head(label, columns),
        *(_row(row, text, columns, highest) for row, text in zip(rows, figures, strict=True)),
    ]


def _value_text(row: Row, places: int) -> str:
    text = fig.number(row.value, places)
    return f"~{text}" if row.provisional and row.value is not None else text


def _head(label: str, columns: Columns) -> Line:
    text = "  " + fit("#", columns.name) + " " + fit(label, columns.value + (columns.bar + 1 if columns.bar else 0))
    text += right("Δ %", DELTA_CELLS) if columns.delta else ""
    text += "  " + fit("95 % CI of Δ", columns.interval - 2) if columns.interval else ""
    text += "  " + fit("issue", ISSUE_CELLS - 2) if columns.issue else ""
    return line((text + "  change", Ink.MUTED))


def _row(row: Row, value: str, columns: Columns, highest: float) -> Line:
    quiet = Ink.MUTED if row.superseded else Ink.PLAIN
    spans = [
        Span(row.sign, row.sign_ink),
        Span(f" {fit(row.name, columns.name)} "),
        Span(right(value, columns.value), quiet),
    ]
    if columns.bar:
        cells = (
            fit(glyphs.REMAINING * 2, columns.bar)
            if row.provisional and row.value is not None
            else bar(row.value, highest, columns.bar)
        )
        spans.append(Span(f" {cells}", quiet))
    if columns.delta:
        text = fig.percent(row.change.delta) if row.change.delta is not None else ""
        spans.append(Span(right(f"~{text}" if row.provisional and text else text, DELTA_CELLS), row.change.ink))
    if columns.interval:
        spans.append(Span("  " + fit(fig.interval(row.change), columns.interval - 2), Ink.MUTED))
    if columns.issue:
        spans.append(Span("  " + fit(row.issue or ("–" if row.number == 0 else ""), ISSUE_CELLS - 2), Ink.MUTED))
    spans.append(Span("  " + fit(row.title, columns.change - 2), quiet))
    return tuple(spans)


class RoundsPane(Pane):
    digit, label = "1", "Rounds"
    filters = True
    views = frozenset({"rounds", "live", "header"})

    @dataclass
    class Selected(Message):
        """The operator moved to another round."""

        number: int

    @dataclass
    class Opened(Message):
        """The operator wants to see all of this round."""

        number: int

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._numbers: list[int] = []
        self.sticky = 1

    def draw(self, view: RunView) -> Drawing:
        metric = view.state.headline
        rows = rows_of(view)
        if view.filter:
            rows = [row for row in rows if view.filter in row.title.lower()]
        if metric is None or not rows:
            text = f'Nothing matches "{view.filter}". esc clears.' if view.filter and view.state.rounds else (
                "Round 0 measures the target's own seed server; its figures come first."
            )  # fmt: skip
            return Drawing(empty(text, self.text_width), "Rounds")
        lines = draw_rows(rows, metric, self.text_width)
        self._numbers = [row.number for row in rows]
        at = self._numbers.index(view.selected) + 1 if view.selected in self._numbers else len(rows)
        title = "Rounds" if view.marked is None else f"Rounds · r{view.marked} marked, c compares"
        return Drawing(lines, title, self._foot(view), cursor=at)

    def _foot(self, view: RunView) -> str:
        state = view.state
        parts = [f"{glyphs.CHAMPION} champion r{state.champion}"] if state.rounds else []
        if state.pinned:
            parts.append(f"{glyphs.PINNED} pinned " + " ".join(f"r{number}" for number in sorted(state.pinned)))
        waiting = next((issue.id for issue in _open_issues(view)), "")
        if waiting and not state.is_over:
            parts.append(f"next {waiting}")
        text = " · ".join(parts)
        return text if len(text) < self.size.width - 6 else parts[0]

    def select(self, index: int) -> None:
        super().select(max(1, index))
        if self.cursor is not None and 0 < self.cursor <= len(self._numbers):
            self.post_message(self.Selected(self._numbers[self.cursor - 1]))


def _open_issues(view: RunView) -> list[ev.Issue]:
    waiting = [issue for issue in view.state.issues.values() if issue.status is ev.IssueStatus.OPEN]
    return sorted(waiting, key=lambda issue: issue.priority)
