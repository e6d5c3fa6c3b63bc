"""A child in words: title, hypothesis and reasons, as the task that a round is given."""

from __future__ import annotations

from statistics import NormalDist

from vibeserve_tui.events import Hypothesis, RecipeChoice, TaskPlan, WhyRow
from vibeserve_tui.recipes.mutations import Kind, Mutation
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Situation
from vibeserve_tui.recipes.why import belief, claim, factor, hypothesis


def child_task(book: RecipeBook, situation: Situation, child: Mutation, *, lead: float, of: int) -> TaskPlan:
    """`situation` has the parent as its champion; `lead` is the parent's log gain over the real one; `of` = how many."""
    parent = situation.champion
    recipe = book.get(child.about)
    params = next((dict(choice.params) for choice in child.recipes if choice.recipe == child.about), {})
    return TaskPlan(
        title=_title(book, situation, child),
        skill=child.about,
        params=params,
        hypothesis=_hypothesis(book, situation, child, lead),
        why=_why(child, lead, of, parent.round),
        parent=parent.round,
        kind="recipe" if child.kind is Kind.ADD else "tune" if child.kind is Kind.TUNE else "swap",
        rebuild=tuple(RecipeChoice(skill=choice.recipe, params=dict(choice.params)) for choice in child.recipes),
        dropped=child.dropped,
        version=recipe.spec.version if recipe else "",
        base_capabilities=tuple(sorted(parent.capabilities)),
        inspirations=() if child.partner is None else (child.partner,),
    )


def _title(book: RecipeBook, situation: Situation, child: Mutation) -> str:
    parent = f"r{situation.champion.round}" if situation.champion.round else "the seed"
    match child.kind:
        case Kind.ADD:
            return f"{book[child.about].spec.title}, in {parent}"
        case Kind.SWAP:
            return f"{book[child.about].spec.title} instead of {', '.join(child.dropped)}, in {parent}"
        case Kind.TUNE:
            return f"{child.about} with {_changed(situation, child)}, in {parent}"
        case Kind.DROP:
            return f"{parent} without {', '.join(child.dropped)}"
        case Kind.CROSS:
            return f"{parent} crossed with r{child.partner}"


def _changed(situation: Situation, child: Mutation) -> str:
    """The settings in which a tuned recipe differs from the parent's."""
    before = next(choice.params for choice in situation.champion.recipes if choice.recipe == child.about)
    now = next(choice.params for choice in child.recipes if choice.recipe == child.about)
    return ", ".join(f"{name} = {value}" for name, value in now.items() if before.get(name) != value)


def _hypothesis(book: RecipeBook, situation: Situation, child: Mutation, lead: float) -> Hypothesis:
    """Over the champion, because that is what it is measured beside, whoever its parent is."""
    over_champion = NormalDist(child.expected.mean + lead, child.expected.stdev)
    if child.about:
        return hypothesis(book[child.about], over_champion, situation.minimum_effect)
    text = (
        f"{', '.join(child.dropped)} costs more than it brings here"
        if child.kind is Kind.DROP
        else f"what rounds {situation.champion.round} and {child.partner} gained adds up"
    )
    return claim(text, over_champion, situation.minimum_effect)


def _why(child: Mutation, lead: float, of: int, parent: int) -> tuple[WhyRow, ...]:
    return (
        WhyRow(what="mutation", value=child.kind.value, source=f"drawn from {of} children of round {parent}"),
        WhyRow(what="its parent", value=factor(lead), source="over the champion, by ratios measured side by side"),
        WhyRow(
            what="expected over its parent",
            value=belief(child.expected.mean, child.expected.stdev),
            source="prior, evidence and trials",
        ),
    )
