"""What a run may still take, and who has the last word: changed here, sent as commands when it is confirmed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, get_args

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from vibeserve_tui.commands import Command, SetApprovalMode, SetBudget
from vibeserve_tui.events import ApprovalMode
from vibeserve_tui.run_state import RunState
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.ink import Ink, Line, fit, line
from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.panes.bars import Footer
from vibeserve_tui.tui.shell import shell_of
from vibeserve_tui.tui.widgets.line_view import LineView

MODES: tuple[ApprovalMode, ...] = get_args(ApprovalMode)
MODE_WORDS = {
    "auto": "the gate decides alone",
    "each-round": "every measured round waits for you",
    "on-regression": "a round waits when something else got worse",
}
MINUTES_STEP, USD_STEP = 5, 1.0


class Send(Protocol):
    def __call__(self, command: Command, words: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Budget:
    """What the dialog changes; a run without a limit in money gets one with the first step."""

    mode: ApprovalMode
    rounds: int
    minutes: float
    usd: float | None

    @staticmethod
    def of(state: RunState) -> Budget:
        default: ApprovalMode = "auto"
        mode = next((mode for mode in MODES if mode == state.approval_mode), default)
        return Budget(mode, state.max_rounds, state.max_minutes, state.max_usd)

    def changed(self, row: int, step: int) -> Budget:
        match row:
            case 0:
                return replace(self, mode=MODES[(MODES.index(self.mode) + step) % len(MODES)])
            case 1:
                return replace(self, rounds=max(0, self.rounds + step))
            case 2:
                return replace(self, minutes=max(1.0, self.minutes + step * MINUTES_STEP))
            case _:
                return replace(self, usd=max(0.0, (self.usd or 0.0) + step * USD_STEP))

    def commands(self, before: Budget) -> list[tuple[Command, str]]:
        """Only what differs from before."""
        commands: list[tuple[Command, str]] = []
        if self.mode != before.mode:
            commands.append((SetApprovalMode(mode=self.mode), f"approval mode {self.mode}"))
        if replace(self, mode=before.mode) != before:
            budget = SetBudget(
                max_rounds=self.rounds if self.rounds != before.rounds else None,
                max_minutes=self.minutes if self.minutes != before.minutes else None,
                max_usd=self.usd if self.usd != before.usd else None,
            )
            commands.append((budget, "the new budget"))
        return commands


def draw_budget(budget: Budget, state: RunState) -> list[Line]:
    rows = (
        ("approve", budget.mode, MODE_WORDS[budget.mode]),
        ("rounds", f"{budget.rounds}", f"{state.rounds_played} played"),
        ("minutes", f"{budget.minutes:g}", f"{fig.clock(state.active_s)} used"),
        ("money", "no limit" if budget.usd is None else fig.money(budget.usd), f"{fig.cost(state.spend)} spent"),
    )
    return [
        line((fit(name, 9), Ink.MUTED), (fit(value, 15), Ink.BOLD), (words, Ink.MUTED)) for name, value, words in rows
    ]


class BudgetScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = bindings("budget")

    def __init__(self, state: RunState, send: Send) -> None:
        super().__init__()
        self._state, self._send = state, send
        self._before = self._budget = Budget.of(state)

    def compose(self) -> ComposeResult:
        with Vertical(classes="box dialog"):
            yield LineView(id="rows")
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self.query_one(".dialog").border_title = content("Budget and approval", self)
        self._draw(0)
        self.query_one("#rows").focus()
        self.call_after_refresh(self.query_one(Footer).show, shell_of(self).keys_of("budget"))

    def _draw(self, cursor: int) -> None:
        rows = self.query_one("#rows", LineView)
        lines = draw_budget(self._budget, self._state)
        rows.styles.height = len(lines)
        rows.set_lines(lines, cursor=cursor)

    def action_change(self, step: int) -> None:
        row = self.query_one("#rows", LineView).cursor or 0
        self._budget = self._budget.changed(row, step)
        self._draw(row)

    def action_save(self) -> None:
        for command, words in self._budget.commands(self._before):
            self._send(command, words)
        self.dismiss(None)

    def action_close(self) -> None:
        self.dismiss(None)
