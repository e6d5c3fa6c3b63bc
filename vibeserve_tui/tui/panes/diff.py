"""What the selected round changed, against the round it started from."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType

from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.panes.pane import Drawing, Pane, empty
from vibeserve_tui.tui.view import RunView
from vibeserve_tui.tui.widgets.diff_text import Kind
from vibeserve_tui.tui.widgets.diff_view import Diff, DiffRows, DiffStyle


class DiffPane(Pane):
    digit, label = "3", "Diff"
    views = frozenset({"diff", "rounds"})
    BINDINGS: ClassVar[list[BindingType]] = bindings("diff")

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.diff = Diff()
        self.style_of_diff = DiffStyle()
        self._rows: DiffRows | None = None
        self._title = "Diff"
        self._why_empty = "Nothing before this round."

    def set_diff(self, text: str, title: str, why_empty: str) -> None:
        """Show this `git diff` text; `why_empty` says what to read into an empty one."""
        self.diff = Diff(text)
        self._title, self._why_empty = title, why_empty
        self.scroll_to(y=0, animate=False, immediate=True)
        self.show(self.view)

    def draw(self, view: RunView) -> Drawing:
        del view
        if not self.diff.lines:
            self._rows = None
            return Drawing(empty(self._why_empty), self._title)
        self._rows = self.diff.rows(self.style_of_diff, self.text_width)
        keys = f"{self.diff.summary} · n/N hunk · {{ }} file · d split"
        if self.has_class("-bare"):  # only an upper border, so the figures stand in the title
            return Drawing(self._rows, f"{self._title} · {keys}")
        return Drawing(self._rows, self._title, keys if len(keys) < self.size.width - 4 else self.diff.summary)

    def action_hunk(self, direction: int) -> None:
        self._jump(Kind.HUNK, direction)

    def action_file(self, direction: int) -> None:
        self._jump(Kind.FILE, direction)

    def _jump(self, kind: Kind, direction: int) -> None:
        if self._rows is None:
            return
        here, starts = self.scroll_offset.y, self._rows.starts(kind)
        ahead = [at for at in starts if at > here] if direction > 0 else [at for at in reversed(starts) if at < here]
        if ahead:
            self.scroll_to(y=ahead[0], animate=False)

    def action_split(self) -> None:
        self.style_of_diff = DiffStyle(split=not self.style_of_diff.split, wrap=self.style_of_diff.wrap)
        self.show(self.view)

    def action_wrap(self) -> None:
        self.style_of_diff = DiffStyle(split=self.style_of_diff.split, wrap=not self.style_of_diff.wrap)
        self.show(self.view)
