"""Raw windows of a restart block, and the few figures that the gate reads from them.

A window is what one load level measured on one server; two windows on the same slice of requests, one per side,
are a pair; all pairs of one start of both servers are a block. Bad windows are kept as evidence and never averaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeGuard

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from vibeserve_tui.evaluation.block_stats import median, quantile
from vibeserve_tui.metrics import Direction, MetricSpec, Role, Stat, Value, log_ratio

FURTHEST = 1500.0
"""No log ratio of two positive numbers is larger."""


def is_value(d: float | None) -> TypeGuard[float]:
    """Whether a log ratio can be reckoned with: neither missing, nor NaN, nor what no two numbers can have."""
    return d is not None and abs(d) <= FURTHEST


class Arm(StrEnum):
    """A side of the comparison."""

    A = "A"
    """The champion."""
    B = "B"
    """The candidate."""


class Window(Value):
    """One timed pass over a slice of the workload."""

    values: dict[str, float | None]
    """By metric name; None = not reported."""
    cpu_ms_per_token: float | None = None
    peak_rss_mib: float | None = None
    violations: tuple[str, ...] = ()
    """Broken validity rules; any makes the window void."""
    failed: NonNegativeInt = 0
    """Failed requests beyond the target's error budget."""
    samples: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """Per request, by quantity: `ttft_ms`, `tpot_ms`."""
    samples_ref: None = None
    """Says nothing, but records name it."""
    slice_sha256: str = ""
    """Digest of the requests that were sent."""
    took_s: NonNegativeFloat

    def value(self, name: str) -> float | None:
        process_figures = {"cpu_ms_per_token": self.cpu_ms_per_token, "peak_rss_mib": self.peak_rss_mib}
        return self.values.get(name, process_figures.get(name))


class TimedWindow(Value):
    """A window at its place in the block."""

    arm: Arm
    level: str | None
    pair: int
    index: int
    """Of the slice; a repeated pair has the same place and another slice."""
    at_s: float
    """Since the evaluation began."""
    window: Window


class BlockRecord(Value):
    """Everything one restart of both servers gave, in time order."""

    number: int
    first: Arm
    """Started first; alternates."""
    windows: tuple[TimedWindow, ...] = ()
    void: str = ""
    """Why the block may not count."""
    crashed: Arm | None = None
    notes: tuple[str, ...] = ()
    """What sentinels and dying servers said."""
    at_s: float = 0.0
    took_s: float = 0.0

    @property
    def order(self) -> str:
        return "".join(timed.arm for timed in self.windows)


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric in one block."""

    a: float | None
    b: float | None
    d: float | None
    """Log ratio, > 0 = candidate better."""


@dataclass(frozen=True, slots=True)
class Block:
    """What one restart of both servers said."""

    d: float | None
    """Of the headline; of several headlines their weighted mean."""
    d_cpu: float | None = None
    """Of the CPU time per token, on the headline's windows."""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """By metric key."""
    windows: int = 0
    """Attempted, of both sides."""
    void_windows: int = 0
    failed_windows: tuple[int, int] = (0, 0)
    """Windows with failed requests: the champion's, the candidate's."""
    void: str = ""
    crashed: Arm | None = None

    @property
    def usable(self) -> bool:
        return not self.why_void

    @property
    def why_void(self) -> str:
        """Why it may not count, or nothing."""
        if self.crashed is not None:
            return "champion_crash" if self.crashed is Arm.A else "crash"
        if self.void:
            return self.void
        return "" if is_value(self.d) else "no_value"


@dataclass(frozen=True, slots=True)
class _Pair:
    level: str | None
    a: Window
    b: Window


def block_of(record: BlockRecord, metrics: Sequence[MetricSpec]) -> Block:
    """What the gate may believe of a block."""
    headlines = [spec for spec in metrics if spec.role is Role.HEADLINE]
    levels = {spec.level for spec in headlines}
    pairs = _valid_pairs(record, headlines)
    readings = {spec.key: _read(spec, pairs) for spec in metrics}
    void_windows = _void_windows(record, headlines)
    mine = [pair for pair in pairs if None in levels or pair.level in levels]
    cpu = [log_ratio(Direction.MIN, pair.a.cpu_ms_per_token, pair.b.cpu_ms_per_token) for pair in mine]
    known = [d for d in cpu if d is not None]
    return Block(
        d=_weighted(headlines, readings),
        d_cpu=median(known) if known and len(known) == len(cpu) else None,
        readings=readings,
        windows=len(record.windows),
        void_windows=void_windows,
        failed_windows=(_failed(record, Arm.A), _failed(record, Arm.B)),
        void=record.void or ("void_windows" if 2 * void_windows > len(record.windows) else ""),
        crashed=record.crashed,
    )


def fault(timed: TimedWindow, headlines: Iterable[MetricSpec]) -> str:
    """Why a window is void, or nothing."""
    if timed.window.violations:
        return timed.window.violations[0]
    if timed.window.failed:
        return f"{timed.window.failed} failed requests"
    for spec in headlines:
        if spec.level == timed.level and not _reports(timed.window, spec):
            return f"no {spec.key}"
    return ""


def differs(one: Window, other: Window) -> bool:
    """Whether the sides of a pair were sent different requests."""
    return one.slice_sha256 != other.slice_sha256


def _reports(window: Window, spec: MetricSpec) -> bool:
    if spec.stat.tail is not None and window.samples.get(spec.quantity):
        return True
    value = window.value(spec.name)
    return value is not None and math.isfinite(value) and value > 0


def _pairs(record: BlockRecord) -> list[tuple[TimedWindow, TimedWindow]]:
    """Champion's and candidate's window on each slice that both have measured."""
    slices: dict[tuple[str | None, int], dict[Arm, TimedWindow]] = {}
    for timed in record.windows:
        slices.setdefault((timed.level, timed.index), {})[timed.arm] = timed
    return [(sides[Arm.A], sides[Arm.B]) for sides in slices.values() if len(sides) == len(Arm)]


def _valid_pairs(record: BlockRecord, headlines: Sequence[MetricSpec]) -> list[_Pair]:
    return [
        _Pair(a.level, a.window, b.window)
        for a, b in _pairs(record)
        if not (differs(a.window, b.window) or fault(a, headlines) or fault(b, headlines))
    ]


def _void_windows(record: BlockRecord, headlines: Sequence[MetricSpec]) -> int:
    unlike = {(a.level, a.index) for a, b in _pairs(record) if differs(a.window, b.window)}
    return sum(1 for timed in record.windows if fault(timed, headlines) or (timed.level, timed.index) in unlike)


def _read(spec: MetricSpec, pairs: Sequence[_Pair]) -> Reading:
    """Median over the pairs; the largest for a peak; the pooled requests for a tail percentile, if they are enough."""
    mine = [pair for pair in pairs if spec.level in (None, pair.level)]
    if spec.stat.tail is not None and all(spec.quantity in w.samples for pair in mine for w in (pair.a, pair.b)):
        a = [sample for pair in mine for sample in pair.a.samples[spec.quantity]]
        b = [sample for pair in mine for sample in pair.b.samples[spec.quantity]]
        if min(len(a), len(b)) >= spec.stat.least_samples:
            return _compared(spec, quantile(a, spec.stat.tail), quantile(b, spec.stat.tail))
    a = [value for pair in mine if (value := pair.a.value(spec.name)) is not None]
    b = [value for pair in mine if (value := pair.b.value(spec.name)) is not None]
    if not mine or len(a) < len(mine) or len(b) < len(mine):
        return Reading(None, None, None)
    if spec.stat is Stat.PEAK:
        return _compared(spec, max(a), max(b))
    ratios = [d for x, y in zip(a, b, strict=True) if (d := log_ratio(spec.direction, x, y)) is not None]
    return Reading(median(a), median(b), median(ratios) if len(ratios) == len(mine) else None)


def _compared(spec: MetricSpec, a: float, b: float) -> Reading:
    return Reading(a, b, log_ratio(spec.direction, a, b))


def _weighted(headlines: Sequence[MetricSpec], readings: Mapping[str, Reading]) -> float | None:
    known = [(spec.weight, d) for spec in headlines if (d := readings[spec.key].d) is not None]
    if not known or len(known) < len(headlines):
        return None
    return math.fsum(weight * d for weight, d in known) / math.fsum(weight for weight, _ in known)


def _failed(record: BlockRecord, arm: Arm) -> int:
    return sum(1 for timed in record.windows if timed.arm is arm and timed.window.failed)
