"""What a profiler found, in one shape for all tools: shares of time by phase and by operation, and hints.

A profile orders suspects; it is never a measurement, and no figure of it may enter a comparison.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Quality(StrEnum):
    USABLE = "usable"
    PERTURBED = "perturbed"
    """The tool changed the headline by more than 10 %: the order of suspects holds, the shares do not."""
    UNCALIBRATED = "uncalibrated"
    """There was no unprofiled run to compare with."""


class ProfileReport(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tool: str
    window_s: float
    samples: int
    phases: dict[str, float]
    """Phase (model, sample, tokenize, http, schedule, wait, …) to its share of the busy samples, 0..1."""
    operations: dict[str, float]
    """Function to its self-time share, the largest first; at most 25."""
    hints: tuple[str, ...] = ()
    """Codes that raise the rank of skills naming them, e.g. `python_bound`."""
    quality: Quality = Quality.UNCALIBRATED
    observer_effect: float | None = None
    """|profiled − control| / control on the headline metric."""
    device_idle: float | None = None
    """Share of the window in which nothing was computed, at least; None where the tool cannot see it."""


TOP = 25
"""Operations of a report."""


def shares(times: Iterable[tuple[str, float]], most: int | None = None) -> dict[str, float]:
    """Each name's part of the whole time, the largest first; at most so many."""
    spent: dict[str, float] = defaultdict(float)
    for name, took in times:
        spent[name] += took
    total = sum(spent.values())
    ordered = sorted(spent.items(), key=lambda entry: -entry[1])[:most]
    return {name: round(took / total, 4) for name, took in ordered} if total > 0 else {}


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals (start, end): what overlaps counts once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
