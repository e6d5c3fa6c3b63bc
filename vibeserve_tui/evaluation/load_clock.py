"""Clocks of the load generator: timers finer than a millisecond, lag, sleep of the machine."""

from __future__ import annotations

import asyncio
import math
import select
import selectors
import sys
import time
from array import array
from collections.abc import Sequence

from vibeserve_tui.evaluation.load_report import Lag

TICK_S = 0.010
EPOLL_STEP_S = 0.001


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A loop whose timers are not rounded up to whole milliseconds, as epoll's are.

    A call sent 0.5 ms late on average would be a tenth of a small model's first-token time.
    """
    if sys.platform == "linux":
        return asyncio.SelectorEventLoop(_FineEpoll())
    return asyncio.SelectorEventLoop()


if sys.platform == "linux":

    class _FineEpoll(selectors.EpollSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and timeout >= 2 * EPOLL_STEP_S:
                timeout -= EPOLL_STEP_S  # rounded up, it is in time for the rest
            elif timeout is not None and timeout > 0:
                # An epoll descriptor can itself be waited for, and select() counts microseconds.
                select.select([self.fileno()], [], [], timeout)
                timeout = 0
            return super().select(timeout)


class LagMeter:
    """A timer that ticks all the time and notes how late it is called.

    Due times are absolute: a stall of 100 ms is seen by the ten ticks that fell into it, so its
    share of the percentiles is its share of the time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due = loop.time()
        self._lags = array("d")
        self._handle = self._next()

    def stop(self) -> Lag:
        self._handle.cancel()
        return lag_of(self._lags)

    def _next(self) -> asyncio.TimerHandle:
        self._due += TICK_S
        return self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._lags.append(self._loop.time() - self._due)
        self._handle = self._next()


def lag_of(lags_s: Sequence[float]) -> Lag:
    """Zero where nothing was timed: nothing was late."""
    if not lags_s:
        return Lag(0.0, 0.0, 0.0, 0.0, 0.0)
    ordered = sorted(max(0.0, lag) * 1000 for lag in lags_s)

    def at(share: float) -> float:
        return round(ordered[math.ceil(share * len(ordered)) - 1], 4)

    return Lag(
        mean_ms=round(sum(ordered) / len(ordered), 4),
        p50_ms=at(0.50),
        p90_ms=at(0.90),
        p99_ms=at(0.99),
        max_ms=round(ordered[-1], 4),
    )


def clock_offset() -> float:
    """Grows while the machine sleeps; without such a clock, the wall clock, which may also be set."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return time.time() - time.monotonic()
