"""Several recipes on a fresh copy of the seed, in the order in which they build on each other.

This is how a set of recipes becomes a tree when there is no tree to start from: a recipe swapped for another,
one left out to see whether it still pays, and every test of a recipe.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from vibeserve_tui.errors import SkillError
from vibeserve_tui.recipes.applicability import why_not_on
from vibeserve_tui.recipes.apply import Application, Applied, Conflict, Failed, NotApplicable, edit
from vibeserve_tui.recipes.facts import Facts
from vibeserve_tui.recipes.params import Params
from vibeserve_tui.recipes.recipe import SEED_CAPABILITIES, RecipeBook
from vibeserve_tui.recipes.tree import write_changes


def closure(book: RecipeBook, names: Iterable[str], present: Collection[str] = SEED_CAPABILITIES) -> frozenset[str]:
    """The recipes and whatever they need that is not `present`. Raises SkillError when nothing provides a need."""
    wanted: set[str] = set()
    waiting = list(names)
    while waiting:
        recipe = book[waiting.pop()]
        if recipe.id in wanted:
            continue
        wanted.add(recipe.id)
        for need in sorted(recipe.needs - frozenset(present)):
            providers = book.providers(need)
            if not providers:
                raise SkillError(f"nothing provides {need}", where=recipe.id, fix="add a recipe that does")
            if not any(provider.id in wanted for provider in providers):
                waiting.append(providers[0].id)
    return frozenset(wanted)


def apply_chain(
    book: RecipeBook, chosen: Mapping[str, Params], seed: Path, destination: Path, facts: Facts
) -> tuple[Applied, ...]:
    """Copy `seed` to `destination` (which must not exist) and apply the recipes in order.

    What the recipes require of machine and traffic is not asked. Raises SkillError at the first that does not fit.
    """
    shutil.copytree(seed, destination, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".git"))
    results: list[Applied] = []
    for recipe in book.in_order(chosen):
        result = edit(recipe, chosen[recipe.id], destination, facts)
        if not isinstance(result, Applied):
            before = ", ".join(done.id for done in book.in_order(chosen)[: len(results)]) or "the seed"
            raise SkillError(f"does not go onto {before}: {explain(result)}", where=recipe.id, fix="mend the recipe")
        write_changes(destination, result.changes)
        results.append(result)
    return tuple(results)


def explain(result: Application) -> str:
    """An application in one line."""
    match result:
        case Applied(changes=changes):
            return f"{len(changes)} files changed" if changes else "is there already"
        case NotApplicable(reason=reason):
            return reason
        case Conflict(parts=parts):
            return f"{', '.join(part.part for part in parts)} was changed in a way it does not know"
        case Failed(step=step, output=output):
            return f"{step}: {output}"


def fits_together(book: RecipeBook, names: Iterable[str], seed: frozenset[str] = SEED_CAPABILITIES) -> str:
    """Why these recipes cannot be applied one after the other to a seed; "" when they can."""
    provided = seed
    for recipe in book.in_order(names):
        if reason := why_not_on(recipe, provided):
            return f"{recipe.id} {reason}"
        provided = recipe.after(provided)
    return ""
