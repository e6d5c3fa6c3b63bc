"""The one widget that paints `Line`s: scrolling, a row cursor, and every text through `safe_text` on its way.

It knows nothing about runs. Who uses it sets lines; a repaint costs only the rows that are visible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from vibeserve_tui.ascii_signs import to_ascii
from vibeserve_tui.safe_text import clean_line
from vibeserve_tui.tui.glyphs import CURSOR
from vibeserve_tui.tui.ink import BLANK, Ink, Line, Span
from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.palette import span_style
from vibeserve_tui.tui.shell import shell_of

MARGIN = 1
"""Blank cells left of every line, for the cursor, and right of it, for the scroll thumb."""
THUMB = "▐"


class LineView(ScrollView, can_focus=True, inherit_bindings=False):
    # Textual's own scroll keys would hide ← and → of the screens.

    has_thumb: ClassVar[bool] = True
    """Whether the right margin is kept for the scroll position; bars of one line use the cell."""
    quiet_cursor: ClassVar[bool] = False
    """Whether the cursor shows only while the widget has the focus."""
    BINDINGS: ClassVar[list[BindingType]] = bindings("lines")

    @dataclass
    class Moved(Message):
        """The cursor went to another line."""

        view: LineView

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._lines: Sequence[Line] = ()
        self.cursor: int | None = None
        self.sticky = 0
        """Lines at the top that stay while the others scroll: a table's head."""

    @property
    def text_width(self) -> int:
        """Cells between the margins."""
        return max(0, self.size.width - MARGIN - self._right_margin)

    @property
    def _right_margin(self) -> int:
        return MARGIN if self.has_thumb else 0

    @property
    def line_count(self) -> int:
        return len(self._lines)

    def line_at(self, index: int) -> Line:
        return self._lines[index]

    @property
    def current_line(self) -> Line:
        """The selected line, else the first visible one."""
        index = self.scroll_offset.y if self.cursor is None else self.cursor
        return self._lines[index] if index < len(self._lines) else BLANK

    def set_lines(self, lines: Sequence[Line], *, cursor: int | None = None) -> None:
        """Replace what is shown. `cursor` marks one line as the selected one."""
        if isinstance(lines, list) and lines == self._lines and cursor == self.cursor:
            return
        self._lines, self.cursor = lines, cursor
        self.virtual_size = Size(self.size.width, len(lines))
        self.refresh()

    def on_resize(self, event: Resize) -> None:
        self.virtual_size = Size(event.size.width, len(self._lines))

    def render_line(self, y: int) -> Strip:
        """One row; every segment carries a style, for one without crashes Textual's filter under NO_COLOR."""
        shell = shell_of(self)
        styles, ascii_only = shell.ink_styles, shell.ascii_only
        width = self.size.width
        index = y if y < self.sticky else y + self.scroll_offset.y
        spans = self._lines[index] if index < len(self._lines) else BLANK
        chosen = index == self.cursor and index < len(self._lines) and (self.has_focus or not self.quiet_cursor)
        cells = [Span(CURSOR, Ink.ACCENT) if chosen else Span(" " * MARGIN), *spans]
        segments = [
            Segment(_shown(span.text, ascii_only=ascii_only), span_style(styles, span)) for span in cells if span.text
        ]
        strip = Strip(segments).adjust_cell_length(max(0, width - self._right_margin), styles[Ink.PLAIN])
        if self.has_thumb:
            strip = Strip([*strip, Segment(_shown(self._thumb(y), ascii_only=ascii_only), styles[Ink.THUMB])])
        if chosen and self.has_focus:
            strip = strip.apply_style(Style(bgcolor=styles[Ink.CURSOR].bgcolor))
        return strip.adjust_cell_length(width, styles[Ink.PLAIN])

    def _thumb(self, y: int) -> str:
        """The scroll position, drawn in the right margin so that a scroll bar never changes the width of lines."""
        rows, total = self.size.height, len(self._lines)
        if total <= rows or rows < 3:
            return " "
        length = max(1, rows * rows // total)
        top = round((rows - length) * self.scroll_offset.y / max(1, total - rows))
        return THUMB if top <= y < top + length else " "

    def on_click(self, event: Click) -> None:
        """A click selects the line under it."""
        if (at := event.get_content_offset(self)) is not None and self.cursor is not None and at.y >= self.sticky:
            self.select(at.y + self.scroll_offset.y)

    # ---- keys --------------------------------------------------------------------------------------------------

    def action_move(self, step: int) -> None:
        if self.cursor is None:
            self.scroll_relative(y=step, animate=False)
        else:
            self.select(self.cursor + step)

    def action_page(self, direction: int) -> None:
        step = max(1, self.size.height - 2) * direction
        if self.cursor is None:
            self.scroll_relative(y=step, animate=False)
        else:
            self.select(self.cursor + step)

    def action_edge(self, direction: int) -> None:
        target = 0 if direction < 0 else max(0, self.line_count - 1)
        if self.cursor is None:
            self.scroll_to(y=target, animate=False)
        else:
            self.select(target)

    def select(self, index: int) -> None:
        """Move the cursor to this line, or the nearest there is, and bring it into view."""
        if self.cursor is None or not self._lines:
            return
        self.cursor = min(max(0, index), len(self._lines) - 1)
        self.show_line(self.cursor)
        self.refresh()
        self.post_message(self.Moved(self))

    def show_line(self, index: int) -> None:
        """Bring this line into view. Forced: before the first layout Textual takes nothing to be scrollable."""
        top, rows = self.scroll_offset.y, self.size.height
        if index < top + self.sticky:
            self.scroll_to(y=max(0, index - self.sticky), animate=False, immediate=True, force=True)
        elif index >= top + rows:
            self.scroll_to(y=index - rows + 1, animate=False, immediate=True, force=True)


def _shown(text: str, *, ascii_only: bool) -> str:
    safe = clean_line(text)
    return to_ascii(safe) if ascii_only else safe
