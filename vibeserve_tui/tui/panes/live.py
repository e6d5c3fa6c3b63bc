"""The measurement that runs: its windows in the order of time, and A beside B while the blocks come in."""

from __future__ import annotations

import statistics
import textwrap

from vibeserve_tui import events as ev
from vibeserve_tui.run_state import LiveMeasurement
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui.ink import Ink, Line, fit, line
from vibeserve_tui.tui.panes.pane import Drawing, Pane, empty
from vibeserve_tui.tui.reasons import in_words
from vibeserve_tui.tui.view import RunView, live_figures
from vibeserve_tui.tui.widgets.chart import Window, window_chart
from vibeserve_tui.tui.widgets.figure_table import draw_figures
from vibeserve_tui.tui.widgets.whisker import sparkline

SPARK_LABEL, SPARK_CELLS = 8, 30
NOTHING_MEASURED = (
    "Nothing is measured yet.\nRound 0 measures the target's own seed server; the chart fills window by window."
)


def windows_of(live: LiveMeasurement, metric: ev.MetricRef) -> list[Window]:
    """The windows on the headline's unit: requests as dots for a latency, the window's own figure for a rate."""
    return [_window(window, live, metric) for window in live.windows if window.level == live.level]


def _window(window: ev.WindowMeasured, live: LiveMeasurement, metric: ev.MetricRef) -> Window:
    samples: tuple[float, ...] = ()
    if metric.unit == "ms" and "ttft" in metric.name:
        samples = window.ttft_ms
    elif metric.unit == "ms" and "tpot" in metric.name:
        samples = window.tpot_ms
    rule = window.values.get(metric.name)
    if rule is None and samples:
        rule = statistics.median(samples)
    short = live.label_a if window.side == "A" else live.label_b
    return Window(window.side, window.block, f"{window.side} {short}".strip(), rule, samples)


class LivePane(Pane):
    digit, label = "2", "Live"
    views = frozenset({"live"})

    def draw(self, view: RunView) -> Drawing:
        live, metric = view.state.live, view.state.headline
        if live is None or metric is None:
            return Drawing(empty(NOTHING_MEASURED), "Live")
        lines = window_chart(windows_of(live, metric), self.text_width, self.size.height)
        title = self._title(view, live, metric)
        if not lines:
            words = "the first window is being measured" if live.finished is None else "no windows were recorded"
            return Drawing(empty(f"{live.label_a} against {live.label_b} at {live.level}: {words}."), title)
        return Drawing(lines, title, self._foot(view))

    def _title(self, view: RunView, live: LiveMeasurement, metric: ev.MetricRef) -> str:
        per = "per request" if fig.is_latency(metric.name) else "per window"
        name = f"{fig.metric_label(metric.name)} {per}, {metric.unit} · {live.level}"
        if live.finished is None:
            return f"Live · {name}"
        return f"last measured: r{live.round}, {fig.age(view.now - live.started_wall)} · {name}"

    def _foot(self, view: RunView) -> str:
        headline = next((figure for figure in live_figures(view) if figure.headline), None)
        if headline is None:
            return ""
        places = fig.column_places(headline.unit, headline.a, headline.b)
        return f"median  A {fig.number(headline.a, places)}  B {fig.number(headline.b, places)}"


def draw_sparks(view: RunView, live: LiveMeasurement, width: int) -> list[Line]:
    """What has no verdict, only a course: the machine's load, and the memory of the server that is measured."""
    device = view.state.device
    of = f" of {device.cores} cores" if device and device.cores else ""
    loads = list(view.state.loads)
    memory = [v for w in live.windows if w.side == "B" and (v := w.values.get("peak_rss_mib")) is not None]
    lines = [_spark("load", loads, f"{loads[-1]:.1f}{of}", width)] if loads else []
    return [*lines, _spark("memory", memory, f"{memory[-1]:.0f} MiB", width)] if memory else lines


def _spark(name: str, values: list[float], now: str, width: int) -> Line:
    cells = max(0, min(SPARK_CELLS, width - SPARK_LABEL - 18))
    return line((fit(name, SPARK_LABEL), Ink.MUTED), (fit(sparkline(values, cells), cells), Ink.MUTED), f"  {now}")


class FiguresPane(Pane):
    """A beside B of the running or last measurement; once the champion is confirmed, that."""

    label = "A · B"
    views = frozenset({"live", "trend", "rounds"})

    def draw(self, view: RunView) -> Drawing:
        state = view.state
        live, figures = state.live, live_figures(view)
        if state.confirmed and (state.is_over or live is None or live.purpose == "confirmation"):
            return self._confirmed(view, state.confirmed[-1])
        if live is None or not figures:
            return Drawing(empty("Champion and candidate appear here side by side."), "A · B")
        provisional = live.finished is None
        lines = draw_figures(figures, (live.label_a, live.label_b), self.text_width, provisional=provisional)
        lines += [(), *self._notes(view, live)]
        sparks = draw_sparks(view, live, self.text_width)
        if sparks and len(lines) + len(sparks) < self.size.height:
            lines += [(), *sparks]
        return Drawing(lines, f"A {live.label_a} · B {live.label_b}")

    def _confirmed(self, view: RunView, confirmed: ev.Confirmed) -> Drawing:
        labels = (f"r{confirmed.baseline}", f"r{confirmed.champion}")
        lines = draw_figures(confirmed.figures, labels, self.text_width)
        lines += [(), *self._wrapped(f"measured again on a new seed, {confirmed.blocks} blocks; the figures to quote")]
        for ablation in view.state.ablations:
            fate = "left out" if ablation.dropped else "stays"
            ratio = f", {fig.factor(ablation.ratio)} with it" if ablation.ratio else ""
            lines += self._wrapped(f"{ablation.skill} {fate}{ratio}")
        return Drawing(lines, f"Confirmed · {labels[1]} against {labels[0]}")

    def _notes(self, view: RunView, live: LiveMeasurement) -> list[Line]:
        if live.finished is not None:
            words = f"{live.finished.outcome} after {live.finished.blocks} blocks: {in_words(live.finished.reason)}"
            return self._wrapped(words)
        blocks = len(live.blocks)
        total = view.state.progress.total if view.state.progress else 0
        count = f"{blocks} of {total} blocks" if total else f"{blocks} block{'' if blocks == 1 else 's'} done"
        return self._wrapped(f"provisional, {count}; the gate decides on whole blocks")

    def _wrapped(self, words: str) -> list[Line]:
        return [line((part, Ink.MUTED)) for part in textwrap.wrap(words, max(10, self.text_width))]
