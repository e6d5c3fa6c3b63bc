"""Outer-loop search policies, one file each: a module exports `Policy`, found by its file name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol

from vibeserve_tui.errors import ProfileError
from vibeserve_tui.events import Event, RoundRecord, TaskPlan
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


def load_policy(name: str, run: Run, orchestrator: Orchestrator) -> Policy:
    """Raises ProfileError listing the policies that exist."""
    if name not in policy_names():
        raise ProfileError(f"no outer-loop policy named {name!r}", fix=f"pick one of: {', '.join(policy_names())}")
    policy: Policy = import_module(f"vibeserve_tui.policies.{name}").Policy(run, orchestrator)
    return policy
