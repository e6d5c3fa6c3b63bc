"""The one seam between roles and whatever answers: a request in, typed events out, the last one a result.

A provider module exports `Agent`. Roles give every agent the same facts; a language model reads them as a prompt, the
playbook reads them as values. An answer that cannot be had is a status with a reason, never a plausible default.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from vibeserve_tui.errors import ProfileError
from vibeserve_tui.events import ProfileTaken, TaskPlan, ToolCall
from vibeserve_tui.recipes.facts import Facts
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Situation


class Role(StrEnum):
    ORCHESTRATOR = "orchestrator"
    IMPLEMENTER = "implementer"
    JUDGE = "judge"
    EVALUATOR = "evaluator"
    MUTATOR = "mutator"


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What an orchestrator plans on."""

    book: RecipeBook
    situation: Situation
    notes: tuple[str, ...] = ()
    """What the operator asked to mind."""


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """What an implementer builds on: `workspace` holds the parent's tree and is the only place it may change."""

    book: RecipeBook
    facts: Facts
    task: TaskPlan
    workspace: Path
    seed: Path
    """The target's seed, for tasks that rebuild a tree."""
    feedback: str = ""


@dataclass(frozen=True, slots=True)
class PerfFacts:
    """What an evaluator reads."""

    profile: ProfileTaken


@dataclass(frozen=True, slots=True)
class AgentRequest:
    role: Role
    facts: PlanFacts | BuildFacts | PerfFacts
    schema: type[BaseModel]


@dataclass(frozen=True, slots=True)
class Said:
    text: str


@dataclass(frozen=True, slots=True)
class Used:
    call: ToolCall


@dataclass(frozen=True, slots=True)
class Result:
    """The end of every conversation. `value` fits the request's schema when the status is ok."""

    status: str
    """ok | no_submit | bad_arguments | refused | context | budget | turns | timeout | rate_limited | error | cancelled"""
    value: BaseModel | None = None
    reason: str = ""
    tokens: int = 0
    usd: float | None = 0.0


AgentEvent = Said | Used | Result


class Agent(Protocol):
    def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]: ...


@dataclass(frozen=True, slots=True)
class Voice:
    """An agent and the name of its provider."""

    agent: Agent
    provider: str


def load_voice(provider: str) -> Voice:
    """The provider's agent. Raises ProfileError for a provider that does not exist."""
    if not (Path(__file__).with_name(f"{provider}.py")).exists() or provider in ("protocol", "replies"):
        raise ProfileError(f"no agent provider is called {provider!r}", fix="playbook needs no key and no network")
    agent: Agent = import_module(f"vibeserve_tui.agents.{provider}").Agent()
    return Voice(agent, provider)
