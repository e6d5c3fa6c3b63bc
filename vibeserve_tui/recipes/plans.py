"""A plan: one thing to try, from which tree, with its hypothesis and its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import NormalDist

from vibeserve_tui.events import Hypothesis, WhyRow
from vibeserve_tui.recipes.candidates import Candidate, Market
from vibeserve_tui.recipes.params import Params
from vibeserve_tui.recipes.situation import Choice
from vibeserve_tui.recipes.swaps import Swap
from vibeserve_tui.recipes.trials import Step
from vibeserve_tui.recipes.why import LONG_SHOT_ROW, factor, hypothesis, why_candidate, why_trials


@dataclass(frozen=True, slots=True)
class Plan:
    """One thing to try, and the reasons."""

    step: Step
    recipe: str
    params: Params
    parent: int
    """The round whose checkpoint it starts from; a swap is built from the seed."""
    recipes: tuple[Choice, ...]
    """The whole set afterwards, in the order of application."""
    title: str
    hypothesis: Hypothesis
    why: tuple[WhyRow, ...]
    seconds: float
    """What it is expected to take."""
    chain: tuple[str, ...] = ()
    """What it is the first step towards."""
    dropped: tuple[str, ...] = ()
    """What a swap takes out."""
    long_shot: bool = False


def recipe_plan(market: Market, chosen: Candidate, others: Sequence[Candidate], *, long_shot: bool = False) -> Plan:
    situation = market.situation
    return Plan(
        step=Step.RECIPE,
        recipe=chosen.recipe.id,
        params=chosen.params,
        parent=situation.base.round,
        recipes=situation.base.with_choice(Choice(chosen.recipe.id, chosen.params)),
        title=chosen.recipe.spec.title,
        hypothesis=hypothesis(chosen.recipe, chosen.posterior.gain, situation.minimum_effect),
        why=(*why_candidate(chosen, situation, others[0] if others else None), *_said(long_shot)),
        seconds=chosen.seconds,
        chain=tuple(link.id for link in chosen.chain[1:]),
        long_shot=long_shot,
    )


def swap_plan(market: Market, swap: Swap, *, long_shot: bool = False) -> Plan:
    situation = market.situation
    rivals = ", ".join(swap.dropped)
    return Plan(
        step=Step.SWAP,
        recipe=swap.recipe.id,
        params=swap.choice.params,
        parent=situation.champion.round,
        recipes=swap.recipes,
        title=f"{swap.recipe.spec.title}, instead of {rivals}",
        hypothesis=hypothesis(swap.recipe, swap.total, situation.minimum_effect),
        why=(
            WhyRow(what="conflicts with", value=rivals, source="in the champion; the two cannot stand together"),
            *why_trials(swap.recipe, situation),
            WhyRow(what="expected over the champion", value=factor(swap.total.mean), source="its gain without theirs"),
            WhyRow(what="chance of more than 1 %", value=f"{swap.chance:.0%}"),
            *_said(long_shot),
        ),
        seconds=market.seconds(swap.recipe, swap.total.mean),
        dropped=swap.dropped,
        long_shot=long_shot,
    )


def tuning_plan(market: Market, choice: Choice, untried: Sequence[Params]) -> Plan:
    situation = market.situation
    recipe = market.book[choice.recipe]
    params = Random(f"{situation.seed}/{len(situation.trials)}/tune").choice(untried)
    turned = next(name for name, value in params.items() if value != choice.params[name])
    expected = market.expectation(recipe, choice.params, situation.champion.capabilities)
    return Plan(
        step=Step.TUNE,
        recipe=recipe.id,
        params=params,
        parent=situation.champion.round,
        recipes=situation.champion.with_choice(Choice(recipe.id, params)),
        title=f"Tune {turned} of {recipe.id}: {choice.params[turned]} → {params[turned]}",
        # The incumbent is the expectation: nothing says beforehand which way a knob should go.
        hypothesis=hypothesis(recipe, NormalDist(0.0, expected.sd), situation.minimum_effect),
        why=(
            WhyRow(
                what="selection", value="no recipe is likely to gain", source="so the knobs of the kept ones are next"
            ),
            *why_trials(recipe, situation),
            WhyRow(what="settings left", value=str(len(untried)), source="one step beside the present ones, untried"),
        ),
        seconds=market.seconds(recipe, 0.0),
    )


def _said(long_shot: bool) -> tuple[WhyRow, ...]:
    return (LONG_SHOT_ROW,) if long_shot else ()
