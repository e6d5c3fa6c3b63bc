"""The orchestrator: turns the run so far into the next task, with its hypothesis and its reasons."""

from __future__ import annotations

import asyncio

from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import AgentRequest, PlanFacts, Role, Voice, load_voice
from vibeserve_tui.agents.replies import Hypothesis, PlanReply, PreparedPlan, RoundPlan, checked
from vibeserve_tui.agents.toolbox.recipes import RecipeDesk
from vibeserve_tui.recipes.planner import fate
from vibeserve_tui.recipes.situation import Situation
from vibeserve_tui.roles.briefing import Briefing, composition, made_of_recipes, trial_of
from vibeserve_tui.roles.conversation import ask
from vibeserve_tui.roles.evidence import Evidence, evidence_of
from vibeserve_tui.roles.plan_check import Grounds
from vibeserve_tui.roles.prompting import render
from vibeserve_tui.roles.standing import (
    advices,
    board_in_words,
    memory_in_words,
    notes_of,
    rounds_in_words,
    standing,
)
from vibeserve_tui.roles.workplace import Commission, Workplace
from vibeserve_tui.state.run import Run

RECIPES_LIMIT = 5000
"""Characters of the list of recipes in a prompt; the tool shows all of it."""


class Orchestrator:
    """Without a workplace it plans as the playbook does; with one it asks a model."""

    def __init__(self, run: Run, voice: Voice, briefing: Briefing, workplace: Workplace | None = None) -> None:
        self._run = run
        self._voice = voice
        self._briefing = briefing
        self._workplace = workplace

    async def plan(self, *, rounds_left: int, seconds_left: float, fault: str = "") -> PlanReply:
        """`fault` is what was wrong with the last plan. Raises AgentError when none can be had."""
        situation = self._briefing.situation(self._run, rounds_left=rounds_left, seconds_left=seconds_left)
        if self._workplace is None:
            return await self._prepared(self._voice, situation)
        return await self._asked(self._workplace, situation, fault)

    async def harvest(self, *, rounds_left: int, seconds_left: float) -> PreparedPlan | None:
        """What the playbook would do next, as long as that is likely to pay and keeps what a model wrote."""
        if self._workplace is None:
            return None
        situation = self._briefing.situation(self._run, rounds_left=rounds_left, seconds_left=seconds_left)
        plan = await self._prepared(load_voice("playbook"), situation)
        unsuitable = plan.task is not None and (
            plan.task.long_shot or (plan.task.rebuild and not made_of_recipes(self._run.state))
        )
        return plan.model_copy(update={"action": "stop", "task": None}) if unsuitable else plan

    async def plan_for(self, issue: ev.Issue, *, rounds_left: int, seconds_left: float) -> PreparedPlan:
        """The issue as the next task: its recipe, or the next link towards it, or what it says, for who writes code.

        When it cannot be done now, the plan is to stop, for the reason that it gives.
        """
        if not issue.skill:
            task = self._in_words(issue) if self._somebody_writes() else None
            reason = "" if task else "nobody in this run writes code, and it names no recipe"
            return PreparedPlan(action="task" if task else "stop", task=task, stop_reason=reason)
        situation = self._briefing.situation(self._run, rounds_left=rounds_left, seconds_left=seconds_left)
        plan = await self._prepared(load_voice("playbook"), situation, issue)
        if plan.task is not None and plan.task.rebuild and not made_of_recipes(self._run.state):
            reason = "the tree would have to be built anew, without what an agent wrote"
            return PreparedPlan(action="stop", stop_reason=reason)
        return plan

    def task_of(self, plan: PlanReply) -> ev.TaskPlan | None:
        """The plan as a task of this run; None when it says to stop."""
        match plan:
            case PreparedPlan(task=task):
                return task
            case RoundPlan(action="task") if self._workplace is not None:
                return self._worked_out(plan)
            case _:
                return None

    def spares(self, record: ev.RoundRecord) -> bool:
        """Is this neutral tree worth going on from, because it makes something better possible?"""
        if not record.task.skill:
            return False
        situation = self._briefing.situation(self._run, rounds_left=1, seconds_left=0.0)
        return fate(self._briefing.book, situation, trial_of(record)) == "prerequisite"

    def _somebody_writes(self) -> bool:
        plan = self._run.state.plan
        voice = plan.voices.get(Role.IMPLEMENTER) if plan else None
        return voice is not None and voice.provider != "playbook"

    def _in_words(self, issue: ev.Issue) -> ev.TaskPlan:
        state = self._run.state
        tree = composition(self._run.store, state.champion_commit, state.champion)
        earlier = [f"Round {n} failed: {state.rounds[n].reason}" for n in issue.rounds if n in state.rounds]
        return ev.TaskPlan(
            title=issue.title,
            parent=state.champion,
            kind="agent",
            base_capabilities=tuple(sorted(tree.capabilities)),
            instructions="\n\n".join(filter(None, (issue.body, *earlier))),
        )

    async def _prepared(self, voice: Voice, situation: Situation, issue: ev.Issue | None = None) -> PreparedPlan:
        facts = PlanFacts(self._briefing.book, situation, tuple(self._run.state.notes), issue)
        request = AgentRequest(Role.ORCHESTRATOR, facts, PreparedPlan)
        return await ask(self._run, voice, request, PreparedPlan, task="plan the next round")

    async def _asked(self, workplace: Workplace, situation: Situation, fault: str) -> RoundPlan:
        run, state = self._run, self._run.state
        evidence = evidence_of(state)
        desk = RecipeDesk(self._briefing.book, situation)
        champion = run.dir.checkouts / "champion"
        await asyncio.to_thread(run.store.checkout, state.champion_commit, champion)
        commission = Commission(
            Role.ORCHESTRATOR, self._voice, self._words(situation, desk, evidence, fault), champion, recipes=desk
        )
        grounds = Grounds(state, self._briefing.book, situation, workplace.offers, evidence, workplace.writes)
        request = AgentRequest(
            Role.ORCHESTRATOR,
            PlanFacts(self._briefing.book, situation, tuple(state.notes)),
            checked(RoundPlan, grounds.faults),
            workplace.brief(commission),
        )
        return await ask(run, self._voice, request, RoundPlan, task="plan the next round")

    def _words(self, situation: Situation, desk: RecipeDesk, evidence: Evidence, fault: str) -> str:
        state = self._run.state
        rounds_left, seconds_left = situation.rounds_left or 0, situation.seconds_left or 0.0
        recipes = desk.listed()
        if len(recipes) > RECIPES_LIMIT:
            recipes = recipes[:RECIPES_LIMIT].rpartition("\n")[0] + "\n(list_recipes shows the rest)"
        return render(
            "orchestrator",
            standing=standing(state, rounds_left=rounds_left, seconds_left=seconds_left),
            evidence=evidence,
            rounds=rounds_in_words(state),
            advices=list(advices(state)),
            recipes=recipes,
            board=board_in_words(state),
            memory=memory_in_words(state),
            notes=notes_of(state),
            fault=fault,
        )

    def _worked_out(self, plan: RoundPlan) -> ev.TaskPlan:
        """A model's plan with what only the engine knows: base, versions, ids, and its evidence as reasons."""
        run, state = self._run, self._run.state
        parent = state.champion if plan.base is None else plan.base
        tree = composition(run.store, state.rounds[parent].commit, parent)
        recipe = self._briefing.book.get(plan.recipe.id) if plan.recipe else None
        number = max(state.rounds, default=0) + 1
        return ev.TaskPlan(
            title=plan.title,
            skill=recipe.id if recipe else "",
            params=dict(plan.recipe.params) if plan.recipe else {},
            hypothesis=_hypothesis(plan.hypothesis, f"H{number}") if plan.hypothesis else None,
            why=self._why(plan),
            parent=parent,
            kind="recipe" if recipe else "agent",
            version=recipe.spec.version if recipe else "",
            base_capabilities=tuple(sorted(tree.capabilities)),
            instructions=plan.task,
            family=plan.family or "",
            scope=plan.scope,
            pass_criteria=plan.pass_criteria,
            reads=plan.skills,
            profile_focus=plan.profile_focus,
        )

    def _why(self, plan: RoundPlan) -> tuple[ev.WhyRow, ...]:
        evidence = evidence_of(self._run.state)
        rows = [
            ev.WhyRow(what=name, value=evidence.value(name), source="measured by the engine")
            for name in (plan.hypothesis.evidence if plan.hypothesis else ())
        ]
        said = evidence.filled(plan.reasoning)
        return (*rows, *([ev.WhyRow(what="reasoning", value=said, source="the orchestrator")] if said else []))


def _hypothesis(draft: Hypothesis, name: str) -> ev.Hypothesis:
    return ev.Hypothesis(id=name, **draft.model_dump())
