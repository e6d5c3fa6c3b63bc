"""What may stand against a faster candidate: guarded metrics, absolute limits, physical bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vibeserve_tui.evaluation.block_stats import mean, median, standard_error, t_quantile
from vibeserve_tui.evaluation.blocks import Block, Reading, is_value
from vibeserve_tui.evaluation.gate_config import ONE_SIDED
from vibeserve_tui.metrics import Direction, GuardResult, GuardState, MetricSpec, Stat, log_ratio


def guard_result(spec: MetricSpec, blocks: Sequence[Block]) -> GuardResult:
    """A guard over these blocks: violated only if its 95 % bound is beyond the tolerance, or its limit is broken."""
    readings = [reading for block in blocks if (reading := block.readings.get(spec.key)) is not None]
    candidate = [reading.b for reading in readings if reading.b is not None and math.isfinite(reading.b)]
    if spec.max is not None and candidate:
        worst = max(candidate) if spec.stat is Stat.PEAK else median(candidate)
        if worst > spec.max:
            return GuardResult(spec=spec, state=GuardState.VIOLATED, note=f"{worst:.4g} > {spec.max:g} {spec.unit}")
    series = _series(spec, readings)
    if not series and not candidate:
        return GuardResult(spec=spec, state=GuardState.MISSING)
    if spec.tolerated is None:
        return GuardResult(spec=spec, state=GuardState.KEPT, mean_d=mean(series) if series else None)
    if not series:
        return GuardResult(spec=spec, state=GuardState.UNRESOLVED)
    low, high = _bounds(spec, series)
    state = GuardState.UNRESOLVED
    if high < -spec.tolerated:
        state = GuardState.VIOLATED
    elif low >= -spec.tolerated:
        state = GuardState.KEPT
    return GuardResult(spec=spec, state=state, mean_d=mean(series), high_d=high if math.isfinite(high) else None)


def looks_broken(guard: GuardResult) -> bool:
    """Whether the point estimate alone is beyond the tolerance, proved or not."""
    tolerated = guard.spec.tolerated
    return guard.mean_d is not None and tolerated is not None and guard.mean_d < -tolerated


def beyond_bound(spec: MetricSpec, blocks: Sequence[Block], bounds: Mapping[str, float]) -> bool:
    """Whether the candidate's median block lies beyond what the device can do."""
    bound = bounds.get(spec.key)
    values = [b for block in blocks if (reading := block.readings.get(spec.key)) and (b := reading.b) is not None]
    if bound is None or not values:
        return False
    return median(values) > bound if spec.direction is Direction.MAX else median(values) < bound


def _series(spec: MetricSpec, readings: Sequence[Reading]) -> list[float]:
    """The guard's d per block; of a peak one value, the worst blocks against each other."""
    if spec.stat is not Stat.PEAK:
        return [reading.d for reading in readings if is_value(reading.d)]
    a = max((reading.a for reading in readings if reading.a is not None), default=None)
    b = max((reading.b for reading in readings if reading.b is not None), default=None)
    d = log_ratio(spec.direction, a, b)
    return [d] if is_value(d) else []


def _bounds(spec: MetricSpec, series: Sequence[float]) -> tuple[float, float]:
    """One-sided 95 % bounds. A peak is no mean: it is what it is."""
    centre = mean(series)
    if spec.stat is Stat.PEAK:
        return centre, centre
    if len(series) < 2:
        return -math.inf, math.inf
    reach = t_quantile(ONE_SIDED, len(series) - 1) * standard_error(series)
    return centre - reach, centre + reach
