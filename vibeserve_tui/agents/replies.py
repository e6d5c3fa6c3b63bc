"""What a role answers, as schemas; every provider fills in the same ones.

No reply has a field for a measured value: figures come from processes that the engine runs. Every text is capped, and
unknown keys are refused, because a reply is foreign input.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from vibeserve_tui.events import IssueType, TaskPlan

Short = Annotated[str, StringConstraints(max_length=300)]
Long = Annotated[str, StringConstraints(max_length=8000)]


class Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IssueDraft(Reply):
    type: IssueType = IssueType.PERF
    title: Short
    body: Long = ""
    skill: Short = ""
    priority: int = Field(default=2, ge=1, le=3)
    blocked_because: Long = ""
    """Why it cannot be worked on now; empty = it can."""


class RoundPlan(Reply):
    """The orchestrator's answer: one task with a falsifiable hypothesis, or the reason to stop."""

    action: Literal["task", "stop"]
    task: TaskPlan | None = None
    backlog: tuple[IssueDraft, ...] = Field(default=(), max_length=200)
    """What could be done later; drafts whose title is on the board already are dropped."""
    stop_reason: Long = ""


class ImplReport(Reply):
    """The implementer's answer. What it says it changed is compared with the diff, never believed."""

    summary: Long
    skills_read: tuple[Short, ...] = ()
    activation: Short = ""
    """Counter that proves the change ran."""
    gave_up: Long = ""


class PerfReport(Reply):
    """The evaluator's reading of a profile: the bottleneck and what it suggests, as references to evidence."""

    bottleneck: Short
    hints: tuple[Short, ...] = ()
    reading: Long = ""
