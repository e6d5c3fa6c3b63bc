"""Which recipes could be tried next, and what each is worth per minute.

Pure: a situation in, rated candidates out, best first. Choosing among them, and everything that is not "try a
recipe", is the planner's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from statistics import NormalDist, median

from vibeserve_tui.recipes.applicability import why_not_on
from vibeserve_tui.recipes.params import Params
from vibeserve_tui.recipes.posterior import Posterior, posterior
from vibeserve_tui.recipes.reach import Reach
from vibeserve_tui.recipes.recipe import Recipe, RecipeBook
from vibeserve_tui.recipes.recipe_spec import Risk
from vibeserve_tui.recipes.situation import Situation

RISK_PENALTY: Mapping[Risk, float] = {
    Risk.BIT_EXACT: 0.0,
    Risk.NUMERICS: 0.02,
    Risk.SAMPLING: 0.05,
    Risk.PROTOCOL: 0.05,
}
"""Log gain that a recipe must bring to make up for the chance that the judge rejects it."""
UNLOCKED_SHARE = 0.5
"""How much of the best recipe that becomes possible counts for the one that makes it possible."""
WORTHWHILE = math.log(1.01)
TYPICAL_TRIAL_S = 60.0
"""Expected duration of a trial before one has been seen."""
UNCERTAIN_BAND = (math.log(0.97), math.log(1.09))
"""Gains for which the gate takes its later looks, and a trial LATER_LOOKS times as long."""
LATER_LOOKS = 1.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recipe that can be tried now, alone or as the first of a chain, and what that is worth."""

    chain: tuple[Recipe, ...]
    """What is tried one after the other; usually one."""
    params: Params
    """Of the first."""
    posterior: Posterior
    """Of the first."""
    unlocks: Recipe | None
    """The best recipe that becomes possible by it; None for chains, which name what they lead to."""
    total: NormalDist
    """Log gain of the whole chain, or of the recipe with what it unlocks."""
    penalty: float
    seconds: float
    score: float
    """Expected log gain per minute."""

    @property
    def recipe(self) -> Recipe:
        return self.chain[0]

    @property
    def goal(self) -> Recipe:
        return self.chain[-1]

    @property
    def chance(self) -> float:
        """Of gaining more than one percent, by itself or by what it leads to."""
        return max(self.posterior.chance_above(WORTHWHILE), 1 - self.total.cdf(WORTHWHILE))


class Market:
    """The candidates of one situation; a look-up table that lives as long as one plan."""

    def __init__(self, book: RecipeBook, situation: Situation) -> None:
        self.book = book
        self.situation = situation
        self.reach = Reach(book, situation)
        self._trials = (*situation.trials, *situation.experience)

    def backlog(self) -> tuple[Candidate, ...]:
        """One candidate for every recipe that could be reached, best first; `goal` is that recipe."""
        rated = [self._rated(chain) for name in self.book if (chain := self.reach.chain(name))]
        return tuple(sorted(rated, key=lambda candidate: (-candidate.score, candidate.goal.id)))

    def candidates(self) -> tuple[Candidate, ...]:
        """What can be tried now, best first: for each recipe its best reason."""
        best: dict[str, Candidate] = {}
        for candidate in self.backlog():
            best.setdefault(candidate.recipe.id, candidate)
        return tuple(best.values())

    def refusals(self) -> Mapping[str, str]:
        """Every recipe out of reach, with the one reason that a person should read."""
        return self.reach.refusals()

    def expectation(self, recipe: Recipe, params: Params, capabilities: frozenset[str]) -> Posterior:
        return posterior(recipe, params, self.situation.facts_on(capabilities), self.book, self._trials)

    def seconds(self, recipe: Recipe, mean: float) -> float:
        """What a trial is expected to take, from the durations seen so far."""
        own = [trial.seconds for trial in self.situation.selections_of(recipe.id) if trial.seconds]
        if own:
            return own[-1]
        seen = [trial.seconds for trial in self.situation.trials if trial.seconds]
        low, high = UNCERTAIN_BAND
        return (median(seen) if seen else TYPICAL_TRIAL_S) * (LATER_LOOKS if low < mean < high else 1.0)

    def _rated(self, chain: tuple[Recipe, ...]) -> Candidate:
        above = self.situation.base.capabilities
        expected: list[Posterior] = []
        for link in chain:
            expected.append(self.expectation(link, self.reach.setting(link), above))
            above = link.after(above)
        total = reduce(NormalDist.__add__, (each.gain for each in expected))
        gain = improvement(total)
        unlocks, unlocked = self._best_unlocked(chain[0], above) if len(chain) == 1 else (None, None)
        if unlocked is not None:
            gain += UNLOCKED_SHARE * improvement(unlocked.gain)
            total += unlocked.gain
        penalty = sum(RISK_PENALTY[link.spec.risk] for link in chain)
        seconds = sum(self.seconds(link, each.mean) for link, each in zip(chain, expected, strict=True))
        return Candidate(
            chain=chain,
            params=self.reach.setting(chain[0]),
            posterior=expected[0],
            unlocks=unlocks,
            total=total,
            penalty=penalty,
            seconds=seconds,
            score=60 * (gain - penalty) / seconds,
        )

    def _best_unlocked(self, first: Recipe, above: frozenset[str]) -> tuple[Recipe | None, Posterior | None]:
        """The recipe with the largest expected gain among those that only become applicable by this one."""
        best: tuple[Recipe | None, Posterior | None] = (None, None)
        for recipe in self.book.values():
            possible_before = why_not_on(recipe, self.situation.base.capabilities) is None
            if recipe is first or not self.reach.may_try(recipe) or possible_before or why_not_on(recipe, above):
                continue
            expected = self.expectation(recipe, self.reach.setting(recipe), above)
            if expected.mean > (best[1].mean if best[1] else 0.0):
                best = (recipe, expected)
        return best


def improvement(gain: NormalDist) -> float:
    """Expected log gain when a loss can be turned down: E[max(gain, 0)].

    A trial that loses costs its time and nothing else, so a wide guess around nothing is worth more than a sure nothing.
    """
    standard = NormalDist()
    z = gain.mean / gain.stdev
    return gain.mean * standard.cdf(z) + gain.stdev * standard.pdf(z)
