"""When each call of a plan is due, in seconds from the start of the window."""

from __future__ import annotations

import random
from itertools import accumulate

from vibeserve_tui.evaluation.load_plan import LoadPlan, Mode


def arrival_times(plan: LoadPlan) -> list[float]:
    """One absolute time per call, in the plan's order; a closed loop has no times, so all are 0."""
    match plan.mode:
        case Mode.POISSON:
            assert plan.rate is not None, "a plan checks this"
            return gamma_arrivals(len(plan.calls), plan.rate, plan.burstiness, plan.seed)
        case Mode.TRACE:
            return [call.at_s * plan.time_scale for call in plan.calls]
        case _:
            return [0.0] * len(plan.calls)


SHORTEST = 1e-300
"""With a very small shape a gap would be too small for a float."""


def gamma_arrivals(n: int, rate: float, burstiness: float, seed: int) -> list[float]:
    """Sums of gamma gaps, stretched so that the last arrival is at exactly n / rate.

    Without the stretching a short window's offered rate would be a draw of its own: 30 Poisson
    arrivals miss their rate by 18 % (1 sd), more than most changes to a server are worth.
    """
    draw = random.Random(seed)
    arrivals = list(accumulate(max(SHORTEST, draw.gammavariate(burstiness, 1.0)) for _ in range(n)))
    stretch = n / rate / arrivals[-1]
    return [arrival * stretch for arrival in arrivals]
