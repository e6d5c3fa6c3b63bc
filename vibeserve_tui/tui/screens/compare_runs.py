"""Two past runs: their gains, their recipes, and the difference between the two champions' code."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.screen import Screen

from vibeserve_tui.request_times import RequestTimes
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.panes.bars import Footer
from vibeserve_tui.tui.panes.diff import DiffPane
from vibeserve_tui.tui.panes.runs import draw_runs
from vibeserve_tui.tui.panes.times_and_diff import TimesAndDiff
from vibeserve_tui.tui.screens.dialogs import Confirm, ask_find
from vibeserve_tui.tui.services import RunPair
from vibeserve_tui.tui.shell import shell_of, stands
from vibeserve_tui.tui.widgets.line_view import LineView


class CompareRunsScreen(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = bindings("compare-runs")

    def __init__(self, pair: RunPair, measure: Callable[[], None]) -> None:
        super().__init__()
        self._pair, self._measure = pair, measure

    def compose(self) -> ComposeResult:
        with Vertical(classes="box", id="figures-box"):
            yield LineView(id="figures")
        yield TimesAndDiff(id="lower")
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self.query_one("#figures-box").border_title = content("Compare two runs", self)
        foot = "each gain is against its own seed: b measures both, interleaved"
        self.query_one("#figures-box").border_subtitle = content(foot, self)

    def on_resize(self, event: Resize) -> None:
        del event
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        if not stands(self, ("figures", "lower", "shares", "diff", "footer")):
            return
        table = self.query_one("#figures", LineView)
        lines = draw_runs(self._pair.a, self._pair.b, table.text_width)
        table.styles.height = min(len(lines), max(6, self.size.height - 10))
        table.set_lines(lines)
        why = self._pair.why_no_diff or "The two champions are the same code."
        self.query_one(DiffPane).set_diff(self._pair.diff, "Diff A..B, champion against champion", why)
        a, b = (state.times_in(state.champion) for state in (self._pair.a, self._pair.b))
        self.query_one(TimesAndDiff).show(RequestTimes(a, b))
        self.query_one(Footer).show(shell_of(self).keys_of("compare-runs"))

    def action_chart(self) -> None:
        """What requests took, one quantity after the other."""
        self.query_one(TimesAndDiff).next_chart()

    def action_bench(self) -> None:
        """Both champions beside one another, by a run of its own."""
        text = (
            "Measure both champions beside one another? A run of its own judges them anew, then the gate measures B "
            "against A: about five minutes. Neither run changes."
        )

        def answer(agreed: bool | None) -> None:
            if agreed:
                self._measure()

        self.app.push_screen(Confirm("Measure both", text, "measure"), answer)

    def action_find(self) -> None:
        ask_find(self.query_one(DiffPane))

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._pair.diff)
        self.notify("the diff is copied", markup=False)

    def action_close(self) -> None:
        self.dismiss(None)
