"""Run profiles: how long a run may take, how strictly it judges and measures, who answers.

One TOML file each; the shipped ones are in profiles/. What is served is the target's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt

from vibeserve_tui.errors import ProfileError, did_you_mean
from vibeserve_tui.events import ApprovalMode
from vibeserve_tui.inputs.toml_files import Section, TomlFile, section_fault, validate
from vibeserve_tui.resources import shipped_profiles

DEFAULT_PROFILE = "quick"

RoleName = Literal["orchestrator", "implementer", "judge", "evaluator", "mutator"]


def _module_name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", value):
        raise section_fault(f"{value[:60]!r} is not a name", fix="write it as a-z 0-9 _ -")
    return value


Name = Annotated[str, AfterValidator(_module_name)]


class JudgeSizes(Section):
    """[judge]: how many of each test a candidate has to pass; a target may ask for more."""

    contract: PositiveInt = 8
    """Malformed requests, stop strings, usage, stream shape."""
    held_out: PositiveInt = 16
    """Held-out prompts, teacher-forced."""
    held_out_tokens: PositiveInt = 32
    """Output tokens of each."""
    perturb: PositiveInt = 6
    """Prompts changed at the first, middle or last token."""
    sampling: PositiveInt = 100
    """First tokens drawn at temperature 1."""
    batch_invariance: PositiveInt = 8
    """Prompts sent alone, in a full batch, permuted and after a restart."""
    weight_swap: PositiveInt = 6
    """Prompts under other weights."""
    repeats: PositiveInt = 5
    """Of one request, to find stored answers."""


class Confirmation(Section):
    """[confirmation]: champion against the original baseline, on a new seed; only its figures are quoted."""

    every: NonNegativeInt = 0
    """After this many kept rounds; 0 = only at the end, where it always takes place."""
    blocks: PositiveInt = 4


class Budget(Section):
    """[budget]: of money and tokens, for the whole run. Absent = 10 USD where agents cost money, else no limit."""

    usd: PositiveFloat | None = None
    tokens: PositiveInt | None = None
    round_usd: PositiveFloat | None = None
    """Of one round, with its planning."""
    round_tokens: PositiveInt | None = None


class Plain(Section):
    """[plain]: settings of the policy of that name, which works the board off."""

    further: PositiveInt = 3
    """Issues that are filed at most when nothing is open any more."""


class Evolve(Section):
    """[evolve]: settings of the policy of that name, which breeds one child a round."""

    frontier_bias: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Chance that the parent is drawn from the Pareto frontier, each as likely as the other."""
    temperature: PositiveFloat = 0.5
    """Else by a softmax over the gains, scaled to 0 .. 1: small prefers the best, large is indifferent."""
    best: NonNegativeInt = 2
    """Best other candidates that a mutator is shown, or may cross the parent with."""
    others: NonNegativeInt = 2
    """The same, drawn from all that are left."""


class AgentSettings(Section):
    """[agent]: who answers and with what limits; [roles.NAME] changes single settings for one role."""

    provider: Name = "playbook"
    """A file of vibeserve_tui/agents, or a name in the user's [providers]."""
    model: str = ""
    """Empty = the provider's default."""
    effort: Literal["", "low", "medium", "high", "max"] = ""
    """How much thinking; empty = the provider's default."""
    fallback_models: tuple[str, ...] = ()
    """Tried once each after a refusal."""
    edit_tool: Literal["", "edit", "apply_patch", "write"] = ""
    """How files are changed; empty = what suits the model."""
    usd: PositiveFloat = 3.0
    """Per call of a role."""
    turns: PositiveInt = 60
    """Per call of a role."""
    wall_s: PositiveFloat = 900.0
    """Per call of a role."""


class RunProfile(Section):
    """One profiles/*.toml."""

    format_version: Annotated[Literal[1], Field(alias="schema")]
    """Version of this format."""
    title: Annotated[str, Field(min_length=1, max_length=120)]
    """One line for people."""
    backend: Name | None = None
    """Entry-point name; absent = the target's first."""
    policy: Name = "agent"
    """A file of vibeserve_tui/policies."""
    harvest: bool = False
    """Where a model plays: the playbook first takes the recipes that are likely to pay, the model what is left."""
    approval: ApprovalMode | None = None
    """Who has the last word; absent = each-round in the app, auto without a screen."""
    gate: Literal["quick", "thorough", "gpu"] = "quick"
    """Settings of the performance gate."""
    max_rounds: PositiveInt = 12
    """Stop after this many rounds, even if the policy has more ideas."""
    max_minutes: PositiveFloat = 15.0
    """Stop planning rounds after this time."""
    attempts: PositiveInt = 3
    """Per round, before it counts as failed."""
    plateau: NonNegativeInt = 0
    """Stop after this many rounds in a row of which none was kept; 0 = never for that reason."""
    judge: JudgeSizes = JudgeSizes()
    confirmation: Confirmation = Confirmation()
    budget: Budget = Budget()
    plain: Plain = Plain()
    evolve: Evolve = Evolve()
    agent: AgentSettings = AgentSettings()
    roles: Mapping[RoleName, AgentSettings] = {}
    """Per role, the settings that differ from [agent]."""

    def agent_of(self, role: RoleName) -> AgentSettings:
        """[agent] with the role's own settings in place."""
        own = self.roles.get(role, AgentSettings())
        return self.agent.model_copy(update=own.model_dump(exclude_unset=True))

    def changed(self, changes: Mapping[str, object]) -> RunProfile:
        """The profile with top-level settings replaced, as by options of a command line."""
        table = self.model_dump(mode="json", by_alias=True, exclude_unset=True) | dict(changes)
        profile, faults = validate(table, RunProfile)
        if profile is None:
            raise ProfileError(faults[0].what, where=f"run setting {faults[0].field}", fix=faults[0].fix)
        return profile


def load_profile(name_or_path: str) -> RunProfile:
    """A shipped profile by name, or any file by path."""
    return TomlFile.read(_find(name_or_path), ProfileError).parse(RunProfile)


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.suffix == ".toml" or len(path.parts) > 1:
        return path
    shipped = shipped_profiles()
    if name_or_path not in shipped:
        raise ProfileError(
            f"no run profile named {name_or_path!r}{did_you_mean(name_or_path, shipped)}",
            fix=f"one of {', '.join(shipped)}, or the path of a .toml file",
        )
    return shipped[name_or_path]
