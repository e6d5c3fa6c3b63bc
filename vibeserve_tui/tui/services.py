"""What the app asks of the rest of the program: targets, machine, runs, skills, starting and attaching.

The command line implements it. Values are plain, so that no screen knows how a target is loaded or a machine probed;
every function may take a while and is called from a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from vibeserve_tui.client import RunClient, RunSummary
from vibeserve_tui.run_state import RunState

FindingState = Literal["ok", "attention", "missing", "absent"]
"""ok; works but look; stops what needs it; does not apply to this machine."""


@dataclass(frozen=True, slots=True)
class TargetEntry:
    """One target that can be chosen; `blocked` says why it cannot be started here."""

    name: str
    path: Path
    title: str
    description: str = ""
    workload: str = ""
    backend: str = "any backend"
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class NewTarget:
    """What a person says about a target of their own: the model, and the traffic in three numbers."""

    name: str
    model: Path
    clients: int
    longest_prompt: int
    answers: tuple[int, ...]


class TargetCheck(Protocol):
    """A check of a target that goes on: its words as they come, and how it ended."""

    passed: bool
    """Whether every step passed; known once `lines` has ended."""

    def lines(self) -> Iterator[str]: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the machine check, with its fix where it has one."""

    name: str
    state: FindingState
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class SkillEntry:
    """One skill of the library."""

    name: str
    title: str
    backends: tuple[str, ...] = ()
    has_recipe: bool = False
    applies: str = ""
    expected: str = ""
    history: str = ""
    source: str = ""
    path: Path | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of the plan: its value, the other values it may take, and a word on the present one."""

    name: str
    value: str
    options: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Player:
    """Who plays a role, with which model; the role "" stands for all that have no player of their own."""

    role: str
    agent: str = ""
    """Empty = not known, because the plan cannot start."""
    model: str = ""
    own: bool = False
    """Whether the person chose it for this very role."""


@dataclass(frozen=True, slots=True)
class PlanForm:
    """The plan for a target as the start screen shows and edits it."""

    target: str
    choices: tuple[Choice, ...]
    changes: Mapping[str, str] = field(default_factory=dict)
    """What the person chose: by a choice's name, by `model`, and by `agent.ROLE` and `model.ROLE`."""
    players: tuple[Player, ...] = ()
    agents: tuple[str, ...] = ()
    """Everybody who may be chosen to play."""
    estimate: str = ""
    command: str = ""
    ready: str = ""
    """Empty = cannot start; `blocked` says why."""
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class RunPair:
    """Two runs as their journals tell them, and what distinguishes their champions."""

    a: RunState
    b: RunState
    diff: str = ""
    why_no_diff: str = ""


class Services(Protocol):
    version: str
    crash_dir: Path

    def targets(self) -> Sequence[TargetEntry]: ...

    def doctor(self) -> Sequence[Finding]: ...

    def runs(self) -> Sequence[RunSummary]: ...

    def skills(self) -> Sequence[SkillEntry]: ...

    def plan(self, target: str, changes: dict[str, str]) -> PlanForm:
        """The plan of a target with these choices changed (name → value)."""

    def start(self, form: PlanForm) -> RunClient:
        """Create the run and start its engine."""

    def attach(self, run: str) -> RunClient: ...

    def resume(self, run: str) -> None:
        """Start an engine for a run that has none."""

    def delete(self, run: str) -> None:
        """Remove a run and all it recorded; one that an engine works on is refused."""

    def compare_runs(self, a: str, b: str) -> RunPair: ...

    def measure_runs(self, a: str, b: str) -> RunClient:
        """Start a run that measures B's champion beside A's; raises what keeps the two from being compared."""

    def ask(self, run: str, question: str) -> str:
        """An answer from the run's records, as Markdown."""

    def look_at_model(self, folder: Path) -> str:
        """What the model in this folder is, in one line; raises what keeps it from being served."""

    def new_target(self, wanted: NewTarget) -> TargetEntry:
        """Write a complete target around a model folder."""

    def check_target(self, entry: TargetEntry) -> TargetCheck:
        """Begin to check a target, with its seed server started."""
