"""Who plays which role, with which model: every change takes effect in the plan at once, which is shown below.

It decides nothing: what a choice means, and whether it can start here, comes back with the plan.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.screen import ModalScreen

from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.ink import BLANK, Ink, Line, fit, line
from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.panes.bars import Footer
from vibeserve_tui.tui.panes.start import readiness
from vibeserve_tui.tui.screens.dialogs import Prompt, Question
from vibeserve_tui.tui.services import PlanForm, Player
from vibeserve_tui.tui.shell import shell_of, stands
from vibeserve_tui.tui.widgets.line_view import LineView

EVERYBODY = "all roles"
MODEL_HINT = "⏎ takes it · empty = the agent's own default · esc leaves it"
Change = Callable[[str, str], None]
"""Takes a choice's name, `agent.judge`, and its value; an empty one takes the choice back."""


def draw_players(form: PlanForm) -> list[Line]:
    """Each role in the plan's words; what was not chosen for this very role is muted."""
    lines = []
    for player in form.players:
        ink = Ink.BOLD if player.own or not player.role else Ink.MUTED
        name = fit(player.role or EVERYBODY, 14)
        lines.append(line((name, Ink.MUTED), (fit(player.agent or fig.UNKNOWN, 14), ink), (player.model, ink)))
    return lines


def draw_outcome(form: PlanForm, width: int) -> list[Line]:
    """The command line that this is, and whether it can start."""
    command = textwrap.wrap(form.command, width, subsequent_indent="  ", break_on_hyphens=False)
    ink = Ink.GOOD if form.ready else Ink.BAD
    # How it is started is the plan's to say: here ⏎ names a model.
    ready = textwrap.wrap(readiness(form).partition(", ⏎")[0], width)
    return [BLANK, *(line((part, Ink.MUTED)) for part in command), *(line((part, ink)) for part in ready)]


class PlayersScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = bindings("players")

    def __init__(self, form: PlanForm, chosen: Mapping[str, str], change: Change) -> None:
        super().__init__()
        self._form, self._wanted, self._change = form, chosen, change

    def compose(self) -> ComposeResult:
        with Vertical(classes="box dialog"):
            yield LineView(id="rows")
            yield Question(id="outcome")
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self.query_one(".dialog").border_title = content("Agents and models", self)
        self.query_one("#rows").focus()

    def on_resize(self, event: Resize) -> None:
        del event
        self.call_after_refresh(self._draw)

    def show(self, form: PlanForm) -> None:
        """Another plan has come, most likely for what was changed here."""
        self._form = form
        self._draw()

    def _draw(self) -> None:
        if not stands(self, ("rows", "outcome", "footer")):
            return
        rows, outcome = self.query_one("#rows", LineView), self.query_one("#outcome", LineView)
        lines = draw_players(self._form)
        rows.styles.height = len(lines)
        rows.set_lines(lines, cursor=min(rows.cursor or 0, len(lines) - 1))
        words = draw_outcome(self._form, max(20, outcome.text_width))
        outcome.styles.height = max(1, min(len(words), self.size.height - len(lines) - 3))
        outcome.set_lines(words)
        self.query_one(Footer).show(shell_of(self).keys_of("players"))

    @property
    def _chosen(self) -> Player:
        return self._form.players[self.query_one("#rows", LineView).cursor or 0]

    def action_change(self, step: int) -> None:
        """The next agent for this role; beyond the last one the role has none of its own again."""
        player = self._chosen
        options = ("", *self._form.agents) if player.role else self._form.agents
        # What was chosen counts at once: a key must not wait for the plan that it changes.
        value = self._wanted.get(_name("agent", player), "" if player.role else player.agent)
        at = options.index(value) if value in options else 0
        self._change(_name("model", player), "")  # it was the other agent's
        self._change(_name("agent", player), options[(at + step) % len(options)])

    def action_model(self) -> None:
        player = self._chosen

        def take(model: str | None) -> None:
            if model is not None:
                self._change(_name("model", player), model)

        title = f"Model of {player.role or EVERYBODY}"
        self.app.push_screen(Prompt(title, MODEL_HINT, player.model), take)

    def action_close(self) -> None:
        self.dismiss(None)


def _name(kind: str, player: Player) -> str:
    """What the choice is called in a plan: `agent`, or `agent.judge`."""
    return f"{kind}.{player.role}" if player.role else kind
