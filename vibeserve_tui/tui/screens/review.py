"""One round in full: decide it while it waits, or read it afterwards.

Approval is hard to give by accident: Enter does not approve, and for the first half second no key decides anything,
because it was typed for the screen below.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widgets import Input

from vibeserve_tui.commands import Approve, Command, Pin, Retry, RevertTo, SetApprovalMode
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.ink import Ink, line
from vibeserve_tui.tui.keymap import Key, bindings
from vibeserve_tui.tui.panes.bars import Footer
from vibeserve_tui.tui.panes.diff import DiffPane
from vibeserve_tui.tui.panes.review import draw_judge, draw_review, title_of
from vibeserve_tui.tui.screens.dialogs import ask_find
from vibeserve_tui.tui.shell import shell_of, stands
from vibeserve_tui.tui.view import RunView
from vibeserve_tui.tui.widgets.line_view import LineView

GRACE_S = 0.5
ROOMY_COLUMNS, ROOMY_ROWS = 100, 32
DECISIONS = frozenset({"approve", "revert", "retry", "auto"})
TABS = ("metrics", "diff", "judge")
PARTS = (*TABS, "page", "comment-box", "comment", "review-tabs", "footer")


class ReviewScreen(ModalScreen[str]):
    """Ends with `edit` when the operator wants to edit the round's issue, else with an empty string."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("review")

    def __init__(self, view: RunView, number: int, diff: str, send: Callable[[Command, str], None]) -> None:
        super().__init__()
        self.view, self.number = view, number
        self._diff, self._send, self._clock = diff, send, time.monotonic
        self._opened = self._clock()
        self.tab = "metrics"

    @property
    def waits(self) -> bool:
        """Whether this round can be decided now."""
        approval = self.view.state.approval
        return approval is not None and approval.round == self.number

    @property
    def is_roomy(self) -> bool:
        return self.size.width >= ROOMY_COLUMNS and self.size.height >= ROOMY_ROWS

    def compose(self) -> ComposeResult:
        with Vertical(classes="box full", id="page"):
            yield LineView(id="review-tabs")
            yield LineView(id="metrics")
            yield LineView(id="judge")
            yield DiffPane(id="diff")
        with Vertical(classes="box", id="comment-box"):
            yield Input(id="comment", placeholder="t writes a comment; it goes with any decision", max_length=4000)
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self.query_one("#page", Vertical).border_title = content(title_of(self.view, self.number), self)
        self.query_one("#comment-box", Vertical).border_title = content("comment (t)", self)
        self.query_one("#review-tabs", LineView).can_focus = False
        diff = self.query_one(DiffPane)
        diff.add_class("-bare")
        diff.view = RunView(compact=True)
        parent = self.view.parent_of(self.number)
        title = "Diff" if parent is None else f"Diff r{parent}..r{self.number}"
        diff.set_diff(self._diff, title, "This round changed nothing.")
        self._focus_tab()

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width >= ROOMY_COLUMNS and event.size.height >= ROOMY_ROWS, "-roomy")
        self.call_after_refresh(self.show_run)

    def show_run(self) -> None:
        """Draw the round as the run now knows it."""
        if not stands(self, PARTS):
            return
        metrics, judge = self.query_one("#metrics", LineView), self.query_one("#judge", LineView)
        lines = draw_review(self.view, self.number, metrics.text_width)
        metrics.set_lines(lines)
        metrics.styles.height = len(lines) + 1 if self.is_roomy else None
        judge.set_lines(draw_judge(self.view, self.number, judge.text_width))
        for name in TABS:
            on = name == self.tab or (self.is_roomy and self.tab != "judge" and name != "judge")
            self.query_one(f"#{name}").display = on
        self.query_one("#comment-box").display = self.waits
        self._show_bars()

    def _show_bars(self) -> None:
        diff = self.query_one(DiffPane).diff
        labels = {
            "metrics": "1 Metrics",
            "diff": f"2 Diff {diff.counts}" if diff.lines else "2 Diff",
            "judge": "3 Judge",
        }
        active = self.tab
        parts = [
            (f"[{labels[name]}]", Ink.ACCENT_BOLD) if name == active else (f" {labels[name]} ", Ink.MUTED)
            for name in TABS
        ]
        self.query_one("#review-tabs", LineView).set_lines([line(*parts)])
        self.query_one("#page", Vertical).border_subtitle = content(self._foot(), self)
        self.query_one(Footer).show(self._keys())

    def _keys(self) -> list[Key]:
        """Without a decision to put off, the same key goes back."""
        keys = shell_of(self).keys_of("review")
        if self.waits:
            return keys
        kept = (key for key in keys if key.action not in DECISIONS)
        return [replace(key, label="back") if key.action == "later" else key for key in kept]

    def _foot(self) -> str:
        state = self.view.state
        if not self.waits:
            record = state.rounds.get(self.number)
            return f"decided: {record.outcome}" if record else "not finished"
        waited = fig.clock(self.view.now - state.phase_since)
        return f"{glyphs.WAITING} waiting {waited} · mode {state.approval_mode}"

    def _focus_tab(self) -> None:
        target = "diff" if self.is_roomy and self.tab == "metrics" else self.tab
        self.call_after_refresh(self.query_one(f"#{target}").focus)

    @property
    def _comment(self) -> str:
        return self.query_one("#comment", Input).value.strip()

    def _decide(self, *commands: tuple[Command, str]) -> None:
        if not self.waits or self._clock() - self._opened < GRACE_S:
            return
        for command, words in commands:
            self._send(command, words)
        self.dismiss("")

    # ---- keys --------------------------------------------------------------------------------------------------

    def _approve(self) -> tuple[Command, str]:
        approval = self.view.state.approval
        return Approve(approval=approval.id if approval else "", comment=self._comment), f"approve round {self.number}"

    def action_approve(self) -> None:
        self._decide(self._approve())

    def action_revert(self) -> None:
        self._decide((RevertTo(comment=self._comment), f"turn down round {self.number}"))

    def action_auto(self) -> None:
        self._decide((SetApprovalMode(mode="auto"), "the gate decides from now on"), self._approve())

    def action_retry(self) -> None:
        """First the comment, then Enter sends it."""
        if self.waits:
            self.query_one("#comment", Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._comment:
            self._decide((Retry(comment=self._comment), f"retry round {self.number} with a comment"))

    def action_pin(self) -> None:
        pinned = self.number not in self.view.state.pinned
        self._send(Pin(round=self.number, pinned=pinned), f"{'pin' if pinned else 'unpin'} round {self.number}")

    def action_edit_issue(self) -> None:
        self.dismiss("edit")

    def action_find(self) -> None:
        if self.tab != "diff" and not self.is_roomy:
            self.action_tab("diff")
        ask_find(self.query_one(DiffPane))

    def action_tab(self, name: str) -> None:
        self.tab = name
        self.show_run()
        self._focus_tab()

    def action_later(self) -> None:
        if self.focused is self.query_one("#comment", Input):
            self._focus_tab()
            return
        if self.waits:
            shell_of(self).hint("later")
        self.dismiss("")
