"""Everything an operator may say to a running engine, from the app, a verb or a script.

A command is one JSON file in the run's inbox. Its id makes it idempotent: the engine answers each id once, with
`command_accepted` or `command_rejected`, and then carries it out. Unknown keys are refused.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from vibeserve_tui.events import ApprovalMode, IssueStatus, IssueType

LONGEST_NAME = 64
LONGEST_REMARK = 4000
"""Characters that a person may say at once."""
LONGEST_BODY = 8000
"""Of an issue."""
LONGEST_MEMORY = 200_000


class Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    id: str = Field(default_factory=lambda: uuid.uuid4().hex, pattern=r"^[0-9A-Za-z_-]{1,64}$")
    by: str = Field(default="operator", max_length=64)


class Approve(Command):
    """Keep the round that waits; `approval` empty means the one that is waiting now."""

    kind: Literal["approve"] = "approve"
    approval: str = Field(default="", max_length=LONGEST_NAME)
    comment: str = Field(default="", max_length=LONGEST_REMARK)


class RevertTo(Command):
    """Make an earlier sound round the champion (round), or turn down the waiting one (round is None)."""

    kind: Literal["revert"] = "revert"
    round: int | None = Field(default=None, ge=0)
    comment: str = Field(default="", max_length=LONGEST_REMARK)


class Retry(Command):
    """Turn down the waiting round and try its task again with this comment."""

    kind: Literal["retry"] = "retry"
    comment: str = Field(default="", max_length=LONGEST_REMARK)


class Pin(Command):
    kind: Literal["pin"] = "pin"
    round: int = Field(ge=0)
    pinned: bool = True


class Steer(Command):
    """A note that every later plan sees."""

    kind: Literal["steer"] = "steer"
    note: str = Field(min_length=1, max_length=LONGEST_REMARK)


class Pause(Command):
    kind: Literal["pause"] = "pause"


class Resume(Command):
    kind: Literal["resume"] = "resume"


class CancelStep(Command):
    """Give up the round in flight; it ends as reverted by the operator."""

    kind: Literal["cancel_step"] = "cancel_step"


class Stop(Command):
    """End the run after this round (now=False) or at once, discarding the round in flight (now=True)."""

    kind: Literal["stop"] = "stop"
    now: bool = False


class NewIssue(Command):
    kind: Literal["new_issue"] = "new_issue"
    title: str = Field(min_length=1, max_length=200)
    type: IssueType = IssueType.PERF
    body: str = Field(default="", max_length=LONGEST_BODY)
    priority: int = Field(default=2, ge=1, le=3)
    skill: str = Field(default="", max_length=LONGEST_NAME)


class EditIssue(Command):
    """Change the fields that are given."""

    kind: Literal["edit_issue"] = "edit_issue"
    issue: str = Field(max_length=LONGEST_NAME)
    title: str | None = Field(default=None, min_length=1, max_length=200)
    body: str | None = Field(default=None, max_length=LONGEST_BODY)
    status: IssueStatus | None = None
    priority: int | None = Field(default=None, ge=1, le=3)
    mechanism: str | None = Field(default=None, max_length=2000)


class EditMemory(Command):
    """Replace the memory file; `base_sha256` is the digest of the text that was edited, so that no note is lost."""

    kind: Literal["edit_memory"] = "edit_memory"
    text: str = Field(max_length=LONGEST_MEMORY)
    base_sha256: str = Field(max_length=LONGEST_NAME)


class MeasureAgain(Command):
    """Measure two judged rounds beside one another once more, between two rounds; it moves no champion."""

    kind: Literal["measure_again"] = "measure_again"
    a: int = Field(ge=0)
    b: int = Field(ge=0)


class SetBudget(Command):
    kind: Literal["set_budget"] = "set_budget"
    max_rounds: int | None = Field(default=None, ge=0, le=10_000)
    max_minutes: float | None = Field(default=None, gt=0, le=100_000)
    max_usd: float | None = Field(default=None, ge=0, le=100_000)
    max_tokens: int | None = Field(default=None, ge=0, le=10**15)


class SetApprovalMode(Command):
    kind: Literal["set_approval_mode"] = "set_approval_mode"
    mode: ApprovalMode


AnyCommand = (
    Approve | RevertTo | Retry | Pin | Steer | Pause | Resume | CancelStep | Stop | NewIssue | EditIssue | EditMemory
    | MeasureAgain | SetBudget | SetApprovalMode
)  # fmt: skip
COMMAND_CLASSES: tuple[type[Command], ...] = get_args(AnyCommand)
_ADAPTER: TypeAdapter[AnyCommand] = TypeAdapter(Annotated[AnyCommand, Field(discriminator="kind")])


def parse_command(data: dict[str, Any]) -> AnyCommand:
    """The typed command. Raises pydantic.ValidationError naming the field."""
    return _ADAPTER.validate_python(data)
