"""What the outer loop works with: who judges, measures, plans and implements, and what is left of the run's budget.

`assembly.py` puts it together. It writes nothing to the run but a warning: what a round becomes is the outer loop's to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui import events as ev
from vibeserve_tui.backend import Device
from vibeserve_tui.comparison import Fetcher, OneRound
from vibeserve_tui.errors import WorkspaceError
from vibeserve_tui.evaluation.gate_config import GateConfig
from vibeserve_tui.inputs.profiles import RunProfile
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.policies import Policy, load_policy
from vibeserve_tui.recipes.experience import Circumstances, Experience, ExperienceStore
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Situation
from vibeserve_tui.roles.briefing import Briefing, measured_beside_parent, trial_of
from vibeserve_tui.roles.evaluator import Evaluator
from vibeserve_tui.roles.implementer import Implementer
from vibeserve_tui.roles.judge import Judge
from vibeserve_tui.roles.mutator import Mutator
from vibeserve_tui.roles.orchestrator import Orchestrator
from vibeserve_tui.round import Crew, Operator
from vibeserve_tui.state.pace import confirmation_s
from vibeserve_tui.state.run import Run

GATES = {"quick": GateConfig.quick, "thorough": GateConfig.thorough, "gpu": GateConfig.gpu}


def gate_of(profile: RunProfile) -> GateConfig:
    return GATES[profile.gate]().model_copy(update={"confirmation_blocks": profile.confirmation.blocks})


@dataclass(slots=True)
class Workshop:
    run: Run
    profile: RunProfile
    target: LoadedTarget
    device: Device
    book: RecipeBook
    briefing: Briefing
    judge: Judge
    evaluator: Evaluator
    implementer: Implementer | Mutator | Fetcher
    planner: Orchestrator | Mutator
    seed: Path
    """Tree of round 0."""
    experience: ExperienceStore | None
    circumstances: Circumstances
    approval_timeout_s: float = 600.0

    def policy(self) -> Policy:
        plan = self.run.state.plan
        if plan and plan.compares:
            return OneRound(self.run, plan.compares[1])
        return load_policy(plan.policy if plan else "agent", self.run, self.planner)

    def crew(self, operator: Operator) -> Crew:
        return Crew(self.implementer, self.judge, self.evaluator, operator)

    def situation(self) -> Situation:
        return self.briefing.situation(
            self.run, rounds_left=self.run.state.rounds_left, seconds_left=self.seconds_left()
        )

    # ---- what is left -------------------------------------------------------------------------------------------

    def seconds_left(self) -> float:
        """Of the run's minutes, without what the confirmation at the end will take."""
        gate = gate_of(self.profile).for_gain_of(self.speedup_so_far())
        reserved = confirmation_s(self.run.state, gate.confirmation_blocks, gate.window_s)
        return 60 * self.run.state.max_minutes - self.run.active_s - reserved

    def speedup_so_far(self) -> float:
        """Product of the lower bounds on the champion's way to the seed: what is certain before it is confirmed."""
        state, product = self.run.state, 1.0
        for number in state.measured_way(state.champion):
            record = state.rounds[number]
            figure = record.measured.headline if record.measured else None
            if record.task.kind != "ablation":
                product *= figure.ci_low if figure and figure.ci_low else 1.0
        return product

    def remember(self, record: ev.RoundRecord) -> None:
        """Add the trial to this user's experience, once; a store that cannot be written costs a warning, not the run."""
        if self.experience is None or not record.task.skill or record.decided_by == "operator":
            return
        if not measured_beside_parent(self.run.state, record):
            return  # the ratio holds more than the recipe
        entry = Experience.of(trial_of(record), self.circumstances, run=self.run.dir.name, commit=record.commit)
        if any((known.run, known.round) == (entry.run, entry.round) for known in self.experience.read().records):
            return
        try:
            self.experience.append(entry)
        except WorkspaceError as error:
            self.run.emit(ev.Warned(text=f"the experience store was not written: {error}"))
