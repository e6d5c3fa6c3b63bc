"""What the roles say and do, one line each: time, role, text or tool call, how it ended and how long it took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import overload

from vibeserve_tui.run_state import FeedLine
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import Ink, Line, Span, spread
from vibeserve_tui.tui.panes.pane import Drawing, Pane, empty
from vibeserve_tui.tui.view import RunView

ROLE_NAMES = {
    "orchestrator": "orch",
    "implementer": "impl",
    "evaluator": "eval",
    "operator": "you",
    "mutator": "mutat",
}


def role_name(role: str) -> str:
    return ROLE_NAMES.get(role, role[:5])


def draw_feed_line(entry: FeedLine, width: int) -> Line:
    """`08:31:09 impl  › edit server/engine.py  ✓ 0.2 s`; the whole text opens with Enter."""
    moment = time.strftime("%H:%M:%S", time.localtime(entry.ts_wall))
    mark = glyphs.TOOL if entry.kind == "tool" else " "
    text_ink = {"note": Ink.ACCENT, "start": Ink.MUTED}.get(entry.kind, Ink.PLAIN)
    left = (
        Span(f"{moment} " if width >= 44 else "", Ink.MUTED),
        Span(f"{role_name(entry.role):5} ", Ink.BOLD if entry.kind == "note" else Ink.MUTED),
        Span(f"{mark} ", Ink.MUTED),
        Span(entry.text, text_ink),
    )
    return spread(left, _ending(entry, width), width)


def _ending(entry: FeedLine, width: int) -> tuple[Span, ...]:
    if entry.ok is None:
        return ()
    sign = Span(f" {glyphs.OK}", Ink.GOOD) if entry.ok else Span(f" {glyphs.FAILED}", Ink.BAD)
    if entry.took_s is None or width < 60:
        return (sign,)
    return (sign, Span(f" {fig.took(entry.took_s):>7}", Ink.MUTED))


class FeedLines(Sequence[Line]):
    """The feed as lines, each made only when it is shown."""

    def __init__(self, entries: Sequence[FeedLine], width: int) -> None:
        self.entries = entries
        self._width = width

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Line]: ...
    def __getitem__(self, index: int | slice) -> Line | Sequence[Line]:
        if isinstance(index, slice):
            return [draw_feed_line(entry, self._width) for entry in self.entries[index]]
        return draw_feed_line(self.entries[index], self._width)


class AgentsPane(Pane):
    digit, label = "6", "Agents"
    views = frozenset({"agents"})
    quiet_cursor = True

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.follow = True
        self.entries: list[FeedLine] = []

    @property
    def chosen(self) -> FeedLine | None:
        return self.entries[self.cursor] if self.cursor is not None and self.cursor < len(self.entries) else None

    def draw(self, view: RunView) -> Drawing:
        feed = view.state.feed
        self.entries = list(feed)
        if view.filter:
            self.entries = [entry for entry in feed if view.filter in f"{entry.role} {entry.text}".lower()]
        if not self.entries:
            text = (
                "What the roles say and do appears here."
                if not view.filter
                else f'Nothing matches "{view.filter}". esc clears.'
            )
            return Drawing(empty(text), "Agents")
        cursor = (
            len(self.entries) - 1 if self.follow or self.cursor is None else min(self.cursor, len(self.entries) - 1)
        )
        foot = f"{glyphs.FOLD} f follows" if not self.follow else self._counts()
        lines = FeedLines(self.entries, self.text_width)
        return Drawing(lines, self._title(view), foot, cursor=cursor, to_end=self.follow)

    def _title(self, view: RunView) -> str:
        providers = set(view.state.plan.agents.values()) if view.state.plan else set()
        if self.size.width >= 90 and providers == {"playbook"}:
            return "Agents · playbook: deterministic recipes, no model is called"
        working = " ".join(role_name(role) for role in view.state.roles_working)
        return f"Agents · {working} at work" if working else "Agents"

    def _counts(self) -> str:
        calls: dict[str, int] = {}
        for entry in self.entries:
            if entry.kind == "tool":
                calls[role_name(entry.role)] = calls.get(role_name(entry.role), 0) + 1
        return " · ".join(f"{role} {count}" for role, count in calls.items()) + (" calls" if calls else "")

    def on_mouse_scroll_up(self) -> None:
        self.follow = False

    def select(self, index: int) -> None:
        super().select(index)
        self.follow = self.cursor == len(self.entries) - 1
