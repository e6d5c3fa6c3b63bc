"""How far each emitted token was from the reference's best one, against a class.

gap = log p(best) − log p(emitted), with the candidate's own text as context, so one near tie does not condemn the rest
as plain equality of texts would. All positions of all answers count.

A limit on a share, a percentile or a mean speaks of all that a server might be asked; a judgement sees some hundred
positions of it. Such a limit is broken when what was seen contradicts it (p < 0.1 %), not when a server within it has
bad luck: one that shows wide gaps at just the allowed 1 % of its positions shows two or more of them in every third
draw of 125. The limit on the largest gap, which only exact arithmetic can keep, is absolute. What a step is too short to prove, the positions of all steps
together do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vibeserve_tui.inputs.target_sections import GapLimits

SIGNIFICANT = 1e-3
DEVIATIONS = 3.09
"""Of the normal distribution, beyond which lies a share of SIGNIFICANT."""
NEGLIGIBLE = 1e-12
P99_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class GapStatistics:
    gaps: tuple[float, ...]
    """Ascending."""

    @classmethod
    def of(cls, answers: Iterable[Sequence[float]]) -> GapStatistics:
        return cls(tuple(sorted(gap for answer in answers for gap in answer)))

    @property
    def positions(self) -> int:
        return len(self.gaps)

    @property
    def max(self) -> float:
        return self.gaps[-1] if self.gaps else 0.0

    @property
    def p99(self) -> float:
        return self.gaps[min(len(self.gaps) - 1, int(0.99 * len(self.gaps)))] if self.gaps else 0.0

    @property
    def mean(self) -> float:
        return math.fsum(self.gaps) / len(self.gaps) if self.gaps else 0.0

    def above(self, gap: float) -> int:
        return sum(one > gap for one in self.gaps)

    def share_above(self, gap: float) -> float:
        return self.above(gap) / len(self.gaps) if self.gaps else 0.0

    def numbers(self) -> dict[str, float]:
        return {
            "positions": float(self.positions), "max": self.max, "p99": self.p99, "mean": self.mean,
            "share_05": self.share_above(0.05), "share_2": self.share_above(0.2),
        }  # fmt: skip

    def beyond(self, limits: GapLimits, significant: float = SIGNIFICANT) -> str:
        """The first limit that is broken, in words; "" when all are kept. No position at all breaks every limit."""
        if not self.positions:
            return "no token was delivered"
        numbers = self.numbers()
        for name, limit in limits.model_dump(exclude_none=True).items():
            if self._contradicts(name, limit, significant):
                return f"gap {name} {numbers[name]:.4g} is above {limit:g} over {self.positions} positions"
        return ""

    def _contradicts(self, name: str, limit: float, significant: float) -> bool:
        match name:
            case "max":
                return self.max > limit
            case "mean":
                return self.mean - DEVIATIONS * self.error_of_mean > limit
            case "p99":
                return self._too_many(limit, P99_SHARE, significant)
            case "share_05":
                return self._too_many(0.05, limit, significant)
            case _:
                return self._too_many(0.2, limit, significant)

    def _too_many(self, gap: float, share: float, significant: float) -> bool:
        return binomial_tail(self.above(gap), self.positions, share) < significant

    @property
    def error_of_mean(self) -> float:
        n, centre = len(self.gaps), self.mean
        return math.sqrt(math.fsum((gap - centre) ** 2 for gap in self.gaps) / max(1, n - 1) / n)


def binomial_tail(count: int, n: int, p: float) -> float:
    """P(X ≥ count) of n trials that succeed with probability p; 1 where it is no surprise at all."""
    if count <= n * p:
        return 1.0
    if p <= 0:
        return 0.0
    return min(1.0, math.fsum(_binomial_terms(count, n, p)))


def _binomial_terms(count: int, n: int, p: float) -> Iterator[float]:
    """From `count` up, which is above the mean: each is smaller than the one before."""
    ways = math.lgamma(n + 1) - math.lgamma(count + 1) - math.lgamma(n - count + 1)
    term = math.exp(ways + count * math.log(p) + (n - count) * math.log1p(-p))
    for k in range(count, n + 1):
        yield term
        term *= (n - k) / (k + 1) * p / (1 - p)
        if term < NEGLIGIBLE:
            return
