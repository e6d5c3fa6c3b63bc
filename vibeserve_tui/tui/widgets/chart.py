"""The three charts: paired windows of a measurement, the headline by round, and a cumulative share.

Pure functions from values to lines. One unit a chart; what lies outside the robust range sticks to the edge; no
chart is drawn higher than 16 rows or wider than 60 cells, because a figure beside it then says more.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from vibeserve_tui.tui.figures import number
from vibeserve_tui.tui.ink import Ink, Line, Span
from vibeserve_tui.tui.widgets.canvas import Axis, Canvas, axis_for, robust_range, with_axis

MOST_ROWS, MOST_COLUMNS = 16, 60
SMALLEST = (20, 4)
FARTHEST_LIMIT = 2.0
"""Times the greatest figure; a limit beyond that is told in words only."""


@dataclass(frozen=True, slots=True)
class Window:
    """One timed window: its side, its block, the samples in it and the figure that stands for it."""

    side: str
    block: int
    label: str
    rule: float | None
    samples: tuple[float, ...] = ()

    @property
    def ink(self) -> Ink:
        return Ink.PLAIN if self.side == "A" else Ink.ACCENT


def window_chart(windows: Sequence[Window], width: int, height: int) -> list[Line]:
    """Windows in the order of time, so that drift is visible: samples as dots, a rule for each window's figure."""
    width, height = min(width, MOST_COLUMNS), min(height, MOST_ROWS)
    dotted = any(window.samples for window in windows)
    values = [v for w in windows for v in (*w.samples, *([] if w.rule is None else [w.rule]))]
    if not values or width < SMALLEST[0] or height < SMALLEST[1]:
        return []
    axis = axis_for(robust_range(values), height - 1)
    room = width - axis.gutter - 1
    shown = list(windows)[-max(1, room // (9 if dotted else 3)) :]
    edges = [round(index * room / max(4, len(shown))) for index in range(len(shown) + 1)]
    canvas = Canvas(room, height - 1)
    for window, start, end in zip(shown, edges, edges[1:], strict=False):
        _draw_window(canvas, axis, window, start, end)
    for (before, after), column in zip(pairwise(shown), edges[1:], strict=False):
        if dotted or before.block != after.block:
            for y in range(canvas.height):
                canvas.text(column - 1, y, "┊", Ink.MUTED)
    return with_axis(canvas, axis, [_window_foot(shown, edges, room, axis.gutter)])


def _draw_window(canvas: Canvas, axis: Axis, window: Window, start: int, end: int) -> None:
    inner = max(1, end - start - 1) * 2
    if window.rule is not None:
        y = axis.dot(window.rule)
        for x in range(inner):
            canvas.dot(start * 2 + x, y, window.ink)
    count = len(window.samples)
    for index, value in enumerate(window.samples):
        canvas.dot(start * 2 + (index * (inner - 1) // max(1, count - 1)), axis.dot(value), window.ink)
    if not count and window.rule is not None and end - start >= 5:
        label = number(window.rule, 0 if window.rule >= 100 else 1)
        above = axis.row(window.rule) - 1
        row = above if above >= 0 else axis.row(window.rule) + 1
        column = start + max(0, (end - start - 1 - len(label)) // 2)
        if canvas.is_free(column, row, len(label)):
            canvas.text(column, row, label, Ink.MUTED)


def _window_foot(shown: Sequence[Window], edges: Sequence[int], room: int, gutter: int) -> Line:
    cells = ["─"] * room
    roomy = all(end - start > len(w.label) + 3 for w, start, end in zip(shown, edges, edges[1:], strict=False))
    for index, window in enumerate(shown):
        start, length = edges[index], edges[index + 1] - edges[index]
        label = f" {window.label} " if roomy else window.side
        at = start + max(0, (length - 1 - len(label)) // 2)
        cells[at : at + len(label)] = label
        if index + 1 < len(shown) and (length > 5 or shown[index + 1].block != window.block):
            cells[edges[index + 1] - 1] = "┴"
    return (Span(" " * gutter + "└" + "".join(cells[:room]), Ink.MUTED),)


@dataclass(frozen=True, slots=True)
class Point:
    """One round on the trend: `value` None = it was never measured."""

    number: int
    glyph: str
    ink: Ink
    value: float | None
    label: str
    champion: float | None
    low: float | None = None
    high: float | None = None
    """Bounds of the value, from the interval of its round."""


def trend_chart(points: Sequence[Point], width: int, height: int, limit: float | None = None) -> list[Line]:
    """Rounds as their signs over the champion's step line; a round without a figure stands on the axis.

    `limit` is what this device cannot pass; it is drawn where it does not press everything else to the floor.
    """
    height = min(height, MOST_ROWS + 4)
    known = [v for p in points for v in (p.value, p.champion) if v is not None]  # an interval may go beyond the axis
    if not known or width < SMALLEST[0] or height < SMALLEST[1] + 1:
        return []
    if limit is not None and limit <= FARTHEST_LIMIT * max(known):
        known.append(limit)
    axis = axis_for(known, height - 2, from_zero=True)
    room = min(width, MOST_COLUMNS + 10) - axis.gutter - 1
    step = max(2, min(6, room // max(1, len(points))))
    shown = list(points)[-max(1, room // step) :]
    canvas = Canvas(room, height - 2)
    if limit is not None and limit in known:
        canvas.text(0, axis.row(limit), "┈" * room, Ink.WARN)
    for index, point in enumerate(shown):
        if point.champion is not None:
            canvas.text(index * step, axis.row(point.champion), "╌" * step, Ink.MUTED)
    for index, point in enumerate(shown):
        _draw_point(canvas, axis, point, index * step + step // 2, step)
    numbers = [" "] * room
    for index, point in enumerate(shown):
        text, at = str(point.number), index * step + step // 2
        if step > 2 or point.number % 2 == 0:
            numbers[at : at + len(text)] = text
    foot = [
        (Span(" " * axis.gutter + "└" + "─" * room, Ink.MUTED),),
        (Span(" " * (axis.gutter + 1) + "".join(numbers)[:room], Ink.MUTED),),
    ]
    return with_axis(canvas, axis, foot)


def _draw_point(canvas: Canvas, axis: Axis, point: Point, column: int, step: int) -> None:
    row = canvas.height - 1 if point.value is None else axis.row(point.value)
    if point.low is not None and point.high is not None:
        top, bottom = axis.row(point.high), axis.row(point.low)
        for y in range(top, bottom + 1 if bottom - top > 1 else top):  # a narrower one is hidden by its sign
            canvas.text(column, y, "│", Ink.MUTED)
    canvas.text(column, row, point.glyph, point.ink)
    at = column - len(point.label) // 2
    if point.value is None or len(point.label) >= step:
        return
    for above in (row - 1, row + 1):
        if canvas.is_free(at, above, len(point.label)):
            canvas.text(at, above, point.label, Ink.MUTED)
            return


@dataclass(frozen=True, slots=True)
class Shares:
    """Samples of one side for a cumulative chart."""

    name: str
    samples: tuple[float, ...]
    ink: Ink
    dotted: bool = False


def share_chart(sides: Sequence[Shares], unit: str, width: int, height: int) -> list[Line]:
    """The share of requests below each value; A dotted, B solid, both on one axis."""
    values = [value for side in sides for value in side.samples]
    width, height = min(width, MOST_COLUMNS), min(height, MOST_ROWS)
    if not values or width < SMALLEST[0] or height < 6:
        return []
    low, high = robust_range(values)
    high = high if high > low else low + 1
    gutter = 6
    canvas = Canvas(width - gutter - 1, height - 2)
    for side in sides:
        _draw_shares(canvas, side, low, high)
    lines: list[Line] = []
    labels = {0: "100 %", (canvas.height - 1) // 2: "50 %", canvas.height - 1: "0 %"}
    for y in range(canvas.height):
        text = labels.get(y, "").rjust(gutter - 1) + (" ┤" if y in labels else " │")
        lines.append((Span(text, Ink.MUTED), *canvas.row(y)))
    middle = statistics.fmean((low, high))
    scale = [" "] * canvas.width
    for at, value in ((0, low), (canvas.width // 2 - 2, middle), (canvas.width - len(unit) - 7, high)):
        label = number(value, 0 if high >= 100 else 1)
        scale[max(0, at) : max(0, at) + len(label)] = label
    scale[canvas.width - len(unit) :] = unit
    lines.append((Span(" " * gutter + "└" + "─" * canvas.width, Ink.MUTED),))
    lines.append((Span(" " * (gutter + 1) + "".join(scale)[: canvas.width], Ink.MUTED),))
    return lines


def _draw_shares(canvas: Canvas, side: Shares, low: float, high: float) -> None:
    ordered = sorted(side.samples)
    if not ordered:
        return
    columns, rows = canvas.width * 2, canvas.height * 4 - 1
    before: int | None = None
    below = 0
    for x in range(columns):
        edge = low + (high - low) * x / max(1, columns - 1)
        while below < len(ordered) and ordered[below] <= edge:
            below += 1
        y = round((1 - below / len(ordered)) * rows)
        for between in range(y, y + 1 if before is None else max(y, before) + 1):
            if not side.dotted or (x + between) % 3 == 0:
                canvas.dot(x, between, side.ink)
        before = y
