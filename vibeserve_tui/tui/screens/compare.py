"""Two rounds side by side: figures in adjacent columns, requests as shares, and the change from A to B."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Resize

from vibeserve_tui import events as ev
from vibeserve_tui.client import Liveness, RunClient
from vibeserve_tui.commands import MeasureAgain
from vibeserve_tui.errors import VibeServeError
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.ink import Ink, Line, Span, cut, line, width_of
from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.outbox import Outbox
from vibeserve_tui.tui.panes.bars import Footer
from vibeserve_tui.tui.panes.diff import DiffPane
from vibeserve_tui.tui.panes.times_and_diff import TimesAndDiff
from vibeserve_tui.tui.screens.dialogs import ask_find
from vibeserve_tui.tui.screens.steering import Steering
from vibeserve_tui.tui.shell import shell_of, stands
from vibeserve_tui.tui.view import RunView, round_sign
from vibeserve_tui.tui.widgets.figure_table import draw_figures
from vibeserve_tui.tui.widgets.line_view import LineView


def compared_figures(view: RunView, a: int, b: int) -> tuple[tuple[ev.Figure, ...], bool]:
    """The figures of B against A, and whether one measurement holds both: only then is there an interval.

    What the operator had measured once more counts before the round's own measurement, because it is later.
    """
    again = view.state.again
    if (a, b) in again and again[a, b].figures:
        return again[a, b].figures, True
    if (b, a) in again and again[b, a].figures:
        return tuple(_turned(figure) for figure in again[b, a].figures), True
    measured = view.measured_of(b)
    if measured is not None and view.state.against.get(b) == a and measured.figures:
        return measured.figures, True
    earlier = view.measured_of(a)
    before = {(figure.metric, figure.level): figure for figure in (earlier.figures if earlier else ())}
    after = measured.figures if measured else ()
    return tuple(_paired(figure, before.get((figure.metric, figure.level))) for figure in after), False


def _turned(figure: ev.Figure) -> ev.Figure:
    """A measurement of B against A read as one of A against B."""

    def inverse(ratio: float | None) -> float | None:
        return 1 / ratio if ratio else None

    changes = {
        "a": figure.b,
        "b": figure.a,
        "ratio": inverse(figure.ratio),
        "ci_low": inverse(figure.ci_high),
        "ci_high": inverse(figure.ci_low),
    }
    return figure.model_copy(update=changes)


def _paired(figure: ev.Figure, before: ev.Figure | None) -> ev.Figure:
    """Figures of two measurements: a difference without an interval, so nothing is claimed."""
    changes = {
        "a": before.b if before else None,
        "ratio": None,
        "ci_low": None,
        "ci_high": None,
    }
    return figure.model_copy(update=changes)


def draw_names(view: RunView, a: int, b: int, width: int) -> list[Line]:
    """Both rounds on one line; where that is too long for it, without their commits, and each cut alike."""
    head, gap = Span("compare  ", Ink.MUTED), Span("     ")
    whole = (head, *_name(view, "A", a), gap, *_name(view, "B", b))
    if width_of(whole) <= width:
        return [whole]
    room = max(0, width - width_of((head, gap)))
    left = cut(_name(view, "A", a)[:-1], room // 2)
    return [(head, *left, gap, *cut(_name(view, "B", b)[:-1], room - width_of(left)))]


def _name(view: RunView, side: str, number: int) -> Line:
    record = view.state.rounds.get(number)
    task = view.task_of(number)
    sign, ink = round_sign(view, record) if record else ("", Ink.PLAIN)
    commit = record.commit[:7] if record else ""
    return line(
        (f"{side} = r{number} ", Ink.BOLD), (f"{sign} ", ink), task.title if task else "?", (f"   {commit}", Ink.MUTED)
    )


STEERING = frozenset({"revert", "pin", "bench"})
PARTS = ("names", "figures", "figures-box", "lower", "shares", "diff", "footer")


class CompareScreen(Steering):
    BINDINGS: ClassVar[list[BindingType]] = bindings("compare")

    def __init__(self, client: RunClient, view: RunView, outbox: Outbox, pair: tuple[int, int]) -> None:
        super().__init__(client, view)
        # The run screen below goes on polling and reports what is refused.
        self.outbox = outbox
        self._a, self._b = pair
        self._text = ""

    def compose(self) -> ComposeResult:
        yield LineView(id="names")
        with Vertical(classes="box", id="figures-box"):
            yield LineView(id="figures")
        yield TimesAndDiff(id="lower")
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self.query_one("#names", LineView).can_focus = False

    def on_resize(self, event: Resize) -> None:
        del event
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        if not stands(self, PARTS):
            return
        names = self.query_one("#names", LineView)
        names.set_lines(draw_names(self.view, self._a, self._b, names.text_width))
        self._draw_figures()
        self._draw_diff()
        keys = shell_of(self).keys_of("compare")
        self.query_one(Footer).show(
            keys if self.takes_commands else [key for key in keys if key.action not in STEERING]
        )

    def _draw_figures(self) -> None:
        """What a measurement may change while this is looked at."""
        view, table = self.view, self.query_one("#figures", LineView)
        figures, together = compared_figures(view, self._a, self._b)
        lines = draw_figures(figures, (f"r{self._a}", f"r{self._b}"), table.text_width)
        table.set_lines(lines or [line(("B has no figures: it ended before it was measured.", Ink.MUTED))])
        table.styles.height = max(1, len(lines))
        box = self.query_one("#figures-box")
        box.border_title = content("Metrics", self)
        box.border_subtitle = content(self._how_measured(together=together), self)
        self.query_one(TimesAndDiff).show(view.state.times_between(self._a, self._b))

    def _how_measured(self, *, together: bool) -> str:
        pair = {(self._a, self._b), (self._b, self._a)}
        live = self.view.state.live
        if pair & set(self.view.state.again_wished):
            if live and live.purpose == "again" and live.finished is None:
                done = len(live.blocks)
                return f"measured again now, interleaved: {done} block{'' if done == 1 else 's'} done"
            return "asked for: both are measured again before the next round"
        if pair & set(self.view.state.again):
            return "measured again, interleaved"
        if together:
            return "one measurement, interleaved"
        why = "measured in different rounds, so no interval"
        return f"{why}: b benches both again, interleaved" if self.takes_commands else why

    def show_run(self) -> None:
        """Draw what the run has brought since; the code is what it was."""
        if stands(self, PARTS):
            self._draw_figures()

    def _draw_diff(self) -> None:
        try:
            self._text = self.client.diff(self._a, self._b)
            why = "A and B are the same tree."
        except VibeServeError as error:
            self._text, why = "", str(error)
        self.query_one(DiffPane).set_diff(self._text, f"Diff r{self._a}..r{self._b}", why)

    # ---- keys --------------------------------------------------------------------------------------------------

    @property
    def chosen_round(self) -> int:
        """B: below this screen the selection may move on with the run."""
        return self._b

    def action_swap(self) -> None:
        self._set(self._b, self._a)

    def action_change_a(self, step: int) -> None:
        self._set(self._beside(self._a, step), self._b)

    def action_change_b(self, step: int) -> None:
        self._set(self._a, self._beside(self._b, step))

    def _beside(self, number: int, step: int) -> int:
        known = sorted(self.view.state.rounds)
        at = known.index(number) if number in known else 0
        return known[min(len(known) - 1, max(0, at + step))]

    def _set(self, a: int, b: int) -> None:
        self._a, self._b = a, b
        self.view.selected = b
        self._draw()

    def action_chart(self) -> None:
        """What requests took, one quantity after the other."""
        self.query_one(TimesAndDiff).next_chart()

    def action_bench(self) -> None:
        """Both again, beside one another: an answer for people, which moves no champion."""
        if self.view.liveness is Liveness.REPLAY:
            self.tell("a recording measures nothing", bad=True)
            return
        text = (
            f"Measure rounds {self._a} and {self._b} beside one another again? It is done between two rounds and takes "
            "as long as one measurement; the champion stays what it is."
        )
        self._confirm("Bench both again", text, "measure", MeasureAgain(a=self._a, b=self._b))

    def action_find(self) -> None:
        ask_find(self.query_one(DiffPane))

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._text)
        self.tell("the diff is copied", bad=False)

    def action_close(self) -> None:
        self.dismiss("")
