"""The least that the first turn of a run will take, known from its order: before anything is measured.

It is what the purse will estimate, without the words and tools that only a run under way has. A limit that it goes beyond
would end the run at its first plan, after minutes of measuring the seed.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from vibeserve_tui.agents.loop.calls import Toolbelt
from vibeserve_tui.agents.loop.turns import Prefix
from vibeserve_tui.agents.loop.usage import Gauge
from vibeserve_tui.agents.protocol import Role, Tokens
from vibeserve_tui.agents.replies import MutationReport, RoundPlan
from vibeserve_tui.backend import Backend, Device
from vibeserve_tui.inputs.model_folder import read_model_shape
from vibeserve_tui.inputs.own_skills import skills_folders
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.roles.briefing import Briefing
from vibeserve_tui.roles.fragments import fragments_of
from vibeserve_tui.roles.prompting import system_prompt
from vibeserve_tui.roles.stable import stable_prompt

REPLIES: Mapping[Role, type[BaseModel]] = {Role.ORCHESTRATOR: RoundPlan, Role.MUTATOR: MutationReport}
"""What the roles that may come first answer with."""


def least_first_turn(role: Role, target: LoadedTarget, backend: Backend, device: Device) -> Tokens:
    """`role` is the one that the run's policy asks. Raises BackendError for a backend that tells agents too little."""
    skills = SkillLibrary.load(skills_folders())
    offers = skills.for_backend(backend.skill_tags, target.spec.modality.value, device.capabilities)
    briefing = Briefing(
        target=target,
        device=device,
        backend=backend.name,
        shape=read_model_shape(target.model_dir),
        book=RecipeBook(()),
        tools=frozenset(),
        forbids=frozenset(),
        p50_prompt_len=0,
    )
    stable = stable_prompt(role, briefing, fragments_of(backend), offers)
    prefix = Prefix(Toolbelt((), REPLIES[role]).specs(), system_prompt(role), stable, output_tokens=0, cache_key="")
    return Gauge().coming(prefix, ())
