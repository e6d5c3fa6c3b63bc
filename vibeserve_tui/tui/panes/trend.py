"""The headline by round, over the step line of the champion."""

from __future__ import annotations

from vibeserve_tui import events as ev
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.panes.pane import Drawing, Pane, empty
from vibeserve_tui.tui.panes.rounds import rows_of
from vibeserve_tui.tui.view import RunView
from vibeserve_tui.tui.widgets.chart import Point, trend_chart


def points_of(view: RunView) -> list[Point]:
    """Every round with the champion's level after it."""
    champion: float | None = None
    points = []
    for row in rows_of(view):
        record = view.state.rounds.get(row.number)
        if record and record.fate in ("champion", "baseline") and row.value is not None:
            champion = row.value
        label = "" if row.value is None else fig.number(row.value, 0)
        low, high = bounds_of(record)
        points.append(Point(row.number, row.sign, row.sign_ink, row.value, label, champion, low, high))
    return points


def headline_of(view: RunView) -> ev.Figure | None:
    """The champion's figure, as measured last."""
    record = view.state.champion_record
    return view.state.confirmed_headline or (record.measured.headline if record and record.measured else None)


def limit_of(figure: ev.Figure | None) -> float | None:
    """The figure that this device's ceilings allow at best; None where they are not known."""
    if figure is None or not figure.headroom or figure.b is None:
        return None
    return figure.b * figure.headroom if figure.direction == "max" else figure.b / figure.headroom


def bounds_of(record: ev.RoundRecord | None) -> tuple[float | None, float | None]:
    """The round's interval on the axis of its own measurement: what it may be, if the other side is as measured."""
    sound = record is not None and record.number and record.outcome not in (ev.Outcome.VOID, ev.Outcome.FAILED)
    figure = record.measured.headline if sound and record and record.measured else None
    if figure is None or not figure.a or not figure.ci_low or not figure.ci_high:
        return None, None
    edges = [
        figure.a * ratio if figure.direction == "max" else figure.a / ratio for ratio in (figure.ci_low, figure.ci_high)
    ]
    return min(edges), max(edges)


class TrendPane(Pane):
    digit, label = "8", "Trend"
    views = frozenset({"trend", "rounds"})

    def draw(self, view: RunView) -> Drawing:
        metric = view.state.headline
        figure = headline_of(view)
        limit = limit_of(figure)
        lines = trend_chart(points_of(view), self.text_width, self.size.height, limit) if metric else []
        if metric is None or not lines:
            return Drawing(empty("Each round becomes a sign here, over the champion's line.", self.text_width), "Trend")
        title = f"Trend · {fig.metric_label(metric.name)}, {metric.unit}, by round"
        signs = f"{glyphs.DASH} champion   {glyphs.KEPT} kept  {glyphs.INDECISIVE} indecisive  {glyphs.FAILED} failed"
        far = f"{glyphs.LIMIT} the device's limit, {fig.factor(figure.headroom)} away" if figure and limit else ""
        forms = (f"{far}   {signs}" if far else signs, far or signs, signs)
        return Drawing(lines, title, next((form for form in forms if len(form) < self.size.width - 4), ""))
