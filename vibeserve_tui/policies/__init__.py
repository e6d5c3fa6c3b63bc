"""Outer-loop search policies, one file each: found by file name, exporting `Policy` and the role that it `ASKS`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from vibeserve_tui.errors import ProfileError, did_you_mean

if TYPE_CHECKING:  # naming the policies costs a command line nothing
    from vibeserve_tui.agents.protocol import Role
    from vibeserve_tui.events import Event, RoundRecord, TaskPlan
    from vibeserve_tui.roles.mutator import Mutator
    from vibeserve_tui.roles.orchestrator import Orchestrator
    from vibeserve_tui.state.run import Run


class Policy(Protocol):
    """Plans on the journal's state alone, so that a resumed run plans as it would have."""

    async def plan(self, *, rounds_left: int, seconds_left: float) -> TaskPlan | str:
        """The next task, or the reason to stop."""

    def fate(self, record: RoundRecord) -> RoundRecord:
        """The record with what becomes of its checkpoint: champion, prerequisite or discarded."""

    def lessons(self, record: RoundRecord) -> list[Event]:
        """What a finished round changes on board and memory; recorded with the round, so that a crash parts them never."""


def policy_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__"))


def require_policy(name: str) -> None:
    """Raises ProfileError listing the policies that exist."""
    names = policy_names()
    if name not in names:
        what = f"no outer-loop policy named {name!r}{did_you_mean(name, names)}"
        raise ProfileError(what, fix=f"pick one of: {', '.join(names)}")


def asked_by(name: str) -> Role:
    """The role that plans for this policy."""
    role: Role = _module(name).ASKS
    return role


def load_policy(name: str, run: Run, planner: Orchestrator | Mutator) -> Policy:
    """`planner` plays the role that the policy asks. Raises ProfileError listing the policies that exist."""
    policy: Policy = _module(name).Policy(run, planner)
    return policy


def _module(name: str) -> ModuleType:
    require_policy(name)
    return import_module(f"vibeserve_tui.policies.{name}")
