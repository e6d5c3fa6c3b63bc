"""The playbook: plays every role deterministically, with the recipes of the skills library and no model at all.

It plans with `recipes.planner`, builds by applying recipes as real changes of source, and reads profiles by fixed rules.
The same facts give the same answers.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import get_args

from vibeserve_tui import foreign_trees
from vibeserve_tui.agents.loop.prices import FREE
from vibeserve_tui.agents.protocol import (
    AgentEvent,
    AgentRequest,
    BuildFacts,
    MutationFacts,
    PerfFacts,
    PlanFacts,
    Result,
    Said,
    Used,
)
from vibeserve_tui.agents.replies import Bottleneck, Hint, ImplReport, IssueDraft, PerfReport, PreparedPlan
from vibeserve_tui.errors import SkillError
from vibeserve_tui.events import Issue, RecipeChoice, TaskPlan, ToolCall, VoiceSettings
from vibeserve_tui.recipes.apply import Applied, apply
from vibeserve_tui.recipes.candidates import Market
from vibeserve_tui.recipes.chain import apply_chain, explain
from vibeserve_tui.recipes.mutations import children, pick
from vibeserve_tui.recipes.offspring import child_task
from vibeserve_tui.recipes.planner import Stop, decide
from vibeserve_tui.recipes.plans import Plan
from vibeserve_tui.recipes.towards import towards

MOST_URGENT, LEAST_URGENT = 1, 3
LARGE_GAIN, SMALL_GAIN = 0.25, 0.05
"""Expected log gains from which on a backlog entry is urgent, and below which it can wait."""


def completed(settings: VoiceSettings) -> VoiceSettings:
    return settings.model_copy(update={"model": "", "prices": {"": FREE}})


class Agent:
    def __init__(self, settings: VoiceSettings) -> None:
        """It has no settings: the same facts give the same answers."""

    async def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]:
        match request.facts:
            case PlanFacts(issue=issue) as facts if issue is not None:
                events = _plan_for(facts, issue)
            case PlanFacts() as facts:
                events = _plan(facts)
            case MutationFacts() as facts:
                events = _mutate(facts)
            case BuildFacts() as facts:
                events = _build(facts)
            case PerfFacts() as facts:
                events = _read_profile(facts)
            case _:
                events = iter([Result("error", reason="the playbook neither reviews nor answers questions")])
        for event in events:
            yield event


# ---- orchestrator -------------------------------------------------------------------------------------------------


def _plan(facts: PlanFacts) -> Iterator[AgentEvent]:
    decision = decide(facts.book, facts.situation)
    backlog = tuple(_backlog(facts))
    if isinstance(decision, Stop):
        yield Said(f"stop: {decision.reason}")
        yield Result("ok", PreparedPlan(action="stop", stop_reason=decision.reason, backlog=backlog))
        return
    yield Said(f"{decision.title}: {decision.hypothesis.claim}")
    yield Result("ok", PreparedPlan(action="task", task=_task(facts, decision), backlog=backlog))


def _plan_for(facts: PlanFacts, issue: Issue) -> Iterator[AgentEvent]:
    """The next step towards the issue's recipe."""
    decision = towards(facts.book, facts.situation, issue.skill)
    if isinstance(decision, Stop):
        yield Said(f"{issue.id} cannot be done: {decision.reason}")
        yield Result("ok", PreparedPlan(action="stop", stop_reason=decision.reason))
        return
    step = "" if decision.recipe == issue.skill else f", the way to {issue.skill}"
    yield Said(f"{issue.id}: {decision.title}{step}")
    yield Result("ok", PreparedPlan(action="task", task=_task(facts, decision)))


def _task(facts: PlanFacts, plan: Plan) -> TaskPlan:
    rebuild = plan.recipes if plan.dropped else ()
    return TaskPlan(
        title=plan.title,
        skill=plan.recipe,
        params=dict(plan.params),
        hypothesis=plan.hypothesis,
        why=plan.why,
        parent=plan.parent,
        kind="swap" if plan.dropped else "tune" if plan.step == "tune" else "recipe",
        rebuild=tuple(RecipeChoice(skill=choice.recipe, params=dict(choice.params)) for choice in rebuild),
        dropped=plan.dropped,
        version=facts.book[plan.recipe].spec.version,
        base_capabilities=tuple(sorted(facts.situation.base.capabilities)),
        long_shot=plan.long_shot,
    )


def _backlog(facts: PlanFacts) -> Iterator[IssueDraft]:
    """An issue for every recipe that can be reached, best first, and a blocked one for every other."""
    market = Market(facts.book, facts.situation)
    for candidate in market.backlog():
        recipe, mean = candidate.goal, candidate.total.mean
        urgency = MOST_URGENT if mean > LARGE_GAIN else LEAST_URGENT if mean < SMALL_GAIN else 2
        path = " → ".join(link.id for link in candidate.chain)
        body = f"{path}; expected {candidate.score:+.3f} log gain per minute"
        yield IssueDraft(title=recipe.spec.title, skill=recipe.id, priority=urgency, background=body)
    for name, reason in market.refusals().items():
        if not facts.situation.base.has(name) and not facts.situation.selections_of(name):
            yield IssueDraft(
                title=facts.book[name].spec.title, skill=name, priority=LEAST_URGENT, blocked_because=reason
            )


# ---- mutator ------------------------------------------------------------------------------------------------------


def _mutate(facts: MutationFacts) -> Iterator[AgentEvent]:
    """One child of the parent, drawn from all that were not proposed yet."""
    try:
        options = children(Market(facts.book, facts.situation), facts.others, facts.trials, facts.known)
    except SkillError as error:
        yield Result("error", reason=str(error))
        return
    if not options:
        reason = f"every child of round {facts.situation.champion.round} was proposed already"
        yield Result("ok", PreparedPlan(action="stop", stop_reason=reason))
        return
    child = pick(options, Random(facts.draw))
    task = child_task(facts.book, facts.situation, child, lead=facts.lead, of=len(options))
    yield Said(f"{task.title}, one of {len(options)} children")
    yield Result("ok", PreparedPlan(action="task", task=task))


# ---- implementer --------------------------------------------------------------------------------------------------


def _build(facts: BuildFacts) -> Iterator[AgentEvent]:
    if facts.feedback:
        yield Result("error", reason=f"the recipe has no other variant after: {facts.feedback}")
    elif facts.task.rebuild:
        yield from _rebuild(facts)
    else:
        yield from _apply_one(facts)


def _apply_one(facts: BuildFacts) -> Iterator[AgentEvent]:
    recipe = facts.book[facts.task.skill]
    started = time.perf_counter()
    result = apply(recipe, facts.task.params, facts.workspace, facts.facts)
    applied = isinstance(result, Applied) and bool(result.changes)
    settings = ", ".join(f"{name}={value}" for name, value in facts.task.params.items())
    yield Used(
        ToolCall(
            name="apply_recipe",
            arguments=f"{recipe.id} {settings}".strip(),
            ok=applied,
            output=result.diff if isinstance(result, Applied) else explain(result),
            took_s=round(time.perf_counter() - started, 3),
        )
    )
    if not isinstance(result, Applied) or not result.changes:
        yield Result("error", reason=f"{recipe.id} {explain(result)}")
        return
    merged = f"; merged with other changes in {', '.join(result.merged)}" if result.merged else ""
    summary = f"{recipe.spec.title}: {explain(result)}{merged}"
    yield Result("ok", ImplReport(summary=summary, skills_read=(recipe.id,)))


def _rebuild(facts: BuildFacts) -> Iterator[AgentEvent]:
    """A whole set of recipes on a fresh copy of the seed, put in the place of the workspace."""
    chosen = {choice.skill: choice.params for choice in facts.task.rebuild}
    fresh = facts.workspace.with_name(facts.workspace.name + ".fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        apply_chain(facts.book, chosen, facts.seed, fresh, facts.facts)
    except SkillError as error:
        yield Used(ToolCall(name="apply_chain", arguments=" ".join(chosen), ok=False, output=str(error)))
        yield Result("error", reason=str(error))
        return
    _replace(facts.workspace, fresh)
    names = [recipe.id for recipe in facts.book.in_order(chosen)]
    without = f"without {', '.join(facts.task.dropped)}" if facts.task.dropped else ""
    yield Used(ToolCall(name="apply_chain", arguments=" ".join(names), output=without))
    yield Result("ok", ImplReport(summary=f"rebuilt from the seed: {', '.join(names)}", skills_read=tuple(names)))


def _replace(workspace: Path, fresh: Path) -> None:
    foreign_trees.remove(workspace)
    fresh.rename(workspace)


# ---- evaluator ----------------------------------------------------------------------------------------------------


def _read_profile(facts: PerfFacts) -> Iterator[AgentEvent]:
    shares = sorted(facts.profile.phases.items(), key=lambda item: -item[1])
    if not shares:
        yield Result("error", reason="the profile is empty")
        return
    reading = ", ".join(f"{phase} {share:.0%}" for phase, share in shares[:4])
    yield Said(f"time goes to {reading}")
    top = shares[0][0]
    bottleneck: Bottleneck = next((known for known in get_args(Bottleneck) if known == top), "other")
    hints = tuple(Hint(code=code, evidence=(f"p:{top}",)) for code in facts.profile.hints)
    yield Result("ok", PerfReport(bottleneck=bottleneck, hints=hints, reading=reading))
