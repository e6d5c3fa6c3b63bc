"""The measurement that runs: its windows in the order of time, and A beside B while the blocks come in."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vibeserve_tui import events as ev
from vibeserve_tui.reasons import in_words
from vibeserve_tui.request_times import QUANTITIES, Quantity
from vibeserve_tui.run_state import LiveMeasurement
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui.ink import Ink, Line, fit, line
from vibeserve_tui.tui.panes.pane import Drawing, Pane, empty
from vibeserve_tui.tui.view import RunView, live_figures
from vibeserve_tui.tui.widgets.chart import Window, window_chart
from vibeserve_tui.tui.widgets.figure_table import draw_figures
from vibeserve_tui.tui.widgets.whisker import sparkline

SPARK_LABEL, SPARK_CELLS = 8, 30
NOTHING_MEASURED = (
    "Nothing is measured yet.\nRound 0 measures the target's own seed server; the chart fills window by window."
)


@dataclass(frozen=True, slots=True)
class Course:
    """One quantity over the windows of a measurement: what stands for a window, and the requests in it."""

    name: str
    """Of the figure that a window reports."""
    title: str
    unit: str
    requests: Quantity | None = None

    def of(self, window: ev.WindowMeasured) -> tuple[float | None, tuple[float, ...]]:
        samples = getattr(window, self.requests) if self.requests else ()
        rule = window.values.get(self.name)
        return statistics.median(samples) if rule is None and samples else rule, samples


PER_REQUEST = (
    Course("median_ttft_ms", "TTFT per request", "ms", "ttft_ms"),
    Course("median_tpot_ms", "TPOT per request", "ms", "tpot_ms"),
)
PER_WINDOW = (
    Course("output_throughput", "throughput per window", "tok/s"),
    Course("peak_rss_mib", "peak memory per window", "MiB"),
)


def courses_of(live: LiveMeasurement, metric: ev.MetricRef) -> list[Course]:
    """The headline's first, then every other that the windows hold."""
    label = fig.metric_label(metric.name)
    requests = next((name for name in QUANTITIES if name in metric.name), None)
    headline = Course(metric.name, f"{label} per {'request' if requests else 'window'}", metric.unit, requests)
    others = [c for c in (*PER_REQUEST, *PER_WINDOW) if (c.requests or c.name) != (requests or metric.name)]
    return [headline, *(c for c in others if any(c.of(window)[0] is not None for window in live.windows))]


def windows_of(live: LiveMeasurement, course: Course) -> list[Window]:
    """Requests as dots and a rule for what stands for them; of a figure of whole windows the rule alone."""
    return [_window(window, live, course) for window in live.windows if window.level == live.level]


def _window(window: ev.WindowMeasured, live: LiveMeasurement, course: Course) -> Window:
    rule, samples = course.of(window)
    short = live.label_a if window.side == "A" else live.label_b
    return Window(window.side, window.block, f"{window.side} {short}".strip(), rule, samples)


class LivePane(Pane):
    digit, label = "2", "Live"
    views = frozenset({"live"})

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._at = 0

    def next_chart(self) -> None:
        self._at += 1

    def draw(self, view: RunView) -> Drawing:
        live, metric = view.state.live, view.state.headline
        if live is None or metric is None:
            return Drawing(empty(NOTHING_MEASURED, self.text_width), "Live")
        courses = courses_of(live, metric)
        course = courses[self._at % len(courses)]
        windows = windows_of(live, course)
        lines = window_chart(windows, self.text_width, self.size.height)
        title = self._title(view, live, course)
        if not lines:
            words = "the first window is being measured" if live.finished is None else "no windows were recorded"
            return Drawing(
                empty(f"{live.label_a} against {live.label_b} at {live.level}: {words}.", self.text_width), title
            )
        foot = _medians(windows, course.unit) if course is not courses[0] else self._levels(view)
        return Drawing(lines, title, foot + (" · t next" if len(courses) > 1 else ""))

    def _levels(self, view: RunView) -> str:
        """Of the headline, as the gate takes them once it has decided."""
        headline = next((figure for figure in live_figures(view) if figure.headline), None)
        return _sides({"A": headline.a, "B": headline.b}, headline.unit) if headline else ""

    def _title(self, view: RunView, live: LiveMeasurement, course: Course) -> str:
        """The longest form that fits: the unit is never cut off."""
        name = f"{course.title}, {course.unit}"
        short = f"{course.title.partition(' per ')[0]}, {course.unit}"
        if live.finished is None:
            forms = [f"Live · {name} · {live.level}", f"Live · {short} · {live.level}"]
        else:
            when = fig.age(view.now - live.started_wall)
            forms = [
                f"last measured: r{live.round}, {when} · {name} · {live.level}",
                f"r{live.round}, {when} · {name} · {live.level}",
                f"r{live.round}, {when} · {short} · {live.level}",
            ]
        room = self.size.width - 6  # the corners, and the pane's digit
        return next((form for form in forms if len(form) <= room), short)


def _medians(windows: Sequence[Window], unit: str) -> str:
    """Of each side, over its windows."""
    rules = {side: [w.rule for w in windows if w.side == side and w.rule is not None] for side in "AB"}
    return _sides({side: statistics.median(values) for side, values in rules.items() if values}, unit)


def _sides(values: Mapping[str, float | None], unit: str) -> str:
    places = fig.column_places(unit, *values.values())
    return "  ".join(("median", *(f"{side} {fig.number(value, places)}" for side, value in values.items())))


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
            return Drawing(empty("Champion and candidate appear here side by side.", self.text_width), "A · B")
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
        why_not = confirmed.doubt
        if not why_not and view.state.champion == confirmed.baseline:
            why_not = "the gain did not hold, so that the seed is the champion again"
        how = f"measured again on a new seed, {confirmed.blocks} blocks"
        lines += [(), *self._wrapped(f"{why_not}; {how}" if why_not else f"{how}; the figures to quote")]
        for ablation in view.state.ablations:
            fate = "left out" if ablation.dropped else "stays"
            ratio = f", {fig.factor(ablation.ratio)} with it" if ablation.ratio else ""
            lines += self._wrapped(f"{ablation.skill} {fate}{ratio}")
        title = "Not confirmed" if why_not else "Confirmed"
        return Drawing(lines, f"{title} · {labels[1]} against {labels[0]}")

    def _notes(self, view: RunView, live: LiveMeasurement) -> list[Line]:
        if live.finished is not None and live.purpose == "noise":
            return self._wrapped(f"{live.finished.blocks} blocks: {in_words(live.finished.reason)}")
        if live.finished is not None:
            words = f"{live.finished.outcome} after {live.finished.blocks} blocks: {in_words(live.finished.reason)}"
            return self._wrapped(words)
        blocks = len(live.blocks)
        total = view.state.progress.total if view.state.progress else 0
        count = f"{blocks} of {total} blocks" if total else f"{blocks} block{'' if blocks == 1 else 's'} done"
        return self._wrapped(f"provisional, {count}; the gate decides on whole blocks")

    def _wrapped(self, words: str) -> list[Line]:
        return [line((part, Ink.MUTED)) for part in textwrap.wrap(words, max(10, self.text_width))]
