"""How far each emitted token was from the reference's best one, against a class.

gap = log p(best) − log p(emitted), with the candidate's own text as context, so one near tie does not condemn the rest
as plain equality of texts would. All positions of all answers count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vibeserve_tui.inputs.target_sections import GapLimits


@dataclass(frozen=True, slots=True)
class GapStatistics:
    positions: int
    max: float
    p99: float
    mean: float
    share_05: float
    """Share of positions with a gap above 0.05."""
    share_2: float
    """Share of positions with a gap above 0.2."""

    @classmethod
    def of(cls, answers: Iterable[Sequence[float]]) -> GapStatistics:
        gaps = sorted(gap for answer in answers for gap in answer)
        n = len(gaps)
        if not n:
            return cls(0, 0.0, 0.0, 0.0, 0.0, 0.0)
        return cls(
            positions=n,
            max=gaps[-1],
            p99=gaps[min(n - 1, int(0.99 * n))],
            mean=sum(gaps) / n,
            share_05=sum(gap > 0.05 for gap in gaps) / n,
            share_2=sum(gap > 0.2 for gap in gaps) / n,
        )

    def numbers(self) -> dict[str, float]:
        return {
            "positions": float(self.positions), "max": self.max, "p99": self.p99, "mean": self.mean,
            "share_05": self.share_05, "share_2": self.share_2,
        }  # fmt: skip

    def beyond(self, limits: GapLimits) -> str:
        """The first limit that is broken, in words; "" when all are kept. No position at all breaks every limit."""
        if not self.positions:
            return "no token was delivered"
        for name, limit in limits.model_dump(exclude_none=True).items():
            value = self.numbers()[name]
            if value > limit:
                return f"gap {name} {value:.4g} is above {limit:g} over {self.positions} positions"
        return ""
