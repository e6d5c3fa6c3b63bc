"""The run screen: every pane over one run, repainted on a timer; keys go to steering or to the pane in focus.

Records are folded as they come, panes are drawn four times a second at most, twice while the engine measures, and
only those that changed and are visible; behind a dialog nothing is drawn.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.events import DescendantFocus, Resize
from textual.widgets import Input, Static

from vibeserve_tui.client import Liveness, ReplayClient, RunClient
from vibeserve_tui.errors import VibeServeError
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.ink import Ink, Span
from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.layout import HEADER_ROWS, PANES, Layout, arrange
from vibeserve_tui.tui.panes.agents import AgentsPane
from vibeserve_tui.tui.panes.bars import Footer, Tabs
from vibeserve_tui.tui.panes.board import BoardPane
from vibeserve_tui.tui.panes.diff import DiffPane
from vibeserve_tui.tui.panes.header import Header, window_title
from vibeserve_tui.tui.panes.hotspots import HotspotsPane
from vibeserve_tui.tui.panes.live import FiguresPane, LivePane
from vibeserve_tui.tui.panes.logs import LogsPane
from vibeserve_tui.tui.panes.memory import MemoryPane
from vibeserve_tui.tui.panes.pane import Pane
from vibeserve_tui.tui.panes.rounds import RoundsPane
from vibeserve_tui.tui.panes.trend import TrendPane
from vibeserve_tui.tui.screens.compare import CompareScreen
from vibeserve_tui.tui.screens.dialogs import ask_find
from vibeserve_tui.tui.screens.opening import Opening
from vibeserve_tui.tui.screens.review import ReviewScreen
from vibeserve_tui.tui.shell import shell_of, stands
from vibeserve_tui.tui.view import RunView

OVER_SSH_HZ = 2
OPENING_S, CATCH_UP_S = 1.0, 0.1
"""How long a long journal may be read before the first picture, and between two pictures."""
MANY = 500
"""Records of one look at the journal that mean that there are more."""
STEERING = frozenset({"pause", "steer", "revert", "new_issue", "edit", "pin", "budget", "cancel_step"})
PARTS = (*PANES, "figures", "header", "footer", "tabs", "filter", "small", "body")


class RunScreen(Opening):
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("run"),
        *bindings("replay"),
        *(Binding(str(index + 1), f"go('{name}')", name, show=False) for index, name in enumerate(PANES)),
    ]

    def __init__(self, client: RunClient, clock: Callable[[], float] = time.time) -> None:
        super().__init__(client, RunView(state=client.state, run_dir=client.run_dir))
        self._clock = clock
        self._active, self._tab, self._zoomed, self._follow = "rounds", "live", False, True
        self._layout_now = Layout()
        self._rows_placed = 0
        self._footer_of = (False, False)
        """What the footer's keys were chosen for: whether the run is over, and whether `space` brings it back."""
        self._dirty: set[str] = set()
        self._pair_stale = False
        """Whether the run brought something for a comparison of two rounds that covers this screen."""
        self._stale = True
        """Whether every pane has to be drawn, whatever changed in the run."""
        self._ticks = 0
        self._asked: set[str] = set()
        self._diff_of: tuple[int, str] | None = None
        self._second = -1
        self._opened = time.monotonic()
        self._panes: list[Pane] = []

    def compose(self) -> ComposeResult:
        yield Header(id="header")
        with Container(id="body"):
            yield Tabs(id="tabs")
            yield RoundsPane(id="rounds")
            yield BoardPane(id="board")
            yield LivePane(id="live")
            yield FiguresPane(id="figures")
            yield DiffPane(id="diff")
            yield MemoryPane(id="memory")
            yield LogsPane(id="logs")
            yield TrendPane(id="trend")
            yield HotspotsPane(id="hotspots")
            yield AgentsPane(id="agents")
        yield Static(content("terminal too small (60×16 needed); the run goes on", self), id="small")
        hint = content("show only lines with these letters · esc clears", self).plain
        yield Input(id="filter", placeholder=hint, compact=True)
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self._panes = list(self.query(Pane))
        self._catch_up(OPENING_S)
        self.refresh_view()
        self.query_one(RoundsPane).focus()
        self.set_interval(self._period(), self.tick)

    def _period(self) -> float:
        """Seconds between two repaints; a slow line gets half of them."""
        hertz = shell_of(self).ui.repaint_hz
        return 1 / (min(hertz, OVER_SSH_HZ) if os.environ.get("SSH_CONNECTION") else hertz)

    # ---- following the run -------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Fold what is new; draw what changed, unless the engine measures and this is the odd tick."""
        if self.view.fault or not stands(self, PARTS):
            return
        self._catch_up(CATCH_UP_S)
        if self.view.fault:
            self.repaint()
            return
        fresh = self.client.state.take_dirty()
        self._dirty |= fresh
        self._pair_stale |= bool(fresh & {"compare", "live"})
        self._ticks += 1
        if self.view.is_measuring and self._ticks % 2:
            return
        self.refresh_view()
        self.outbox.settle()
        self._announce()
        self.app.title = window_title(self.view)
        if self._rows_wanted != self._rows_placed or self._footer_of != self._footer_now:
            self.place()
        if self.is_on_top:
            self.repaint()
            shell = shell_of(self)
            if due := shell.hints.due(time.monotonic() - self._opened):
                shell.hint(due)
        elif isinstance(self.app.screen, ReviewScreen) or (
            isinstance(self.app.screen, CompareScreen) and self._pair_stale
        ):
            self._pair_stale = False
            self.app.screen.show_run()

    def _catch_up(self, limit_s: float) -> None:
        """Fold what is new. A journal that is damaged is not read again: the header says so from then on."""
        until = time.monotonic() + limit_s
        try:
            while self.client.poll() >= MANY and time.monotonic() < until:
                pass
        except VibeServeError as error:
            self.view.fault = str(error)
            self._stale = True

    @property
    def is_on_top(self) -> bool:
        """Whether no dialog covers this screen; Textual calls a covered screen current as well."""
        return self.app.screen is self

    def refresh_view(self) -> None:
        """Bring the view up to the client's state, time and liveness."""
        view, client = self.view, self.client
        self._stale |= view.state is not client.state
        view.state = client.state
        view.liveness = client.liveness()
        view.now = self._clock()
        if isinstance(client, ReplayClient):
            view.now = client.now
            paused = ", paused" if client.paused else ""
            playing = (
                "at its end" if client.fraction == 1 else f"×{client.speed:g}{paused} · {100 * client.fraction:.0f} %"
            )
            self._dirty |= {"header"} if playing != view.replay else set()
            view.replay = playing
        known = view.rounds_known
        if known and (self._follow or view.selected not in known):
            view.selected = known[-1]

    def repaint(self) -> None:
        """Draw the visible panes that show something that changed."""
        dirty, self._dirty = self._dirty, set()
        everything, self._stale = self._stale, False
        if everything or dirty or int(self.view.now) != self._second:
            self._second = int(self.view.now)
            self.query_one(Header).show(self.view)
        self.view.compact = self._layout_now.compact
        for pane in self._panes:
            if pane.display and (everything or pane.views & dirty):
                pane.show(self.view)
        if "diff" in self._layout_now.regions and (everything or dirty & DiffPane.views):
            self._load_diff()

    def _announce(self) -> None:
        """A waiting approval opens its page once, never over a text field or another dialog; else a toast says so."""
        approval = self.view.state.approval
        if approval is None or approval.id in self._asked:
            return
        self._asked.add(approval.id)
        if shell_of(self).ui.bell:
            self.app.bell()
        if self.is_on_top and not isinstance(self.focused, Input) and self.view.liveness is not Liveness.REPLAY:
            self.action_review()
        else:
            how = "a opens it" if self.is_on_top else "esc leads back, a opens it"
            self.tell(f"round {approval.round} waits for you: {how}", bad=False)

    def _load_diff(self) -> None:
        """Ask for the selected round's change once per round and commit."""
        number = self.view.selected
        record, here = self.view.state.rounds.get(number), self.view.state.in_flight
        commit = record.commit if record else here.committed.commit if here and here.committed else ""
        if self._diff_of == (number, commit):
            return
        self._diff_of = (number, commit)
        self.query_one(DiffPane).set_diff(self.diff_text(number), self._diff_title(number), self._why_no_diff(number))

    def _diff_title(self, number: int) -> str:
        parent = self.view.parent_of(number)
        return "Diff" if parent is None else f"Diff r{parent}..r{number}"

    def _why_no_diff(self, number: int) -> str:
        here = self.view.state.in_flight
        if here and here.number == number and here.committed is None:
            return "The implementer is at work. The diff appears with the commit."
        return "Nothing before this round." if self.view.parent_of(number) is None else "This round changed nothing."

    # ---- layout ------------------------------------------------------------------------------------------------

    def on_resize(self, event: Resize) -> None:
        del event
        self.place()

    def on_screen_resume(self) -> None:
        """The size may have changed while something covered this screen."""
        self.place()

    @property
    def _rows_wanted(self) -> int:
        """Lines that the rounds may come to take."""
        return max(self.view.state.max_rounds + 1, len(self.view.rounds_known))

    def place(self) -> None:
        """Give every visible pane its region; the others are not displayed at all."""
        if not stands(self, PARTS):
            return
        self._rows_placed = rows = self._rows_wanted
        self._layout_now = layout = arrange(self.size, self._active, self._tab, zoomed=self._zoomed, rounds=rows)
        self.view.compact = layout.compact
        self.query_one("#small").display = not layout.regions
        self.query_one("#body").display = bool(layout.regions)
        for pane in self.query(Pane):
            region = layout.regions.get(pane.id or "")
            pane.display = region is not None
            if region is not None:
                pane.styles.offset = (region.x, region.y - HEADER_ROWS)
                pane.styles.width, pane.styles.height = region.width, region.height
        tabs = self.query_one(Tabs)
        tabs.display = layout.tab_region is not None
        if layout.tab_region is not None:
            tabs.styles.offset = (layout.tab_region.x, layout.tab_region.y - HEADER_ROWS)
            tabs.styles.width = layout.tab_region.width
        self.call_after_refresh(self._draw_all)

    def _draw_all(self) -> None:
        if not stands(self, PARTS):
            return
        layout = self._layout_now
        if layout.tab_region is not None:
            shown = self._active if layout.compact else self._tab
            self.query_one(Tabs).show(layout.tabs, shown)
        self._show_footer()
        self._stale = True
        self.repaint()

    @property
    def _footer_now(self) -> tuple[bool, bool]:
        view = self.view
        stopped = view.liveness is not Liveness.REPLAY and (view.is_paused or view.liveness is Liveness.CRASHED)
        return view.state.is_over, stopped

    def _show_footer(self) -> None:
        """Only what means something: a run that is over, or a recording of one, cannot be steered."""
        replays = isinstance(self.client, ReplayClient)
        keys = shell_of(self).keys_of("run", *(["replay"] if replays else []), "app")
        self._footer_of = self._footer_now
        if self._footer_of[1]:
            keys = [replace(key, label="resume", rank=1) if key.action == "pause" else key for key in keys]
        if not self.takes_commands:
            keys = [key for key in keys if key.action not in STEERING or (replays and key.action == "pause")]
        tail = (Span("^p", Ink.KEY),) if self.size.width < 160 else (Span("^p", Ink.KEY), Span(" palette", Ink.MUTED))
        self.query_one(Footer).show(keys, tail if self.size.width >= 100 else ())

    def action_go(self, name: str) -> None:
        """To the pane with this digit, wherever the present layout keeps it."""
        self._active = name
        if name in self._layout_now.tabs or self.size.width >= 100:
            self._tab = name if name not in ("rounds", "board", "agents") else self._tab
        self.place()
        self.call_after_refresh(self.query_one(f"#{name}").focus)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        if isinstance(event.widget, Pane) and event.widget.id in PANES:
            self._active = event.widget.id

    def action_zoom(self) -> None:
        self._zoomed = not self._zoomed
        self.place()

    def action_back(self) -> None:
        """Out of the search, then out of the filter, then out of the zoom, then to the rounds."""
        if isinstance(self.focused, DiffPane) and self.focused.wanted:
            self.focused.find(None)
        elif self.view.filter or self.query_one("#filter").display:
            self._set_filter("")
            self._show_field(shown=False)
            self.action_go(self._active)
        elif self._zoomed:
            self.action_zoom()
        else:
            self.action_go("rounds")

    # ---- selection ---------------------------------------------------------------------------------------------

    def on_rounds_pane_selected(self, event: RoundsPane.Selected) -> None:
        self.select_round(event.number)

    def action_round(self, step: int) -> None:
        known = self.view.rounds_known
        if known:
            at = known.index(self.view.selected) if self.view.selected in known else len(known) - 1
            self.select_round(known[min(len(known) - 1, max(0, at + step))])

    def select_round(self, number: int) -> None:
        """Diff, review and compare follow the selection; the newest round is followed again once it is reached."""
        self.view.selected = number
        shell_of(self).hint("compare")
        self._follow = number == self.view.rounds_known[-1]
        self._dirty |= {"rounds", "diff", "hotspots"}
        self.repaint()

    def action_follow(self) -> None:
        self._follow = True
        self.query_one(AgentsPane).follow = True
        self._stale = True
        self.refresh_view()
        self.repaint()

    def action_mark(self) -> None:
        self.view.marked = None if self.view.marked == self.view.selected else self.view.selected
        self._dirty.add("rounds")
        self.repaint()

    def action_chart(self) -> None:
        """The live chart's next quantity; where the chart is out of sight, to it first."""
        pane = self.query_one(LivePane)
        if pane.display:
            pane.next_chart()
            pane.show(self.view)
        else:
            self.action_go("live")

    # ---- filter ------------------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Only lines with some letters; in a diff, which makes no sense in parts, these letters are found instead."""
        if isinstance(self.focused, DiffPane):
            ask_find(self.focused)
            return
        self._show_field(shown=True)
        self.query_one("#filter", Input).focus()

    def _show_field(self, *, shown: bool) -> None:
        """The field for the filter takes the footer's line."""
        self.query_one("#filter").display = shown
        self.query_one("#footer").display = not shown

    def on_input_changed(self, event: Input.Changed) -> None:
        self._set_filter(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._show_field(shown=False)
        self.call_after_refresh(self.query_one(f"#{self._active}").focus)

    def _set_filter(self, text: str) -> None:
        field = self.query_one("#filter", Input)
        if field.value != text:
            field.value = text
        self.view.filter = text.strip().lower()
        self._stale = True
        self.repaint()
