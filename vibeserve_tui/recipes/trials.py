"""What a planner remembers: one trial per finished attempt at a recipe, from this run or an earlier one."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from vibeserve_tui.events import Outcome
from vibeserve_tui.recipes.params import Params

Z_95 = 1.96
SD_FLOOR = 0.01
"""Of a measured log gain: no comparison of ours is better than one percent."""


class Step(StrEnum):
    """What a trial did to the tree it started from."""

    RECIPE = "recipe"
    TUNE = "tune"
    SWAP = "swap"


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe tried once, with the engine's figures; ratios are over the champion of that time, > 1 = better."""

    recipe: str
    version: str
    params: Params
    capabilities: frozenset[str]
    """Of the tree it was tried on."""
    outcome: Outcome
    ratio: float | None = None
    """None when it was never measured."""
    ci_low: float | None = None
    ci_high: float | None = None
    reason: str = ""
    round: int = 0
    step: Step = Step.RECIPE
    seconds: float | None = None
    """From the plan to the decision."""
    weight: float = field(default=1.0, kw_only=True)
    """1 for this device, less for a similar one."""

    @property
    def log_gain(self) -> float | None:
        return math.log(self.ratio) if self.ratio else None

    @property
    def sd(self) -> float:
        """Of the log gain; half the 95 % interval over 1.96, a tenth when there is no interval."""
        if not self.ci_low or not self.ci_high:
            return 0.1
        return max(SD_FLOOR, (math.log(self.ci_high) - math.log(self.ci_low)) / (2 * Z_95))

    @property
    def was_kept(self) -> bool:
        return self.outcome is Outcome.KEPT

    def saw(self, capabilities: Collection[str]) -> bool:
        """Whether it was tried on a tree that provides exactly these."""
        return self.capabilities == frozenset(capabilities)
