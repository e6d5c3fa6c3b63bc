"""What the panes read: the folded run, the time, and what follows from both. Nothing here is drawn or sent.

Provisional figures are medians of the windows measured so far; they carry no interval, because only the gate makes
intervals, and are always shown with `~`.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path

from vibeserve_tui import events as ev
from vibeserve_tui.client import Liveness
from vibeserve_tui.run_state import LiveMeasurement, RunState, Status
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import Ink

PHASE_WORDS = {
    ev.Phase.STARTING: "starting",
    ev.Phase.BASELINE: "baseline",
    ev.Phase.PLAN: "planning",
    ev.Phase.IMPLEMENT: "implementing",
    ev.Phase.JUDGE: "judging",
    ev.Phase.MEASURE: "measuring",
    ev.Phase.PROFILE: "profiling",
    ev.Phase.DECIDE: "deciding",
    ev.Phase.ABLATE: "ablating",
    ev.Phase.CONFIRM: "confirming",
    ev.Phase.IDLE: "idle",
}
MEASURING = frozenset({ev.Phase.BASELINE, ev.Phase.MEASURE, ev.Phase.ABLATE, ev.Phase.CONFIRM})


@dataclass(slots=True)
class RunView:
    """One run as a screen sees it now."""

    state: RunState = field(default_factory=RunState)
    now: float = 0.0
    """Wall-clock time; in a replay, the time of the last record."""
    liveness: Liveness = Liveness.RUNNING
    run_dir: Path | None = None
    selected: int = 0
    """The round that diff, review and compare are about."""
    marked: int | None = None
    filter: str = ""
    fault: str = ""
    """Why the journal cannot be read any more."""
    replay: str = ""
    """Speed and place of a recording that is played, `×20 · 43 %`."""
    compact: bool = False
    """One pane at a time: the tab line carries the digits."""
    asked_to_end: bool = False
    """Whether whoever leaves asked for a pause or an end first."""

    @property
    def is_measuring(self) -> bool:
        return self.liveness is Liveness.RUNNING and self.state.phase in MEASURING and not self.state.approval

    @property
    def is_paused(self) -> bool:
        return self.state.status is Status.PAUSED

    @property
    def goes_on(self) -> bool:
        """Whether an engine works on it, or waits for a person, and will go on doing so."""
        works = self.liveness in (Liveness.RUNNING, Liveness.NOT_RESPONDING)
        return works and not self.state.is_over and not self.asked_to_end

    @property
    def rounds_known(self) -> list[int]:
        """Finished rounds and the one in flight, in order."""
        numbers = set(self.state.rounds)
        if self.state.in_flight:
            numbers.add(self.state.in_flight.number)
        return sorted(numbers)

    def parent_of(self, number: int) -> int | None:
        """The round this one started from; None for the baseline."""
        if number == 0:
            return None
        if record := self.state.rounds.get(number):
            return record.task.parent
        here = self.state.in_flight
        return here.task.parent if here and here.number == number else None

    def task_of(self, number: int) -> ev.TaskPlan | None:
        if record := self.state.rounds.get(number):
            return record.task
        here = self.state.in_flight
        return here.task if here and here.number == number else None

    def measured_of(self, number: int) -> ev.Measured | None:
        if record := self.state.rounds.get(number):
            return record.measured
        here = self.state.in_flight
        return here.measured if here and here.number == number else None

    def verdict_of(self, number: int) -> ev.Verdict | None:
        if record := self.state.rounds.get(number):
            return record.verdict
        here = self.state.in_flight
        return here.verdict if here and here.number == number else None

    def eta_s(self) -> float | None:
        """What is left at the pace so far, never more than the budget leaves."""
        state = self.state
        if state.plan is None or state.is_over:
            return None
        left = state.max_minutes * 60 - state.active_s
        taken = [record.took_s for record in state.rounds.values() if record.number and record.took_s > 0]
        if not taken or left <= 0:  # what the confirmation at the end takes is not known
            return None
        return min(left, statistics.fmean(taken) * state.rounds_left)


def round_sign(view: RunView, record: ev.RoundRecord) -> tuple[str, Ink]:
    """The round's sign: champion and pinned outrank the outcome that made them possible."""
    state = view.state
    if record.number == state.champion and record.outcome is ev.Outcome.KEPT:
        return glyphs.CHAMPION, Ink.GOOD_BOLD
    if record.number in state.pinned:
        return glyphs.PINNED, Ink.BOLD
    ink = {
        ev.Outcome.KEPT: Ink.GOOD,
        ev.Outcome.REVERTED: Ink.WARN,
        ev.Outcome.FAILED: Ink.BAD,
        ev.Outcome.INDECISIVE: Ink.MUTED,
        ev.Outcome.VOID: Ink.MUTED,
    }[record.outcome]
    return glyphs.OUTCOMES[record.outcome], ink


def live_figures(view: RunView) -> tuple[ev.Figure, ...]:
    """The figures of the running measurement: the gate's once they are there, medians of windows until then."""
    live, plan = view.state.live, view.state.plan
    if live is None or plan is None:
        return ()
    if live.finished is not None:
        return live.finished.figures
    here = [metric for metric in plan.metrics if metric.level == live.level]
    return tuple(_provisional(metric, live) for metric in sorted(here, key=lambda metric: not metric.headline))


def _provisional(metric: ev.MetricRef, live: LiveMeasurement) -> ev.Figure:
    return ev.Figure(
        metric=metric.name,
        level=metric.level,
        unit=metric.unit,
        direction=metric.direction,
        headline=metric.headline,
        a=_median(live, "A", metric.name),
        b=_median(live, "B", metric.name),
    )


def _median(live: LiveMeasurement, side: str, name: str) -> float | None:
    known = [v for w in live.windows if w.side == side and (v := w.values.get(name)) is not None]
    return statistics.median(known) if known else None


def provisional_headline(view: RunView) -> ev.Figure | None:
    """The headline figure of the round in flight while its measurement runs."""
    live, here = view.state.live, view.state.in_flight
    if live is None or here is None or live.round != here.number or live.purpose not in ("round", "baseline"):
        return None
    return next((figure for figure in live_figures(view) if figure.headline), None)
