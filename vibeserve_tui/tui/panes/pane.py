"""What every pane is: a bordered `LineView` that turns the run into lines, and into an error card when that fails."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.events import Resize

from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.ink import Ink, Line, fit, line
from vibeserve_tui.tui.view import RunView
from vibeserve_tui.tui.widgets.line_view import LineView

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a pane shows: its lines, its live title, the figures in its lower border, and the selected line."""

    lines: Sequence[Line]
    title: str
    foot: str = ""
    cursor: int | None = None
    to_end: bool = False
    """Whether the last line should stay in view."""


class Pane(LineView):
    digit: ClassVar[str] = ""
    label: ClassVar[str] = ""
    filters: ClassVar[bool] = False
    """Whether it shows only the lines that the operator wants."""
    views: ClassVar[frozenset[str]] = frozenset()
    """Which kinds of change (an event's `views`) this pane shows."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.view = RunView()

    def draw(self, view: RunView) -> Drawing:
        raise NotImplementedError

    def show(self, view: RunView) -> None:
        """Draw the run as it is now. A fault in one pane must not take the others down."""
        self.view = view
        if self.size.width <= 2 or self.size.height <= 0:
            return
        try:
            drawing = self.draw(view)
        except Exception as error:  # one pane's border: the fault is shown and logged
            log.exception("pane %s", self.id)
            drawing = Drawing(error_card(error), self.label)
        self._set_titles(drawing)
        moved = drawing.cursor != self.cursor
        self.set_lines(drawing.lines, cursor=drawing.cursor)
        if drawing.to_end:
            self.scroll_end(animate=False, immediate=True, force=True)
        elif drawing.cursor is not None and moved:  # else the wheel may have scrolled away from it on purpose
            self.show_line(drawing.cursor)

    def _set_titles(self, drawing: Drawing) -> None:
        digit = "" if self.view.compact or not self.digit else f"{self.digit} "
        only = f' · only "{self.view.filter}"' if self.filters and self.view.filter else ""
        room = max(0, self.size.width - 4)
        self.border_title = content(fit(f"{digit}{drawing.title}{only}", room).rstrip(), self)
        self.border_subtitle = content(fit(drawing.foot, room).rstrip(), self)

    def on_resize(self, event: Resize) -> None:
        super().on_resize(event)
        self.show(self.view)
        if self.cursor is not None:
            self.show_line(self.cursor)


def error_card(error: Exception) -> list[Line]:
    return [
        line(("✗ this pane failed; the run and the other panes go on", Ink.BAD)),
        line((f"{type(error).__name__}: {error}", Ink.MUTED)),
        line(("The log has the traceback. z or another pane redraws it.", Ink.MUTED)),
    ]


def empty(text: str, width: int) -> list[Line]:
    """An empty pane says what will fill it and which key helps."""
    return [line((part, Ink.MUTED)) for row in text.split("\n") for part in textwrap.wrap(row, max(20, width))]
