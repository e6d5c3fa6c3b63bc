"""Which recipes could be tried next, and what each is worth per minute.

Pure: a situation in, rated candidates out, best first. Recipes that cannot be tried come with the one reason
why. Choosing among them, and everything that is not "try a recipe", is the planner's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist, median

from vibeserve_tui.events import Outcome
from vibeserve_tui.recipes.applicability import why_not_here, why_not_on
from vibeserve_tui.recipes.expressions import Unknown
from vibeserve_tui.recipes.params import Params, domains, resolve
from vibeserve_tui.recipes.posterior import Posterior, posterior
from vibeserve_tui.recipes.recipe import Recipe, RecipeBook, Risk
from vibeserve_tui.recipes.situation import Situation
from vibeserve_tui.recipes.trials import Trial
from vibeserve_tui.recipes.tuning import neighbours

RISK_PENALTY: Mapping[Risk, float] = {
    Risk.BIT_EXACT: 0.0,
    Risk.NUMERICS: 0.02,
    Risk.SAMPLING: 0.05,
    Risk.PROTOCOL: 0.05,
}
"""Log gain that a recipe must bring to make up for the chance that the judge rejects it."""
UNLOCKED_SHARE = 0.5
"""How much of the best recipe that becomes possible counts for the one that makes it possible."""
LONGEST_CHAIN = 3
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
        self._trials = (*situation.trials, *situation.experience)
        self._never = {name: self._why_never(recipe) for name, recipe in book.items()}

    def backlog(self) -> tuple[Candidate, ...]:
        """One candidate for every recipe that could be reached, best first; `goal` is that recipe."""
        rated = [self._rated(chain) for name in self.book if (chain := self._chain(name))]
        return tuple(sorted(rated, key=lambda candidate: (-candidate.score, candidate.goal.id)))

    def candidates(self) -> tuple[Candidate, ...]:
        """What can be tried now, best first: for each recipe its best reason."""
        best: dict[str, Candidate] = {}
        for candidate in self.backlog():
            best.setdefault(candidate.recipe.id, candidate)
        return tuple(best.values())

    def refusals(self) -> Mapping[str, str]:
        """Every other recipe, with the reason why it cannot be tried on the present tree."""
        capabilities = self.situation.base.capabilities
        reasons = {
            name: self._never[name] or why_not_on(recipe, capabilities) or "is out of reach"
            for name, recipe in self.book.items()
            if not self._chain(name)
        }
        return dict(sorted(reasons.items()))

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

    def setting(self, recipe: Recipe) -> Params:
        """Its defaults; for one that comes back to a tree it was tried on, the first setting not tried yet."""
        tried = self.situation.selections_of(recipe.id)
        if tried and tried[-1].saw(self.situation.base.capabilities):
            other = self._another_setting(recipe, tried[-1])
            if other is not None:
                return other
        found = resolve(recipe, {}, self.situation.facts)
        assert not isinstance(found, Unknown), "recipes with unknown parameters are refused before"
        return found

    # ---- what may be tried

    def _why_never(self, recipe: Recipe) -> str | None:
        if self.situation.base.has(recipe.id):
            return "is in the tree"
        return why_not_here(recipe, self.situation.facts) or self._why_not_again(recipe)

    def _why_not_again(self, recipe: Recipe) -> str | None:
        """A recipe that did not make it may return once: elsewhere, or with other parameters."""
        tried = self.situation.selections_of(recipe.id)
        if not tried:
            return None
        last = tried[-1]
        if last.reason.startswith("operator"):
            return f"the operator turned it down in round {last.round}"
        if last.outcome is Outcome.FAILED and recipe.spec.risk is Risk.NUMERICS:
            return f"was tried in round {last.round}; its arithmetic was refused, and no other tree changes that"
        if len(tried) > 1:
            return f"was tried in rounds {', '.join(str(trial.round) for trial in tried)}"
        elsewhere = not last.saw(self.situation.base.capabilities)
        if elsewhere or last.outcome is Outcome.VOID or self._another_setting(recipe, last) is not None:
            return None
        return f"was tried in round {last.round} ({last.outcome.value}), and nothing around it has changed"

    def _another_setting(self, recipe: Recipe, last: Trial) -> Params | None:
        if last.ratio is None or last.outcome is Outcome.FAILED:  # wrong answers do not become right by tuning
            return None
        known = domains(recipe, self.situation.facts)
        return None if isinstance(known, Unknown) else next(neighbours(known, last.params), None)

    def _chain(self, name: str) -> tuple[Recipe, ...] | None:
        if self._never[name]:
            return None
        return self._chain_to(self.book[name], self.situation.base.capabilities, LONGEST_CHAIN)

    def _chain_to(self, recipe: Recipe, capabilities: frozenset[str], longest: int) -> tuple[Recipe, ...] | None:
        """The shortest chain of recipes not in the tree yet that ends in this one."""
        if longest == 0 or recipe.conflicts & capabilities:
            return None
        missing = sorted(recipe.needs - capabilities)
        if not missing:
            return (recipe,)
        found: list[tuple[Recipe, ...]] = []
        for provider in self.book.providers(missing[0]):
            first = None if self._never[provider.id] else self._chain_to(provider, capabilities, longest - 1)
            if first is None:
                continue
            rest = self._chain_to(recipe, _after(first, capabilities), longest - len(first))
            if rest is not None and not {link.id for link in first} & {link.id for link in rest}:
                found.append((*first, *rest))
        return min(found, key=len, default=None)

    # ---- what it is worth

    def _rated(self, chain: tuple[Recipe, ...]) -> Candidate:
        above = self.situation.base.capabilities
        expected: list[Posterior] = []
        for link in chain:
            expected.append(self.expectation(link, self.setting(link), above))
            above = link.after(above)
        total = NormalDist(sum(each.mean for each in expected), math.hypot(*(each.sd for each in expected)))
        gain = improvement(total)
        unlocks, unlocked = self._best_unlocked(chain[0], above) if len(chain) == 1 else (None, None)
        if unlocked is not None:
            gain += UNLOCKED_SHARE * improvement(NormalDist(unlocked.mean, unlocked.sd))
            total += NormalDist(unlocked.mean, unlocked.sd)
        penalty = sum(RISK_PENALTY[link.spec.risk] for link in chain)
        seconds = sum(self.seconds(link, each.mean) for link, each in zip(chain, expected, strict=True))
        return Candidate(
            chain=chain,
            params=self.setting(chain[0]),
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
            if recipe is first or self._never[recipe.id] or possible_before or why_not_on(recipe, above):
                continue
            expected = self.expectation(recipe, self.setting(recipe), above)
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


def _after(chain: tuple[Recipe, ...], capabilities: frozenset[str]) -> frozenset[str]:
    for link in chain:
        capabilities = link.after(capabilities)
    return capabilities
