"""The evolutionary policy: one child a round, of a parent drawn from all rounds that were right and measured.

Nothing is stored beside the rounds themselves, and every draw is seeded by the run and the number of the round, so a
resumed run plans as it would have. A child is measured beside the champion, by the same round and gate as everything
else; what does not win stays in the population, and what fails keeps its reason.
"""

from __future__ import annotations

from random import Random

from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import Role
from vibeserve_tui.errors import AgentError, WorkspaceError
from vibeserve_tui.inputs.profiles import Evolve
from vibeserve_tui.roles.filing import issue_for
from vibeserve_tui.roles.mutator import Mutator
from vibeserve_tui.state import issues
from vibeserve_tui.state.lessons import remembered, settled
from vibeserve_tui.state.pace import too_late
from vibeserve_tui.state.population import inspirations, parents, population
from vibeserve_tui.state.run import Run

ASKS = Role.MUTATOR


class Policy:
    def __init__(self, run: Run, mutator: Mutator) -> None:
        self._run = run
        self._mutator = mutator

    async def plan(self, *, rounds_left: int, seconds_left: float) -> ev.TaskPlan | str:
        if rounds_left < 1:
            return "the rounds are used up"
        if reason := too_late(self._run.state, seconds_left):
            return reason
        return await self._child()

    async def _child(self) -> ev.TaskPlan | str:
        """The first new child that can be had, in the order in which the parents are drawn."""
        state, settings = self._run.state, self._settings()
        number = max(state.rounds) + 1
        seed = f"{state.plan.seed if state.plan else 0}/evolve/{number}"
        draw, alive, fault = Random(seed), population(state), ""
        order = parents(alive, draw, bias=settings.frontier_bias, temperature=settings.temperature)
        for parent in order:
            inspired = inspirations(alive, parent, draw, best=settings.best, others=settings.others)
            others = [one.number for one in inspired]
            try:
                child = await self._mutator.propose(parent.number, others, draw=f"{seed}/{parent.number}")
            except (AgentError, WorkspaceError) as error:
                fault = f"; {error}"
                self._run.emit(ev.Warned(text=f"no child of round {parent.number}: {error}"))
                continue
            if not isinstance(child, str):
                return self._begun(child, number)
        return f"every child of {len(alive)} candidates was proposed already{fault}"

    def _begun(self, child: ev.TaskPlan, number: int) -> ev.TaskPlan:
        issue = issue_for(self._run, child)
        self._run.emit(issues.start(issue, number))
        return child.model_copy(update={"issue": issue.id})

    def fate(self, record: ev.RoundRecord) -> ev.RoundRecord:
        """As the gate decided: a child needs no pardon to have children of its own."""
        return record

    def lessons(self, record: ev.RoundRecord) -> list[ev.Event]:
        issue = self._run.state.issues.get(record.task.issue)
        learnt = [settled(issue, record)] if issue is not None else []
        return [*learnt, *remembered(self._run, record)]

    def _settings(self) -> Evolve:
        plan = self._run.state.plan
        return Evolve.model_validate(plan.settings.get("evolve", {}) if plan else {})
