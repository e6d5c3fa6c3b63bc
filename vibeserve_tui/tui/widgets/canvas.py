"""A grid of cells to draw on: braille dots (2 × 4 a cell) below, text above; axes with ticks that enclose the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vibeserve_tui.tui.ink import Ink, Line, Span

# Bit of each dot in a braille cell, indexed [row 0-3][column 0-1].
DOT_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


class Canvas:
    """`width` × `height` cells. Text wins over dots in a cell; the last dot's ink wins among dots."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = max(0, width), max(0, height)
        self._bits = [[0] * self.width for _ in range(self.height)]
        self._cells: list[list[Span | None]] = [[None] * self.width for _ in range(self.height)]
        self._inks = [[Ink.PLAIN] * self.width for _ in range(self.height)]

    def dot(self, x: int, y: int, ink: Ink) -> None:
        """One dot, in dots from the upper left; outside is ignored."""
        column, row = x >> 1, y >> 2
        if 0 <= column < self.width and 0 <= row < self.height:
            self._bits[row][column] |= DOT_BITS[y & 3][x & 1]
            self._inks[row][column] = ink

    def text(self, column: int, row: int, text: str, ink: Ink = Ink.PLAIN) -> None:
        """Text in cells; what does not fit is left out."""
        if not 0 <= row < self.height:
            return
        for offset, character in enumerate(text):
            if 0 <= column + offset < self.width:
                self._cells[row][column + offset] = Span(character, ink)

    def is_free(self, column: int, row: int, length: int) -> bool:
        """Whether text of this length would cover neither text nor the edge."""
        if not 0 <= row < self.height or column < 0 or column + length > self.width:
            return False
        return all(cell is None for cell in self._cells[row][column : column + length])

    def row(self, y: int) -> Line:
        """One row as spans, joined where the ink is the same."""
        spans: list[Span] = []
        for x in range(self.width):
            cell, bits = self._cells[y][x], self._bits[y][x]
            span = cell or (Span(chr(0x2800 + bits), self._inks[y][x]) if bits else Span(" "))
            if spans and spans[-1].ink is span.ink:
                spans[-1] = Span(spans[-1].text + span.text, span.ink)
            else:
                spans.append(span)
        return tuple(spans)


@dataclass(frozen=True, slots=True)
class Axis:
    """A vertical axis whose ticks enclose what is drawn."""

    ticks: tuple[float, ...]
    rows: int

    @property
    def low(self) -> float:
        return self.ticks[0]

    @property
    def high(self) -> float:
        return self.ticks[-1]

    @property
    def gutter(self) -> int:
        return max(len(tick_label(tick)) for tick in self.ticks) + 1

    def dot(self, value: float) -> int:
        """The dot row of a value; beyond the axis it sticks to the edge."""
        dots = self.rows * 4 - 1
        return min(dots, max(0, round((self.high - value) / (self.high - self.low) * dots)))

    def row(self, value: float) -> int:
        return self.dot(value) >> 2

    def labels(self) -> dict[int, str]:
        """Tick labels by row."""
        return {self.row(tick): tick_label(tick) for tick in self.ticks}


def axis_for(values: Sequence[float], rows: int, *, from_zero: bool = False) -> Axis:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if from_zero:
        low = min(0.0, low)
    return Axis(tuple(nice_ticks(low, high, max(2, (rows - 1) // 4))), rows)


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Round ticks that enclose [low, high]: first ≤ low, last ≥ high, at least two."""
    if high <= low:
        pad = abs(low) * 0.05 or 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / max(1, count)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if raw <= m * magnitude * (1 + 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, max(last, first + 1) + 1)]


def tick_label(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def robust_range(values: Sequence[float]) -> tuple[float, float]:
    """The range without the farthest 2 % on either side: one stall must not flatten everything else."""
    ordered = sorted(values)
    drop = len(ordered) // 50
    return ordered[drop], ordered[-1 - drop]


def with_axis(canvas: Canvas, axis: Axis, foot: Sequence[Line]) -> list[Line]:
    """The canvas with its axis at the left and lines under it."""
    labels = axis.labels()
    lines = []
    for y in range(canvas.height):
        text = labels.get(y, "").rjust(axis.gutter - 1) + (" ┤" if y in labels else " │")
        lines.append((Span(text, Ink.MUTED), *canvas.row(y)))
    return [*lines, *foot]
