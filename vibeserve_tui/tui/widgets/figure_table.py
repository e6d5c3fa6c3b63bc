"""A beside B for all metrics: figures, difference, whisker, interval, verdict; columns go before anything wraps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vibeserve_tui.events import Figure
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import Ink, Line, Span, cut, fit, line, right
from vibeserve_tui.tui.widgets.whisker import NARROWEST, axis_label, span_for, whisker

DELTA_CELLS, INTERVAL_CELLS, VERDICT_CELLS = 7, 20, 13
WIDEST_WHISKER = 29
WIDEST_SPAN = 1.0
"""On an axis beyond ±100 % every whisker is a dot near the middle: the figures alone say more."""
SIGNS = {
    fig.Reading.BETTER: glyphs.KEPT,
    fig.Reading.WORSE: glyphs.FAILED,
    fig.Reading.UNCLEAR: glyphs.INDECISIVE,
    fig.Reading.UNKNOWN: " ",
}


@dataclass(frozen=True, slots=True)
class Columns:
    name: int
    unit: int
    a: int
    b: int
    whisker: int
    interval: bool
    verdict: int


def draw_figures(
    figures: Sequence[Figure], labels: tuple[str, str], width: int, *, provisional: bool = False
) -> list[Line]:
    """A head and one line a metric, the headline first."""
    ordered = sorted(figures, key=lambda figure: not figure.headline)
    if not ordered:
        return []
    several = len({figure.level for figure in ordered}) > 1
    names = [_name(figure, several) for figure in ordered]
    cells = [_values(figure, provisional=provisional) for figure in ordered]
    changes = [fig.change_of(figure) for figure in ordered]
    span = span_for(changes)
    columns = _columns(ordered, names, [*cells, labels], width)
    if span > WIDEST_SPAN:
        columns = replace(columns, whisker=0)
    lines = [_head(labels, columns, span)]
    for figure, name, pair, change in zip(ordered, names, cells, changes, strict=True):
        row = (*_values_of(figure, name, pair, columns), *_change_of(figure, change, columns, span))
        lines.append(cut(row, width))
    return lines


def verdict_words(figure: Figure, change: fig.Change) -> tuple[str, Ink]:
    """The interval decides the word, whatever the difference; a note (a limit, a guard) says more where there is one."""
    if figure.note:
        return f"{glyphs.ATTENTION} {figure.note}", Ink.WARN
    return f"{SIGNS[change.reading]} {change.reading.value}".strip(), change.ink


def _name(figure: Figure, several: bool) -> str:
    level = f" {figure.level}" if several else ""
    return f"{fig.metric_label(figure.metric)}{level}{' ' + glyphs.PINNED if figure.headline else ''}"


def _values(figure: Figure, *, provisional: bool) -> tuple[str, str]:
    places = fig.column_places(figure.unit, figure.a, figure.b)
    b = fig.number(figure.b, places)
    return fig.number(figure.a, places), f"~{b}" if provisional and figure.b is not None else b


def _columns(figures: Sequence[Figure], names: list[str], cells: Sequence[tuple[str, str]], width: int) -> Columns:
    name = max(len(text) for text in names)
    unit = max(len(figure.unit) for figure in figures)
    a = max(6, *(len(pair[0]) for pair in cells))
    b = max(6, *(len(pair[1]) for pair in cells))
    room = width - name - 1 - unit - 1 - a - 1 - b - 1 - DELTA_CELLS
    words = max(len(verdict_words(figure, fig.change_of(figure))[0]) for figure in figures)
    verdict = max(VERDICT_CELLS, min(words + 2, 24)) if room >= VERDICT_CELLS + NARROWEST + 2 else 0
    room -= verdict
    interval = room >= INTERVAL_CELLS + NARROWEST + 4
    room -= INTERVAL_CELLS if interval else 0
    whisker_cells = min(WIDEST_WHISKER, room - 1) if room - 1 >= NARROWEST else 0
    return Columns(name, unit, a, b, whisker_cells, interval, verdict)


def _head(labels: tuple[str, str], columns: Columns, span: float) -> Line:
    text = " " * (columns.name + 1 + columns.unit + 1)
    text += right(labels[0], columns.a) + " " + right(labels[1], columns.b) + right("Δ %", DELTA_CELLS + 1)
    text += " " + axis_label(span, columns.whisker) if columns.whisker else ""
    text += "  " + fit("95 % CI of Δ", INTERVAL_CELLS - 2) if columns.interval else ""
    text += "  verdict" if columns.verdict else ""
    return line((text, Ink.MUTED))


def _values_of(figure: Figure, name: str, pair: tuple[str, str], columns: Columns) -> Line:
    return line(
        (fit(name, columns.name) + " ", Ink.BOLD if figure.headline else Ink.PLAIN),
        (fit(figure.unit, columns.unit) + " ", Ink.MUTED),
        right(pair[0], columns.a) + " " + right(pair[1], columns.b),
    )


def _change_of(figure: Figure, change: fig.Change, columns: Columns, span: float) -> Line:
    spans = [Span(right(fig.percent(change.delta), DELTA_CELLS + 1), change.ink)]
    if columns.whisker:
        spans.append(Span(" " + whisker(change, span, columns.whisker), change.ink))
    if columns.interval:
        spans.append(Span("  " + fit(fig.interval(change) or fig.UNKNOWN, INTERVAL_CELLS - 2), Ink.MUTED))
    if columns.verdict:
        words, ink = verdict_words(figure, change)
        spans.append(Span("  " + words, ink))
    return tuple(spans)
