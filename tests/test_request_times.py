"""What requests took, kept by the rounds that were measured beside one another."""

from __future__ import annotations

import pytest

from vibeserve_tui import events as ev
from vibeserve_tui.request_times import MOST, RequestTimes, times_of
from vibeserve_tui.run_state import RunState


def window(side: str, *ttft_ms: float, level: str = "c16", tpot_ms: tuple[float, ...] = ()) -> ev.WindowMeasured:
    return ev.WindowMeasured.model_validate(
        {"round": 1, "side": side, "block": 1, "pair": 1, "level": level, "ttft_ms": ttft_ms, "tpot_ms": tpot_ms}
    )


def test_the_windows_of_a_side_are_pooled_in_order_and_other_levels_left_out() -> None:
    windows = [window("A", 3, 1), window("B", 9), window("A", 2), window("A", 7, level="c1")]
    times = times_of(windows, "c16")
    assert times.a == {"ttft_ms": (1, 2, 3)}
    assert times.b == {"ttft_ms": (9,)}
    assert times.turned == RequestTimes(times.b, times.a)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000])
def test_thinning_keeps_the_least_the_greatest_and_the_middle(count: int) -> None:
    kept = times_of([window("A", *map(float, range(count)))], "c16").a["ttft_ms"]
    assert len(kept) == min(count, MOST)
    assert (kept[0], kept[-1]) == (0, count - 1)
    assert kept[len(kept) // 2] == pytest.approx(count / 2, abs=max(1, count / MOST))


class Story:
    """Events folded one after the other."""

    def __init__(self) -> None:
        self.state = RunState()

    def say(self, *events: ev.Event) -> None:
        for event in events:
            seq = self.state.seq + 1
            self.state.apply(ev.Record(seq=seq, ts_wall=seq, ts_mono=seq, boot_id="b", event=event))

    def measure(self, number: int, a: float, b: float, purpose: str = "round") -> None:
        started = {"round": number, "label_a": "a", "label_b": "b", "level": "c16", "purpose": purpose}
        self.say(ev.MeasurementStarted.model_validate(started), window("A", a), window("B", b))

    def play(self, number: int, a: float, b: float, *, kept: bool) -> None:
        self.say(
            ev.RoundPlanned(number=number, task=ev.TaskPlan(title="t")), ev.AttemptStarted(round=number, attempt=1)
        )
        self.measure(number, a, b)
        self.say(ev.MeasurementFinished(round=number, measured=MEASURED))
        if kept:
            self.say(ev.ChampionMoved(round=number, commit="c"))


MEASURED = ev.Measured(outcome="accepted", reason="", blocks=1)


def ttft(times: RequestTimes) -> tuple[float, float]:
    return times.a["ttft_ms"][0], times.b["ttft_ms"][0]


def test_rounds_measured_beside_one_another_are_shown_from_that_measurement_either_way_round() -> None:
    story = Story()
    story.play(1, 100, 50, kept=True)
    story.play(2, 55, 40, kept=False)
    assert ttft(story.state.times_between(1, 2)) == (55, 40)
    assert ttft(story.state.times_between(2, 1)) == (40, 55)


def test_rounds_never_measured_together_each_bring_their_own_and_a_later_measurement_replaces_them() -> None:
    story = Story()
    story.play(1, 100, 50, kept=True)
    story.play(2, 55, 40, kept=False)
    story.play(3, 54, 30, kept=True)
    assert ttft(story.state.times_between(2, 3)) == (40, 30)
    story.measure(3, 41, 31, "again")
    story.say(ev.MeasuredAgain(a=2, b=3, measured=MEASURED))
    assert ttft(story.state.times_between(2, 3)) == (41, 31)


def test_a_round_that_could_not_be_measured_does_not_take_the_windows_of_the_one_before() -> None:
    story = Story()
    story.play(1, 100, 50, kept=False)
    story.say(ev.RoundPlanned(number=2, task=ev.TaskPlan(title="t")), ev.AttemptStarted(round=2, attempt=1))
    story.say(ev.MeasurementFinished(round=2, measured=MEASURED))
    assert story.state.times_in(2) == {}


def test_the_confirmation_stands_between_seed_and_champion() -> None:
    story = Story()
    story.play(1, 100, 50, kept=True)
    story.measure(1, 104, 52, "confirmation")
    story.say(ev.MeasurementFinished(round=1, measured=MEASURED, purpose="confirmation"))
    assert ttft(story.state.times_between(0, 1)) == (104, 52)
