"""Swaps: an untried recipe for the ones it conflicts with. Pure; the tree is built anew from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

from vibeserve_tui.errors import SkillError
from vibeserve_tui.recipes.applicability import why_not_here
from vibeserve_tui.recipes.candidates import WORTHWHILE, Market
from vibeserve_tui.recipes.chain import closure, fits_together
from vibeserve_tui.recipes.recipe import SEED_CAPABILITIES, Recipe, RecipeBook
from vibeserve_tui.recipes.situation import Choice, Composition


@dataclass(frozen=True, slots=True)
class Swap:
    """One recipe in, its rivals (and what was built on them) out."""

    recipe: Recipe
    choice: Choice
    dropped: tuple[str, ...]
    recipes: tuple[Choice, ...]
    """The whole set afterwards, in the order of application."""
    total: NormalDist
    """Expected log gain over the champion."""

    @property
    def chance(self) -> float:
        return 1 - self.total.cdf(WORTHWHILE)


def swaps(market: Market) -> tuple[Swap, ...]:
    """Every recipe never tried in this run that only a conflict keeps out, the likeliest gain first."""
    situation = market.situation
    found: list[Swap] = []
    for recipe in market.book.values():
        tried = situation.champion.has(recipe.id) or situation.selections_of(recipe.id)
        if tried or why_not_here(recipe, situation.facts):
            continue
        choice = Choice(recipe.id, market.reach.setting(recipe))
        recipes = after_swap(market.book, situation.champion, choice, situation.seed_capabilities)
        if recipes is not None:
            kept = {c.recipe for c in recipes}
            dropped = tuple(c.recipe for c in situation.champion.recipes if c.recipe not in kept)
            found.append(Swap(recipe, choice, dropped, recipes, _gain(market, recipe, choice, dropped)))
    return tuple(sorted(found, key=lambda swap: (-swap.chance, swap.recipe.id)))


def after_swap(
    book: RecipeBook, champion: Composition, choice: Choice, seed: frozenset[str] = SEED_CAPABILITIES
) -> tuple[Choice, ...] | None:
    """The champion's set with this recipe instead of its rivals, in the order of application.

    What was built on the rivals goes with them, what the new one needs comes with it. None when it has no rival there
    or cannot be built.
    """
    present = {old.recipe: old for old in champion.recipes}
    if not present.keys() <= book.keys():
        return None  # made by a recipe that is no longer installed: it cannot be built again
    rivals = {name for name in present if book[name].clashes_with(book[choice.recipe])}
    if not rivals:
        return None
    try:
        names = closure(book, {*_standing(book, set(present) - rivals, seed), choice.recipe}, seed)
        if names & rivals or fits_together(book, names, seed):
            return None
        choices = {**{name: Choice(name, {}) for name in names}, **present, choice.recipe: choice}
        return tuple(choices[link.id] for link in book.in_order(names))
    except SkillError:
        return None


def _standing(book: RecipeBook, names: set[str], seed: frozenset[str]) -> set[str]:
    """The recipes of the set that still find what they need in it."""
    while True:
        provided = seed.union(*(book[name].provides for name in names))
        lost = {name for name in names if book[name].needs - provided}
        if not lost:
            return names
        names = names - lost


def _gain(market: Market, recipe: Recipe, choice: Choice, dropped: tuple[str, ...]) -> NormalDist:
    capabilities = market.situation.champion.capabilities
    total = market.expectation(recipe, choice.params, capabilities).gain
    for old in market.situation.champion.recipes:
        if old.recipe in dropped:
            total -= market.expectation(market.book[old.recipe], old.params, capabilities).gain
    return total
