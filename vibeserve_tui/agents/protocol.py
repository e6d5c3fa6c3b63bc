"""The one seam between roles and whatever answers: a request in, typed events out, the last one a result.

A provider module exports `Agent`, which is made from the role's settings, and may export `NAMES` (what else an operator
calls it), `completed` (its defaults), `missing` (what keeps it from answering here) and `reach` (what keeps whoever
answers behind it from doing so, found out without paying). Roles give every agent the same request twice: as values,
which the playbook reads, and as a brief in words with tools, which language models read. An answer that cannot be had is
a status with a reason, never a plausible default.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from vibeserve_tui.errors import ProfileError, did_you_mean
from vibeserve_tui.events import Issue, ProfileTaken, TaskPlan, ToolCall, VoiceSettings
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.recipes.facts import Facts
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Composition, Situation
from vibeserve_tui.recipes.trials import Trial

SUBMIT = "submit"
"""The tool by which every agent in words hands in its answer."""


class Role(StrEnum):
    ORCHESTRATOR = "orchestrator"
    IMPLEMENTER = "implementer"
    JUDGE = "judge"
    EVALUATOR = "evaluator"
    MUTATOR = "mutator"
    ANALYST = "analyst"
    """Answers a person's questions about a run; takes no part in it."""


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What an orchestrator plans on."""

    book: RecipeBook
    situation: Situation
    notes: tuple[str, ...] = ()
    """What the operator asked to mind."""
    issue: Issue | None = None
    """The entry of the board that the plan has to be for; None leaves the choice to the orchestrator."""


@dataclass(frozen=True, slots=True)
class MutationFacts:
    """What a mutator chooses a child on."""

    book: RecipeBook
    situation: Situation
    """Its champion is the parent, whichever round that is."""
    others: tuple[Composition, ...]
    """Second parents that the child may have."""
    trials: tuple[Trial, ...]
    """Of this run."""
    known: frozenset[str]
    """Genomes that were proposed before."""
    lead: float
    """Log gain of the parent over the champion, which the child will be measured against."""
    draw: str
    """Seed of the choice."""


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
class ReviewFacts:
    """What a reviewer looks at: a change that passed every test."""

    task: TaskPlan
    diff: str


@dataclass(frozen=True, slots=True)
class QuestionFacts:
    """What a person wants to know about a run."""

    question: str


RequestFacts = PlanFacts | MutationFacts | BuildFacts | PerfFacts | ReviewFacts | QuestionFacts


class ToolError(Exception):
    """What a tool answers when it could not do what was asked: the agent reads it and goes on."""


@dataclass(frozen=True, slots=True)
class Tool:
    """Something an agent may do. Rights follow from which tools it is given and from what they can reach."""

    name: str
    description: str
    arguments: type[BaseModel]
    call: Callable[[Any], Awaitable[str]]
    """Takes validated arguments; raises ToolError."""
    read_only: bool = True
    """Calls of one turn that only read run side by side; others run in order."""


@dataclass(frozen=True, slots=True)
class Brief:
    """A request in words. What stays the same comes first, so that a provider may cache it."""

    system: str
    """Role, rights and how to answer; the same for the whole run."""
    stable: str
    """Objective, constraints, skills: the same for all calls of a role."""
    volatile: str
    """What is asked now, on what evidence."""
    tools: tuple[Tool, ...]
    workspace: Path
    writable: bool
    """Whether the agent may change the workspace."""
    readable: tuple[Path, ...] = ()
    """What else an agent that is a program of its own is shown, to read only: the target's public files."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one call of a role."""

    usd: float | None = 3.0
    turns: int = 60
    wall_s: float = 900.0
    output_tokens: int = 16_000
    """Of one turn."""
    retries: int = 8
    """Of one turn, after faults of the server or the network."""
    bad_arguments: int = 3
    """Turns in a row of which every tool call was faulty."""
    nudges: int = 2
    """Turns without a tool call that are answered with a reminder to submit."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a turn took, in buckets that do not overlap; `reasoning` is a part of `output`."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.input + other.input,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.output + other.output,
            self.reasoning + other.reasoning,
        )

    @property
    def total(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.output


class Purse(Protocol):
    """The run's money, asked before each paid turn and told after it."""

    def allow(self, model: str, estimate: Tokens) -> str:
        """An id for the turn, recorded before it begins. Raises BudgetSpent when it would go beyond a limit."""

    def paid(self, turn: str, model: str, tokens: Tokens, *, exact: bool = True) -> float | None:
        """Record what the turn took, `exact` if the server counted it; its price in USD, None if that is not known."""


@dataclass(frozen=True, slots=True)
class AgentRequest:
    role: Role
    facts: RequestFacts
    schema: type[BaseModel]
    brief: Brief | None = None
    """None for agents that need no words."""
    limits: Limits = Limits()
    purse: Purse | None = None
    launcher: Launcher | None = None
    """Confines agents that are programs of their own; without it they do not run."""
    number: int = 0
    """How many calls of this role came before it in the run."""


Status = Literal[
    "ok", "no_submit", "bad_arguments", "refused", "context", "budget", "turns", "timeout", "rate_limited", "error",
    "cancelled",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    text: str


@dataclass(frozen=True, slots=True)
class Used:
    call: ToolCall


@dataclass(frozen=True, slots=True)
class Waiting:
    """A turn is tried again after a while; what it said so far does not count."""

    why: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """The end of every conversation. `value` fits the request's schema when the status is ok."""

    status: Status
    value: BaseModel | None = None
    reason: str = ""
    tokens: int = 0
    usd: float | None = 0.0
    halts: bool = False
    """No later call can do better until somebody acts: a key, a quota, a server that is gone."""


AgentEvent = Said | Used | Waiting | Result


class Agent(Protocol):
    def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]: ...


@dataclass(frozen=True, slots=True)
class Voice:
    """An agent, the name of its provider, and what it is set to."""

    agent: Agent
    provider: str
    settings: VoiceSettings = field(default_factory=VoiceSettings)
    launcher: Launcher | None = None
    """Handed to agents that are programs of their own."""


def load_voice(settings: VoiceSettings | str, launcher: Launcher | None = None) -> Voice:
    """The provider's agent; a bare name stands for its defaults. Raises ProfileError for one that does not exist."""
    asked = VoiceSettings(provider=settings) if isinstance(settings, str) else settings
    agent: Agent = _module(asked.provider).Agent(asked)
    return Voice(agent, asked.provider, asked, launcher)


# ---- providers ----------------------------------------------------------------------------------------------------

_SEAM = frozenset({"__init__", "protocol", "replies"})


def providers() -> tuple[str, ...]:
    """Who can play the roles: the files of this folder."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _SEAM))


def names() -> tuple[str, ...]:
    """What an operator calls whoever can play the roles, each by its own name where it has one."""
    found = [_other_names(provider) or (provider.removesuffix("_api"),) for provider in providers()]
    return tuple(sorted(name for group in found for name in group))


def named(name: str, own: Iterable[str] = ()) -> VoiceSettings:
    """The settings that a name alone means: a provider's file, the same without `_api`, or another name it goes by.

    Raises ProfileError naming the nearest one, also of the operator's `own` names, which mean more than a name.
    """
    known = {provider: VoiceSettings(provider=provider, name=name) for provider in providers()}
    known |= {provider.removesuffix("_api"): settings for provider, settings in known.items()}
    if name not in known:
        known |= {
            other: VoiceSettings(provider=provider, name=other, api=other)
            for provider in providers()
            for other in _other_names(provider)
        }
    if name not in known:
        raise ProfileError(
            f"no agent provider is called {name!r}{did_you_mean(name, [*own, *known])}",
            fix=f"one of {', '.join(sorted([*own, *names()]))}, or a name in [providers]; playbook needs no key and no network",
        )
    return known[name]


def _other_names(provider: str) -> tuple[str, ...]:
    other: tuple[str, ...] = vars(_module(provider)).get("NAMES", ())
    return other


def prepared(settings: VoiceSettings) -> VoiceSettings:
    """The settings with the provider's defaults. Raises InputError or EnvironmentFault for what is missing here."""
    module = vars(_module(settings.provider))
    complete: Callable[[VoiceSettings], VoiceSettings] | None = module.get("completed")
    check: Callable[[VoiceSettings], None] | None = module.get("missing")
    whole = complete(settings) if complete else settings
    if check:
        check(whole)
    return whole


def reach(settings: VoiceSettings) -> str:
    """See whether somebody will answer; it may take seconds. What is doubtful about it, or "".

    Raises InputError, EnvironmentFault or AgentError when it is certain that nobody will.
    """
    look: Callable[[VoiceSettings], str] | None = vars(_module(settings.provider)).get("reach")
    return look(settings) if look else ""


def _module(provider: str) -> ModuleType:
    if provider not in providers():
        raise ProfileError(f"no agent provider is called {provider!r}", fix="playbook needs no key and no network")
    return import_module(f"vibeserve_tui.agents.{provider}")
