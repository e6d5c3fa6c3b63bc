"""The help, generated from the key table: what every key of the screen below does, and what the signs mean."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widgets import Input

from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.ink import BLANK, Ink, Line, Span, fit, line, width_of
from vibeserve_tui.tui.keymap import SCREENS, TITLES, KeyTable, bindings, shown_keys
from vibeserve_tui.tui.panes.bars import Footer
from vibeserve_tui.tui.shell import shell_of, stands
from vibeserve_tui.tui.widgets.line_view import LineView

KEY_CELLS, COLUMN = 8, 39
SIGNS = (
    (glyphs.KEPT, "kept"), (glyphs.CHAMPION, "champion"), (glyphs.INDECISIVE, "indecisive"), (glyphs.REVERTED, "reverted"),
    (glyphs.FAILED, "failed"), (glyphs.VOID, "void"), (glyphs.PINNED, "pinned, headline metric"), (glyphs.RUNNING, "running"),
    (glyphs.WAITING, "waiting for you"), (glyphs.OPEN, "issue open"), (glyphs.BLOCKED, "blocked"), (glyphs.DONE, "done"),
)  # fmt: skip
WORDS = (
    "5←2   round 5 started from the tree of round 2",
    "Δ     against the champion of that time, in the metric's own direction",
    "~     provisional: the measurement is not finished",
    "├─●─┤ the 95 % interval; across ┊ it is unclear, whatever the Δ",
    "c16   the load level: 16 requests at a time",
)


def draw_help(screen: str, table: KeyTable, width: int, wanted: str = "") -> list[Line]:
    """Keys in as many columns as fit, then signs and words."""
    sections = [_section(TITLES[scope], table, scope, wanted) for scope in SCREENS[screen] if scope in TITLES]
    lines = _columns([section for section in sections if section], max(1, width // COLUMN))
    if wanted:
        return lines or [line((f'Nothing matches "{wanted}".', Ink.MUTED))]
    return [
        *lines,
        line(("Signs", Ink.BOLD)),
        *_signs(width),
        BLANK,
        line(("Words", Ink.BOLD)),
        *(line(word) for word in WORDS),
    ]


def _section(title: str, table: KeyTable, scope: str, wanted: str) -> list[Line]:
    rows = [
        line((fit(shown_keys(key), KEY_CELLS), Ink.KEY), f" {key.help}")
        for key in table[scope]
        if wanted in f"{key.help} {key.label}".lower()
    ]
    return [line((title, Ink.BOLD)), *rows, BLANK] if rows else []


def _columns(sections: list[list[Line]], count: int) -> list[Line]:
    """Sections side by side, each in the column that is shortest so far."""
    columns: list[list[Line]] = [[] for _ in range(count)]
    for section in sections:
        min(columns, key=len).extend(section)
    height = max(len(column) for column in columns)
    return [_joined([column[y] if y < len(column) else BLANK for column in columns]) for y in range(height)]


def _joined(cells: list[Line]) -> Line:
    spans: list[Span] = []
    for cell in cells:
        spans += [*cell, Span(" " * max(0, COLUMN - width_of(cell)))]
    return tuple(spans)


def _signs(width: int) -> list[Line]:
    rows: list[Line] = []
    row: list[Span] = []
    for sign, word in SIGNS:
        spans = (Span(f"{sign} ", Ink.ACCENT), Span(f"{word}   "))
        if width_of([*row, *spans]) > width:
            rows.append(tuple(row))
            row = []
        row += spans
    return [*rows, tuple(row)]


class HelpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = bindings("help")

    def __init__(self, screen: str) -> None:
        super().__init__()
        self._of = screen

    def compose(self) -> ComposeResult:
        with Vertical(classes="box full"):
            yield LineView(id="text")
            yield Input(id="filter", placeholder="show only lines with these letters", compact=True)
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self.query_one(".box").border_title = content(f"Help · {self._of} screen", self)
        self.query_one("#filter").display = False
        self.query_one("#text").focus()

    def on_resize(self, event: Resize) -> None:
        del event
        self.call_after_refresh(self._draw)

    def _draw(self, wanted: str = "") -> None:
        if not stands(self, ("text", "footer")):
            return
        view = self.query_one("#text", LineView)
        view.set_lines(draw_help(self._of, shell_of(self).table, view.text_width, wanted))
        self.query_one(Footer).show(shell_of(self).keys_of("help"))

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._draw(event.value.strip().lower())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one("#text").focus()

    def action_close(self) -> None:
        self.dismiss(None)
