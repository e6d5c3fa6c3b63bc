"""What the selected round changed, against the round it started from."""

from __future__ import annotations

from dataclasses import replace
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
        self._hit = 0

    def set_diff(self, text: str, title: str, why_empty: str) -> None:
        """Show this `git diff` text; `why_empty` says what to read into an empty one."""
        self.diff = Diff(text)
        self._title, self._why_empty, self._hit = title, why_empty, 0
        self.scroll_to(y=0, animate=False, immediate=True)
        self.show(self.view)

    @property
    def wanted(self) -> str:
        """What is searched for."""
        return self.style_of_diff.find

    def find(self, wanted: str | None) -> None:
        """Mark this text everywhere and go to the first place below; nothing ends the search."""
        self.style_of_diff = replace(self.style_of_diff, find=(wanted or "").strip())
        self.show(self.view)
        hits = self._rows.hits() if self._rows else []
        self._hit = next((at for at, row in enumerate(hits) if row >= self.scroll_offset.y), 0)
        self._show_hit(hits)

    def draw(self, view: RunView) -> Drawing:
        del view
        if not self.diff.lines:
            self._rows = None
            return Drawing(empty(self._why_empty, self.text_width), self._title)
        self._rows = self.diff.rows(self.style_of_diff, self.text_width)
        keys = f"{self.diff.summary} · n/N hunk · {{ }} file · d split"
        if self.wanted:
            keys = f"{self._place_of(self._rows.hits())} · n/N hit"
        if self.has_class("-bare"):  # only an upper border, so the figures stand in the title
            return Drawing(self._rows, f"{self._title} · {keys}")
        return Drawing(self._rows, self._title, keys if len(keys) < self.size.width - 4 else self.diff.summary)

    def _place_of(self, hits: list[int]) -> str:
        return f'"{self.wanted}" {self._hit + 1} of {len(hits)}' if hits else f'"{self.wanted}" is not in this diff'

    def action_hunk(self, direction: int) -> None:
        """The next hunk, or the next hit while something is searched for."""
        if not self.wanted:
            self._jump(Kind.HUNK, direction)
        elif self._rows is not None and (hits := self._rows.hits()):
            self._hit = (self._hit + direction) % len(hits)
            self._show_hit(hits)

    def _show_hit(self, hits: list[int]) -> None:
        if self._hit < len(hits):
            self.scroll_to(y=max(0, hits[self._hit] - self.size.height // 3), animate=False, force=True)
        self.show(self.view)

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
        self.style_of_diff = replace(self.style_of_diff, split=not self.style_of_diff.split)
        self.show(self.view)

    def action_wrap(self) -> None:
        self.style_of_diff = replace(self.style_of_diff, wrap=not self.style_of_diff.wrap)
        self.show(self.view)
