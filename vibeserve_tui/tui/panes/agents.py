"""What the roles say and do, one line each: time, role, text or tool call, how it ended and how long it took."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import overload

from vibeserve_tui.run_state import FeedLine, Spend
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
    text_ink = {"note": Ink.ACCENT, "start": Ink.MUTED, "wait": Ink.WARN}.get(entry.kind, Ink.PLAIN)
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


def _cost(calls: int, spend: Spend | None) -> str:
    """`12 calls 45k tok $0.12`; a price that is not known is said, not shown as nothing."""
    parts = [f"{calls} call{'' if calls == 1 else 's'}"] if calls else []
    if spend is not None and spend.tokens:
        parts += [f"{fig.tokens(spend.tokens)} tok", fig.cost(spend)]
    return " ".join(parts)


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
    filters = True
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
            return Drawing(empty(text, self.text_width), "Agents")
        cursor = (
            len(self.entries) - 1 if self.follow or self.cursor is None else min(self.cursor, len(self.entries) - 1)
        )
        foot = f"{glyphs.FOLD} f follows" if not self.follow else self._foot(view)
        lines = FeedLines(self.entries, self.text_width)
        return Drawing(lines, self._title(view), foot, cursor=cursor, to_end=self.follow)

    def _title(self, view: RunView) -> str:
        turns = [f"{role_name(turn.role)}: {turn.model}" for turn in view.state.unsettled.values()]
        if turns and self.size.width >= 60:
            return f"Agents · waiting for {', '.join(turns)}"
        providers = set(view.state.plan.agents.values()) if view.state.plan else set()
        if self.size.width >= 90 and providers == {"playbook"}:
            return "Agents · playbook: deterministic recipes, no model is called"
        working = " ".join(role_name(role) for role in view.state.roles_working)
        return f"Agents · {working} at work" if working else "Agents"

    def _foot(self, view: RunView) -> str:
        """Each role with its tool calls and what it has cost; the calls alone where there is no room."""
        calls = Counter(entry.role for entry in view.state.feed if entry.kind == "tool")
        spent = view.state.spent
        roles = [role for role in dict.fromkeys([*calls, *spent]) if calls[role] or spent[role].tokens]
        long = " · ".join(f"{role_name(role)} {_cost(calls[role], spent.get(role))}" for role in roles)
        short = " · ".join(f"{role_name(role)} {calls[role]}" for role in roles if calls[role]) + (
            " calls" if calls else ""
        )
        return long if len(long) < self.size.width - 6 else short

    def on_mouse_scroll_up(self) -> None:
        self.follow = False

    def select(self, index: int) -> None:
        super().select(index)
        self.follow = self.cursor == len(self.entries) - 1
