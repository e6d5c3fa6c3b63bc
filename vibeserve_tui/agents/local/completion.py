"""What a local model is asked and answers; the lines between engine and worker.

Cheap to import: the worker loads it beside a model, the engine beside everything else.
"""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, JsonValue


class Line(BaseModel):
    """One JSON line on the worker's stdin or stdout."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Line):
    role: Literal["system", "user", "assistant"]
    content: str


class Ask(Line):
    messages: tuple[Message, ...]
    grammar: dict[str, JsonValue] | None = None
    """JSON schema that the text has to fit; None leaves it free."""
    max_tokens: int
    seed: int = 0


class Completion(Line):
    text: str
    prompt_tokens: int
    output_tokens: int
    cut: bool = False
    """It ended because of `max_tokens`."""


class Ready(Line):
    """The first line of a worker."""

    context: int
    """Tokens that prompt and reply may have together, as they are really used."""
    constrained: bool
    """Whether a grammar is enforced while the model writes."""


class Refused(Line):
    reason: str
    too_long: bool = False
    """The prompt does not fit into the context."""


class PromptTooLong(Exception):
    pass


class LocalModel(Protocol):
    """A loaded model, in the worker."""

    context: int
    constrained: bool

    def complete(self, ask: Ask) -> Completion:
        """Blocks while the model writes. Raises PromptTooLong."""
