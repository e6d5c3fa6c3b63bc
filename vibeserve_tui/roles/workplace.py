"""What agents that read words work with: prompts, tools, boxes. One per run, shared by all roles.

A brief is put together here from parts that stay the same (so that a provider may cache them) and the role's own words.
Players that need no words, like the playbook, never come here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from vibeserve_tui.agents.protocol import Brief, Role, Voice
from vibeserve_tui.agents.toolbox.kit import WRITERS, Kit, tools_for
from vibeserve_tui.agents.toolbox.outputs import Outputs
from vibeserve_tui.agents.toolbox.places import Places
from vibeserve_tui.agents.toolbox.recipes import RecipeDesk
from vibeserve_tui.agents.toolbox.rehearsal import Rehearsal
from vibeserve_tui.agents.toolbox.shell import Shell
from vibeserve_tui.agents.toolbox.skills import Shelf
from vibeserve_tui.agents.toolbox.writing import EditTool, edit_tool_for
from vibeserve_tui.backend import Backend
from vibeserve_tui.evaluation.reference import ReferenceService
from vibeserve_tui.evaluation.testbed import Testbed
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.execution.box import BoxResult, Limits
from vibeserve_tui.inputs.skills import Offer, SkillLibrary
from vibeserve_tui.roles.briefing import Briefing
from vibeserve_tui.roles.fragments import fragments_of
from vibeserve_tui.roles.prompting import system_prompt
from vibeserve_tui.roles.public import public_folder
from vibeserve_tui.roles.stable import stable_prompt
from vibeserve_tui.state.run import Run


def needs_words(voice: Voice) -> bool:
    """The playbook reads facts; everybody else reads a brief."""
    return voice.provider != "playbook"


@dataclass(frozen=True, slots=True)
class Commission:
    """What is special about one call of a role."""

    role: Role
    voice: Voice
    words: str
    """The part of the prompt that is new."""
    workspace: Path
    reads: tuple[str, ...] = ()
    """Skills to be read before anything is written."""
    recipes: RecipeDesk | None = None
    rehearsal: Rehearsal | None = None
    outputs: Outputs | None = None
    """Where a part of the words that was cut can be read whole."""


@dataclass(slots=True)
class Workplace:
    run: Run
    briefing: Briefing
    offers: tuple[Offer, ...]
    fragments: dict[str, str]
    testbed: Testbed
    workload: Workload
    reference: ReferenceService
    public: Path
    writes: bool
    """Whether the run has an implementer that writes code; else only recipes can be built."""
    _stable: dict[Role, str] = field(default_factory=dict)

    @classmethod
    def open(  # noqa: PLR0913, PLR0917 - the parts of a run that meet here
        cls,
        run: Run,
        briefing: Briefing,
        library: SkillLibrary,
        backend: Backend,
        testbed: Testbed,
        workload: Workload,
        reference: ReferenceService,
        *,
        writes: bool,
    ) -> Workplace:
        """Raises BackendError for a backend that tells agents too little."""
        modality = briefing.target.spec.modality.value
        offers = library.for_backend(backend.skill_tags, modality, briefing.device.capabilities)
        public = public_folder(briefing.target, workload, run.dir.path / "public")
        return cls(run, briefing, offers, fragments_of(backend), testbed, workload, reference, public, writes)

    def brief(self, commission: Commission) -> Brief:
        role = commission.role
        if role not in self._stable:
            self._stable[role] = stable_prompt(role, self.briefing, self.fragments, self.offers)
        return Brief(
            system=system_prompt(role),
            stable=self._stable[role],
            volatile=commission.words,
            tools=tools_for(role, self._kit(commission)),
            workspace=commission.workspace,
            writable=role in WRITERS,
            readable=(self.public, self.briefing.target.model_dir),
        )

    def rehearsal(self, workspace: Path, label: str) -> Rehearsal:
        state = self.run.state
        return Rehearsal(
            testbed=self.testbed,
            workload=self.workload,
            reference=self.reference,
            workspace=workspace,
            label=label,
            champion=state.champion_commit,
            trusted_digest=state.plan.target_digest if state.plan else "",
        )

    def recipes(self, *, rounds_left: int, seconds_left: float) -> RecipeDesk:
        situation = self.briefing.situation(self.run, rounds_left=rounds_left, seconds_left=seconds_left)
        return RecipeDesk(self.briefing.book, situation)

    async def run_read_only(self, workspace: Path, argv: tuple[str, ...], timeout_s: float) -> BoxResult:
        """A command beside an agent's work, in the box that its own commands get, without the right to change it."""
        places = Places(workspace, self.public, Outputs(self.run.dir.put_blob))
        return await self._shell(writable=False).run(places, argv, timeout_s)

    def _kit(self, commission: Commission) -> Kit:
        run = self.run
        return Kit(
            places=Places(commission.workspace, self.public, commission.outputs or Outputs(run.dir.put_blob)),
            shelf=Shelf.of(self.offers, commission.reads),
            state=run.state,
            store=run.store,
            shell=self._shell(writable=commission.role in WRITERS),
            recipes=commission.recipes,
            rehearsal=commission.rehearsal,
            edit_tool=_edit_tool(commission.voice),
        )

    def _shell(self, *, writable: bool) -> Shell:
        limits = self.briefing.target.spec.limits
        return Shell(
            launcher=self.testbed.launcher,
            env=self.testbed.env,
            model_dir=self.briefing.target.model_dir,
            limits=Limits(memory_mib=limits.memory_mib, disk_mib=limits.disk_mib),
            writable=writable,
        )


def _edit_tool(voice: Voice) -> EditTool:
    """As set for the role; small local models do best with whole files, others with what they were trained on."""
    asked = next((tool for tool in get_args(EditTool) if tool == voice.settings.edit_tool), None)
    fitting = "write" if voice.provider == "local_model" else edit_tool_for(voice.settings.model)
    return asked or fitting
