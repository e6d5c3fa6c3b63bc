"""What a line on the screen is made of: spans of text, each with an ink. No colour is decided here.

An ink names a meaning; the theme's colours for it are in `palette`. Every drawing function of the app returns
`Line`s, and `LineView` is the one widget that paints them, so that all text passes `safe_text` in one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum, auto
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from vibeserve_tui.tui.glyphs import ELLIPSIS


class Ink(StrEnum):
    """Meanings, not colours: success = better, error = failed or worse, warning = look here, accent = now, focus."""

    PLAIN = auto()
    BOLD = auto()
    MUTED = auto()
    GOOD = auto()
    GOOD_BOLD = auto()
    BAD = auto()
    WARN = auto()
    ACCENT = auto()
    ACCENT_BOLD = auto()
    KEY = auto()
    ADDED = auto()
    ADDED_WORD = auto()
    REMOVED = auto()
    REMOVED_WORD = auto()
    FILE = auto()
    CURSOR = auto()
    THUMB = auto()
    HIT = auto()
    KEYWORD = auto()
    NAME = auto()
    STRING = auto()
    NUMBER = auto()
    COMMENT = auto()


class Span(NamedTuple):
    text: str
    ink: Ink = Ink.PLAIN
    ground: Ink | None = None
    """The ink whose ground and emphasis lie under this one; only its colour of the letters is then its own."""


Line = tuple[Span, ...]
BLANK: Line = ()


def line(*parts: str | Span | tuple[str, Ink]) -> Line:
    """A line of spans; a bare string is plain."""
    return tuple(Span(part) if isinstance(part, str) else Span(*part) for part in parts)


def width_of(parts: Iterable[Span]) -> int:
    return sum(cell_len(span.text) for span in parts)


def text_of(parts: Iterable[Span]) -> str:
    return "".join(span.text for span in parts)


def fit(text: str, width: int) -> str:
    """The text in exactly `width` cells: padded, or cut with an ellipsis."""
    if cell_len(text) > width:
        text = set_cell_size(text, max(0, width - 1)).rstrip() + ELLIPSIS if width > 0 else ""
    return text + " " * (width - cell_len(text))


def right(text: str, width: int) -> str:
    """The text at the right edge of `width` cells. Figures are never cut: callers give them room."""
    return " " * max(0, width - cell_len(text)) + text


def cut(spans: Iterable[Span], width: int) -> Line:
    """The spans in at most `width` cells, ending in an ellipsis when something had to go."""
    spans = tuple(spans)
    if width_of(spans) <= width:
        return spans
    kept: list[Span] = []
    room = width
    for span in spans:
        if cell_len(span.text) >= room:
            kept.append(span._replace(text=fit(span.text + "  ", room)))
            break
        kept.append(span)
        room -= cell_len(span.text)
    return tuple(kept)


def spread(left: Iterable[Span], right_side: Iterable[Span], width: int) -> Line:
    """Left and right aligned parts on one line; the left one is cut when both do not fit."""
    right_side = tuple(right_side)
    room = width - width_of(right_side)
    left = cut(left, max(0, room - 1))
    return (*left, Span(" " * max(0, room - width_of(left))), *right_side)
