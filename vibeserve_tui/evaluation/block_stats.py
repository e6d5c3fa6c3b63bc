"""Statistics of a handful of restart blocks: mean, spread, Student bounds, quantiles.

Plain arithmetic with exactly rounded sums, so that the same blocks give the same bits in any order and on any
machine, and a decision can be recomputed years later.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache


def _central_share(angle: float, df: int) -> float:
    """P(|T| < tan(angle)·√df) for 0 ≤ angle < π/2: the finite series of Abramowitz and Stegun 26.7.3 and 26.7.4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = df % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(2 if odd else 1, df, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


@lru_cache(maxsize=256)
def t_quantile(p: float, df: int) -> float:
    """The t with P(T ≤ t) = p for Student's distribution, 0.5 ≤ p < 1 and df ≥ 1."""
    if not 0.5 <= p < 1 or df < 1:
        raise ValueError(f"no t quantile for p = {p}, df = {df}")
    low, high = 0.0, math.pi / 2
    for _ in range(64):
        middle = (low + high) / 2
        if 0.5 + _central_share(middle, df) / 2 < p:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(df)


def t_upper_tail(t: float, df: int) -> float:
    """P(T > t) for Student's distribution."""
    beyond = 0.5 - _central_share(math.atan(abs(t) / math.sqrt(df)), df) / 2
    return beyond if t >= 0 else 1 - beyond


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def squares_about_mean(values: Sequence[float]) -> float:
    centre = mean(values)
    return math.fsum((value - centre) ** 2 for value in values)


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of at least two values."""
    return math.sqrt(squares_about_mean(values) / (len(values) - 1) / len(values))


def estimate(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Mean and its two-sided 95 % Student interval; no interval of one value, nothing of none."""
    if not values:
        return None, None, None
    centre = mean(values)
    if len(values) < 2:
        return centre, None, None
    reach = t_quantile(0.975, len(values) - 1) * standard_error(values)
    return centre, centre - reach, centre + reach


def is_biased(values: Sequence[float]) -> bool:
    """Whether an A/A series is too far from zero to be chance: one of the two slots has an advantage."""
    if len(values) < 2:
        return False
    return abs(mean(values)) > t_quantile(0.996, len(values) - 1) * standard_error(values)


def quantile(values: Sequence[float], q: float) -> float:
    """Linear interpolation between order statistics, as numpy's default."""
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def median(values: Sequence[float]) -> float:
    """Not `quantile(values, 0.5)`, whose last bit depends on the sign: swapped sides must negate it exactly."""
    return statistics.median(values)
