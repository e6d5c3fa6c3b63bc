from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine

import pytest

from vibeserve_tui.evaluation.load_clock import LagMeter, lag_of, new_event_loop
from vibeserve_tui.evaluation.load_report import Lag


def on_its_loop(main: Callable[[], Coroutine[None, None, Lag]]) -> Lag:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main())


def test_a_stall_weighs_as_much_as_the_time_it_took():
    async def stalled_for_most_of_the_time() -> Lag:
        meter = LagMeter(asyncio.get_running_loop())
        await asyncio.sleep(0.05)
        time.sleep(0.2)  # noqa: ASYNC251  the stall
        await asyncio.sleep(0.02)
        return meter.stop()

    lag = on_its_loop(stalled_for_most_of_the_time)
    assert lag.max_ms > 180
    assert lag.p50_ms > 20


@pytest.mark.parametrize("wait_s", [0.0004, 0.0036, 0.0104])
def test_timers_are_not_rounded_up_to_milliseconds(wait_s: float):
    async def late() -> Lag:
        lags = []
        for _ in range(25):
            due = time.monotonic() + wait_s
            await asyncio.sleep(wait_s)
            lags.append(time.monotonic() - due)
        return lag_of([min(lags)])

    assert 0 <= on_its_loop(late).max_ms < 0.35


def test_percentiles_of_lag_never_hide_the_worst_of_few():
    assert lag_of([0.001, 0.003, 0.002]) == Lag(mean_ms=2.0, p50_ms=2.0, p90_ms=3.0, p99_ms=3.0, max_ms=3.0)
    assert lag_of([n / 1000 for n in range(1, 201)]) == Lag(
        mean_ms=100.5, p50_ms=100.0, p90_ms=180.0, p99_ms=198.0, max_ms=200.0
    )
    assert lag_of([]) == Lag(0.0, 0.0, 0.0, 0.0, 0.0)
    assert lag_of([-0.001]).max_ms == 0.0
