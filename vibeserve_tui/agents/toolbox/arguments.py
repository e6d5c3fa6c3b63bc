"""What all tools share: strict arguments, and faults that the agent is told instead of ending its call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict

from vibeserve_tui.agents.protocol import ToolError
from vibeserve_tui.errors import VibeServeError


class Arguments(BaseModel):
    """Of one tool; what a field is for stands in its description, which models are shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@contextmanager
def told() -> Iterator[None]:
    """What the engine refuses with a reason is the tool's answer."""
    try:
        yield
    except VibeServeError as error:
        raise ToolError(str(error)) from error
    except OSError as error:
        raise ToolError(f"{error.strerror or error}") from error
