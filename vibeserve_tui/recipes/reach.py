"""Which recipes may be tried now, directly or at the end of a short chain, and why the others may not. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from vibeserve_tui.events import Outcome
from vibeserve_tui.recipes.applicability import why_not_here, why_not_on
from vibeserve_tui.recipes.expressions import Unknown
from vibeserve_tui.recipes.params import Params, domains, resolve
from vibeserve_tui.recipes.recipe import Recipe, RecipeBook
from vibeserve_tui.recipes.recipe_spec import Risk
from vibeserve_tui.recipes.situation import Situation
from vibeserve_tui.recipes.trials import Trial
from vibeserve_tui.recipes.tuning import neighbours

LONGEST_CHAIN = 3


class Reach:
    """What can be reached from one situation; a look-up table that lives as long as one plan."""

    def __init__(self, book: RecipeBook, situation: Situation) -> None:
        self.book = book
        self.situation = situation
        self._never = {name: self._why_never(recipe) for name, recipe in book.items()}

    def may_try(self, recipe: Recipe) -> bool:
        """Whether nothing but the present tree can keep it out."""
        return self._never[recipe.id] is None

    def refusals(self) -> Mapping[str, str]:
        """Every other recipe, with the reason why it cannot be tried on the present tree."""
        capabilities = self.situation.base.capabilities
        reasons = {
            name: self._never[name] or why_not_on(recipe, capabilities) or "is out of reach"
            for name, recipe in self.book.items()
            if not self.chain(name)
        }
        return dict(sorted(reasons.items()))

    def chain(self, name: str) -> tuple[Recipe, ...] | None:
        """The shortest chain of new recipes that ends in this one, or None when it is out of reach."""
        if self._never[name]:
            return None
        return self._chain_to(self.book[name], self.situation.base.capabilities, LONGEST_CHAIN)

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


def _after(chain: tuple[Recipe, ...], capabilities: frozenset[str]) -> frozenset[str]:
    for link in chain:
        capabilities = link.after(capabilities)
    return capabilities
