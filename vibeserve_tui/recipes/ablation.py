"""Backward ablation: which kept recipes still pay, now that all the others are there.

Pure functions. Each variant is the champion's set without one recipe, to be applied to the seed in order. A tree
that is not measurably slower without a recipe is kept, because simpler code is worth more than nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from vibeserve_tui.recipes.chain import fits_together
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Choice, Situation

NOT_SLOWER = 0.98
"""Ratio from which on a tree counts as not slower."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The champion's set without one recipe, in the order of application."""

    dropped: str
    recipes: tuple[Choice, ...]


def variants(book: RecipeBook, situation: Situation) -> tuple[Variant, ...]:
    """One variant for each of the champion's recipes that the others do not build on, the smallest gain first."""
    gains = {trial.recipe: trial.ratio or 1.0 for trial in situation.trials if trial.was_kept}
    champion = situation.champion
    found: list[Variant] = []
    for dropped in champion.recipes:
        rest = {choice.recipe: choice for choice in champion.recipes if choice is not dropped}
        if rest.keys() <= book.keys() and not fits_together(book, rest, situation.seed_capabilities):
            ordered = tuple(rest[recipe.id] for recipe in book.in_order(rest))
            found.append(Variant(dropped.recipe, ordered))
    return tuple(sorted(found, key=lambda variant: (gains.get(variant.dropped, 1.0), variant.dropped)))


def still_good(ratio: float, ci_high: float) -> bool:
    """Whether a variant may replace the champion: ratio over the champion, > 1 = the simpler tree is faster.

    What it leaves out has proved its gain once, so being unsure is no reason to leave it out: the estimate itself has
    to say that nothing is lost, and the interval must not rule it out.
    """
    return ratio >= NOT_SLOWER and ci_high >= 1.0
