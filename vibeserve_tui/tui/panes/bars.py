"""The lines around the panes: tabs above, the keys that are valid now below."""

from __future__ import annotations

from collections.abc import Sequence

from vibeserve_tui.tui.ink import Ink, Line, Span, spread, width_of
from vibeserve_tui.tui.keymap import Key, shown
from vibeserve_tui.tui.layout import PANES
from vibeserve_tui.tui.shell import shell_of
from vibeserve_tui.tui.widgets.line_view import LineView

NAMES = {name: name.capitalize() for name in PANES}
DIGITS = {name: str(index + 1) for index, name in enumerate(PANES)}


def draw_tabs(tabs: Sequence[str], active: str, width: int) -> Line:
    """`[2 Live]  3 Diff  5 Memory`: the active one in brackets, so that it shows without colour."""
    labels = [f"{DIGITS[name]} {NAMES[name]}" for name in tabs]
    if sum(len(label) + 1 for label in labels) + 1 > width:
        labels = [label if name == active else DIGITS[name] for name, label in zip(tabs, labels, strict=True)]
    gap = " " if sum(len(label) + 2 for label in labels) > width else "  "
    spans: list[Span] = []
    for name, label in zip(tabs, labels, strict=True):
        spans.append(Span("" if not spans else gap if name != active else gap[1:]))
        spans.append(Span(f"[{label}]", Ink.ACCENT_BOLD) if name == active else Span(label, Ink.MUTED))
    return tuple(spans)


def hint(key: Key) -> tuple[Span, Span]:
    """One key with its word; of several keys the first."""
    return Span(shown(key.keys.split(",")[0]), Ink.KEY), Span(f" {key.label}", Ink.MUTED)


def draw_hints(keys: Sequence[Key], width: int, tail: tuple[Span, ...] = ()) -> Line:
    """Whole hints only, by rank, shown in the table's order; the tail stands at the right edge."""
    room = width - (width_of(tail) + 2 if tail else 0)
    chosen: list[Key] = []
    for key in sorted((key for key in keys if key.rank), key=lambda key: key.rank):
        if _cells([*chosen, key]) > room:
            break
        chosen.append(key)
    spans: list[Span] = []
    for key in sorted(chosen, key=list(keys).index):
        spans += [*([Span("  ")] if spans else []), *hint(key)]
    return spread(spans, tail, width) if tail else tuple(spans)


def _cells(keys: Sequence[Key]) -> int:
    return sum(width_of(hint(key)) + 2 for key in keys) - 2


class Tabs(LineView, can_focus=False):
    has_thumb = False

    def show(self, tabs: Sequence[str], active: str) -> None:
        self.set_lines([draw_tabs(tabs, active, self.text_width)])


class Footer(LineView, can_focus=False):
    has_thumb = False

    def show(self, keys: Sequence[Key], tail: tuple[Span, ...] = ()) -> None:
        spare = 2 if shell_of(self).ascii_only else 0  # `⏎` is spelled out there
        self.set_lines([draw_hints(keys, self.text_width - spare, tail)])
