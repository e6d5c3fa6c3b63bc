"""Whether a plan fits its run: everything that it names must exist. The planner hears the faults while it can mend them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vibeserve_tui import events as ev
from vibeserve_tui.agents.replies import Hypothesis, RecipeUse, RoundPlan
from vibeserve_tui.errors import SkillError, did_you_mean
from vibeserve_tui.inputs.skills import Offer
from vibeserve_tui.recipes.applicability import why_not_here, why_not_on
from vibeserve_tui.recipes.expressions import Unknown
from vibeserve_tui.recipes.params import resolve
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Composition, Situation
from vibeserve_tui.roles.evidence import Evidence
from vibeserve_tui.roles.standing import stuck_family
from vibeserve_tui.run_state import RunState


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a plan may refer to."""

    state: RunState
    book: RecipeBook
    situation: Situation
    offers: tuple[Offer, ...]
    evidence: Evidence
    writes: bool = True
    """Whether somebody writes code; else only recipes can be built."""

    def faults(self, plan: RoundPlan) -> Iterator[str]:
        if plan.action == "stop":
            return
        yield from self._names(plan)
        yield from self._base(plan)
        if plan.hypothesis is not None:
            yield from self._hypothesis(plan.hypothesis)
        if plan.recipe is not None:
            yield from self._recipe(plan.recipe, plan.base)
        elif not self.writes:
            yield "nobody in this run writes code: name a recipe"
        if plan.family and plan.family == stuck_family(self.state):
            yield f"the last rounds about {plan.family!r} brought nothing: plan for another part of the server"

    def _names(self, plan: RoundPlan) -> Iterator[str]:
        offered = [offer.skill.name for offer in self.offers if offer.offered]
        for name in plan.skills:
            if name not in offered:
                yield f"skill {name!r} is not offered here{did_you_mean(name, offered)}"
        if plan.issue_id and plan.issue_id not in self.state.issues:
            yield f"there is no issue {plan.issue_id!r}{did_you_mean(plan.issue_id, self.state.issues)}"

    def _base(self, plan: RoundPlan) -> Iterator[str]:
        if plan.base is None:
            return
        record = self.state.rounds.get(plan.base)
        if record is None or (plan.base and record.outcome is not ev.Outcome.KEPT):
            yield f"round {plan.base} is no base: only kept rounds and the seed are"

    def _hypothesis(self, hypothesis: Hypothesis) -> Iterator[str]:
        if unknown := self.evidence.unknown(hypothesis.evidence):
            yield f"there is no evidence {', '.join(unknown)}; use the ids of the prompt"
        metrics = {metric.name for metric in self.state.plan.metrics} if self.state.plan else set()
        if hypothesis.metric and hypothesis.metric not in metrics:
            yield f"{hypothesis.metric!r} is not measured here{did_you_mean(hypothesis.metric, metrics)}"

    def _recipe(self, use: RecipeUse, base: int | None) -> Iterator[str]:
        recipe = self.book.get(use.id)
        if recipe is None:
            yield f"there is no recipe {use.id!r}{did_you_mean(use.id, self.book)}"
            return
        facts = self.situation.facts
        reason = why_not_here(recipe, facts)
        if reason is None and base in (None, self.situation.champion.round):
            reason = _why_not_onto(recipe.id, self.situation.champion) or why_not_on(
                recipe, self.situation.champion.capabilities
            )
        if reason is not None:
            yield f"recipe {use.id} {reason}"
            return
        try:
            values = resolve(recipe, dict(use.params), facts)
        except SkillError as error:
            yield str(error)
        else:
            if isinstance(values, Unknown):
                yield f"recipe {use.id}: {values} in its parameters"


def _why_not_onto(recipe: str, tree: Composition) -> str | None:
    return "is in the champion's tree already" if tree.has(recipe) else None
