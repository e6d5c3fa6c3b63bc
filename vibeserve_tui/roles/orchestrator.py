"""The orchestrator: turns the run so far into the next task, with its hypothesis and its reasons."""

from __future__ import annotations

from vibeserve_tui.agents.protocol import AgentRequest, PlanFacts, Role, Voice
from vibeserve_tui.agents.replies import RoundPlan
from vibeserve_tui.events import RoundRecord
from vibeserve_tui.recipes.planner import fate
from vibeserve_tui.roles.briefing import Briefing, trial_of
from vibeserve_tui.roles.conversation import ask
from vibeserve_tui.state.run import Run


class Orchestrator:
    def __init__(self, run: Run, voice: Voice, briefing: Briefing) -> None:
        self._run = run
        self._voice = voice
        self._briefing = briefing

    async def plan(self, *, rounds_left: int, seconds_left: float) -> RoundPlan:
        situation = self._briefing.situation(self._run, rounds_left=rounds_left, seconds_left=seconds_left)
        facts = PlanFacts(self._briefing.book, situation, tuple(self._run.state.notes))
        request = AgentRequest(Role.ORCHESTRATOR, facts, RoundPlan)
        return await ask(self._run, self._voice, request, RoundPlan, task="plan the next round")

    def spares(self, record: RoundRecord) -> bool:
        """Is this neutral tree worth going on from, because it makes something better possible?"""
        situation = self._briefing.situation(self._run, rounds_left=1, seconds_left=0.0)
        return fate(self._briefing.book, situation, trial_of(record)) == "prerequisite"
