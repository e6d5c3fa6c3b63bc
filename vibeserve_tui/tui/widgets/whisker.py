"""Bars, whiskers and sparks: figures as a few cells. The figures decide; cells only help the eye."""

from __future__ import annotations

from collections.abc import Sequence

from vibeserve_tui.tui.figures import Change
from vibeserve_tui.tui.glyphs import EIGHTHS, SPARKS

SPANS = (0.2, 0.5, 1.0, 3.0, 10.0)
"""Half widths that a whisker axis may have, as shares."""
NARROWEST = 7


def bar(value: float | None, maximum: float, width: int) -> str:
    """A horizontal bar in eighths of a cell, padded to `width`."""
    if value is None or maximum <= 0 or width <= 0:
        return " " * max(0, width)
    eighths = round(max(0.0, min(1.0, value / maximum)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(width)


def span_for(changes: Sequence[Change]) -> float:
    """The narrowest axis that holds every interval; the widest when none does."""
    known = [abs(v) for change in changes for v in (change.low, change.delta, change.high) if v is not None]
    return next((span for span in SPANS if max(known, default=0.0) <= span), SPANS[-1])


def whisker(change: Change, span: float, width: int) -> str:
    """`  ├──●─┤ ┊   ` on an axis from −span to +span; `┼` = the interval holds zero, `◂ ▸` = it goes on beyond."""
    if width < NARROWEST:
        return " " * max(0, width)
    cells = [" "] * width
    zero = _column(0.0, span, width)
    cells[zero] = "┊"
    if change.delta is None:
        return "".join(cells)
    if change.low is not None and change.high is not None:
        a, b = _column(change.low, span, width), _column(change.high, span, width)
        cells[a : b + 1] = "─" * (b - a + 1)
        cells[a] = "◂" if change.low < -span else "├"
        cells[b] = "▸" if change.high > span else "┤"
        if change.low <= 0 <= change.high:
            cells[zero] = "┼"
    beyond = "▸" if change.delta > span else "◂" if change.delta < -span else "●"
    cells[_column(change.delta, span, width)] = beyond
    return "".join(cells)


def axis_label(span: float, width: int) -> str:
    """`−20   0   +20` over a whisker of this width."""
    if width < NARROWEST:
        return " " * max(0, width)
    text = f"{100 * span:.0f}"
    if 2 * len(text) + 4 > width:
        return f"±{text}".center(width)
    cells = [" "] * width
    left, right_end = f"−{text}", f"+{text}"
    cells[: len(left)] = left
    cells[width - len(right_end) :] = right_end
    zero = _column(0.0, span, width)
    if len(left) < zero < width - len(right_end) - 1:
        cells[zero] = "0"
    return "".join(cells)[:width]


def sparkline(values: Sequence[float], width: int) -> str:
    """The last values as eighths of a row, on their own range from zero."""
    shown = list(values)[-width:]
    top = max(shown, default=0.0)
    if top <= 0:
        return ""
    return "".join(SPARKS[min(7, int(8 * max(0.0, value) / top))] for value in shown)


def _column(share: float, span: float, width: int) -> int:
    return min(width - 1, max(0, round((share + span) / (2 * span) * (width - 1))))
