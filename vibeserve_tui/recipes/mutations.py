"""The children that one set of recipes can have: one recipe more or less, another setting, a swap, or a second parent.

Pure. A genome is a set of recipes with their parameters; its tree is built from the seed in the order of needs, so equal
genomes are equal trees. Which child it is to be is a draw from what each is believed to gain over its parent
(Thompson), from a generator that the caller seeds.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from statistics import NormalDist

from vibeserve_tui.errors import SkillError
from vibeserve_tui.events import Outcome
from vibeserve_tui.recipes.candidates import Market
from vibeserve_tui.recipes.chain import fits_together
from vibeserve_tui.recipes.expressions import Unknown
from vibeserve_tui.recipes.params import domains, resolve
from vibeserve_tui.recipes.recipe import Recipe
from vibeserve_tui.recipes.recipe_spec import Risk
from vibeserve_tui.recipes.situation import Choice, Composition
from vibeserve_tui.recipes.swaps import swaps
from vibeserve_tui.recipes.trials import Trial
from vibeserve_tui.recipes.tuning import neighbours

TUNING_SD = 0.05
"""Of the log gain that a step of one parameter may bring; nothing says beforehand which way it should go."""
MOST_FAILURES = 2
"""Children that were wrong before a recipe is left alone."""


class Kind(StrEnum):
    ADD = "add"
    DROP = "drop"
    TUNE = "tune"
    SWAP = "swap"
    CROSS = "cross"


@dataclass(frozen=True, slots=True)
class Mutation:
    """One child: its whole genome, and what is believed of it."""

    kind: Kind
    recipes: tuple[Choice, ...]
    """In the order of application."""
    expected: NormalDist
    """Log gain over the parent."""
    about: str = ""
    """The recipe that goes in or is tuned."""
    dropped: tuple[str, ...] = ()
    partner: int | None = None
    """The round of the second parent."""

    @property
    def genome(self) -> str:
        return genome(self.recipes)


def genome(choices: Iterable[Choice]) -> str:
    """A set of recipes with parameters as text: equal sets are equal, in whatever order they were applied."""
    return json.dumps({choice.recipe: dict(choice.params) for choice in choices}, sort_keys=True)


def children(
    market: Market, others: Sequence[Composition], trials: Sequence[Trial], known: Collection[str]
) -> list[Mutation]:
    """Every child of the market's champion that is not `known`, each genome once.

    `others` may be second parents; `trials` are this run's, of which the failures count. Raises SkillError when the
    parent was made by recipes that are not installed any more.
    """
    parent = market.situation.champion
    if missing := {choice.recipe for choice in parent.recipes} - market.book.keys():
        raise SkillError(f"round {parent.round} was built with {', '.join(sorted(missing))}, which is not installed")
    found: dict[str, Mutation] = {}
    for child in (
        *_additions(market),
        *_swaps(market),
        *_crossings(market, others),
        *_tunings(market),
        *_drops(market),
    ):
        new = {choice.recipe for choice in child.recipes} - {choice.recipe for choice in parent.recipes}
        hopeless = any(_is_hopeless(market.book[name], trials) for name in new)
        if child.genome not in known and not hopeless:
            found.setdefault(child.genome, child)
    return list(found.values())


def pick(options: Sequence[Mutation], draw: Random) -> Mutation:
    """The one with the largest gain in a draw from what each is believed to gain."""
    drawn = [draw.gauss(option.expected.mean, option.expected.stdev) for option in options]
    return options[drawn.index(max(drawn))]


def _additions(market: Market) -> Iterator[Mutation]:
    parent = market.situation.champion
    for name, recipe in market.book.items():
        if market.reach.chain(name) != (recipe,):
            continue
        params = market.reach.setting(recipe)
        child = _ordered(market, {choice.recipe: choice for choice in parent.recipes} | {name: Choice(name, params)})
        if child is not None:
            yield Mutation(Kind.ADD, child, market.expectation(recipe, params, parent.capabilities).gain, name)


def _swaps(market: Market) -> Iterator[Mutation]:
    for swap in swaps(market):
        child = _ordered(market, {choice.recipe: choice for choice in swap.recipes})
        if child is not None:
            yield Mutation(Kind.SWAP, child, swap.total, swap.recipe.id, swap.dropped)


def _crossings(market: Market, others: Sequence[Composition]) -> Iterator[Mutation]:
    """The union with each of the others, the parent's settings first; what excludes one another cannot be united."""
    parent = market.situation.champion
    own = {choice.recipe: choice for choice in parent.recipes}
    for other in others:
        theirs = {choice.recipe: choice for choice in other.recipes if choice.recipe not in own}
        if not theirs or not theirs.keys() <= market.book.keys():
            continue
        child = _ordered(market, own | theirs)
        if child is not None:
            gains = [
                market.expectation(market.book[name], choice.params, parent.capabilities).gain
                for name, choice in theirs.items()
            ]
            yield Mutation(Kind.CROSS, child, sum(gains[1:], gains[0]), partner=other.round)


def _tunings(market: Market) -> Iterator[Mutation]:
    parent = market.situation.champion
    for choice in parent.recipes:
        known = domains(market.book[choice.recipe], market.situation.facts)
        if isinstance(known, Unknown):
            continue
        for params in neighbours(known, choice.params):
            tuned = {old.recipe: old for old in parent.with_choice(Choice(choice.recipe, params))}
            child = _ordered(market, tuned)
            if child is not None:
                yield Mutation(Kind.TUNE, child, NormalDist(0.0, TUNING_SD), choice.recipe)


def _drops(market: Market) -> Iterator[Mutation]:
    parent = market.situation.champion
    for dropped in parent.recipes:
        child = _ordered(market, {choice.recipe: choice for choice in parent.recipes if choice is not dropped})
        if child is not None:
            expected = market.expectation(market.book[dropped.recipe], dropped.params, parent.capabilities)
            yield Mutation(Kind.DROP, child, NormalDist(-expected.mean, expected.sd), dropped=(dropped.recipe,))


def _ordered(market: Market, chosen: Mapping[str, Choice]) -> tuple[Choice, ...] | None:
    """The set in the order of application, with all its parameters; None when it cannot be built from the seed."""
    book, situation = market.book, market.situation
    try:
        if fits_together(book, chosen, situation.seed_capabilities):
            return None
        ordered = []
        for recipe in book.in_order(chosen):
            params = resolve(recipe, chosen[recipe.id].params, situation.facts)
            if isinstance(params, Unknown):
                return None
            ordered.append(Choice(recipe.id, params))
    except SkillError:
        return None
    return tuple(ordered)


def _is_hopeless(recipe: Recipe, trials: Sequence[Trial]) -> bool:
    """Refused for its arithmetic, which no other tree changes; wrong again and again; or turned down by a person."""
    own = [trial for trial in trials if trial.recipe == recipe.id]
    failed = [trial for trial in own if trial.outcome is Outcome.FAILED]
    refused = bool(failed) and recipe.spec.risk is Risk.NUMERICS
    return refused or len(failed) >= MOST_FAILURES or any(trial.reason.startswith("operator") for trial in own)
