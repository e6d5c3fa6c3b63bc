"""What single requests took in a measurement, thinned so that hundreds of rounds can keep theirs.

It only orders and thins what the windows carry; no figure that decides anything comes from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from vibeserve_tui.events import WindowMeasured

Quantity = Literal["ttft_ms", "tpot_ms"]
QUANTITIES: tuple[Quantity, ...] = ("ttft_ms", "tpot_ms")
MOST = 64
Times = Mapping[Quantity, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """Both sides of one measurement: of each quantity at most 64 values, in ascending order."""

    a: Times = field(default_factory=dict)
    b: Times = field(default_factory=dict)

    @property
    def turned(self) -> RequestTimes:
        """The same measurement with its sides exchanged."""
        return RequestTimes(self.b, self.a)


def times_of(windows: Iterable[WindowMeasured], level: str) -> RequestTimes:
    """All requests of a measurement at one level, thinned."""
    pooled: dict[str, dict[Quantity, list[float]]] = {side: {name: [] for name in QUANTITIES} for side in "AB"}
    for window in windows:
        if window.level == level:
            pooled[window.side]["ttft_ms"] += window.ttft_ms
            pooled[window.side]["tpot_ms"] += window.tpot_ms
    a, b = ({name: _thinned(values) for name, values in pooled[side].items() if values} for side in "AB")
    return RequestTimes(a, b)


def _thinned(values: list[float]) -> tuple[float, ...]:
    """The least, the greatest, and evenly spaced ranks between them."""
    ordered = sorted(values)
    if len(ordered) <= MOST:
        return tuple(ordered)
    return tuple(ordered[round(rank * (len(ordered) - 1) / (MOST - 1))] for rank in range(MOST))
