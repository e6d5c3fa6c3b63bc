"""Swaps: an untried recipe for the ones it conflicts with. Pure; the tree is built anew from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

from vibeserve_tui.errors import SkillError
from vibeserve_tui.recipes.applicability import why_not_here
from vibeserve_tui.recipes.candidates import WORTHWHILE, Market
from vibeserve_tui.recipes.chain import closure, fits_together
from vibeserve_tui.recipes.recipe import Recipe, RecipeBook
from vibeserve_tui.recipes.situation import Choice


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
    found = [
        swap
        for recipe in market.book.values()
        if not situation.champion.has(recipe.id)
        and not situation.selections_of(recipe.id)
        and why_not_here(recipe, situation.facts) is None
        and (swap := _swap_in(market, recipe)) is not None
    ]
    return tuple(sorted(found, key=lambda swap: (-swap.chance, swap.recipe.id)))


def _swap_in(market: Market, recipe: Recipe) -> Swap | None:
    book, champion, seed = market.book, market.situation.champion, market.situation.seed_capabilities
    present = {choice.recipe: choice for choice in champion.recipes}
    if not present.keys() <= book.keys():
        return None  # made by a recipe that is no longer installed: it cannot be built again
    rivals = {name for name in present if book[name].clashes_with(recipe)}
    if not rivals:
        return None
    try:
        names = closure(book, {*_standing(book, set(present) - rivals, seed), recipe.id}, seed)
        if names & rivals or fits_together(book, names, seed):
            return None
        order = book.in_order(names)
    except SkillError:
        return None
    dropped = tuple(name for name in present if name not in names)
    choices = {name: present.get(name) or Choice(name, market.setting(book[name])) for name in names}
    return Swap(
        recipe=recipe,
        choice=choices[recipe.id],
        dropped=dropped,
        recipes=tuple(choices[link.id] for link in order),
        total=_gain(market, recipe, choices[recipe.id], dropped),
    )


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
    new = market.expectation(recipe, choice.params, capabilities)
    total = NormalDist(new.mean, new.sd)
    for name in dropped:
        old = next(c for c in market.situation.champion.recipes if c.recipe == name)
        lost = market.expectation(market.book[name], old.params, capabilities)
        total -= NormalDist(lost.mean, lost.sd)
    return total
