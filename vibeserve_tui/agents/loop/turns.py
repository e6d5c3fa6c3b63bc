"""A conversation in neutral terms: what was asked, what a model replied, how its calls were answered.

Wires translate it; nothing here knows a server. A reply keeps what its wire needs to show it again word for word.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from vibeserve_tui.agents.protocol import Tokens

Stop = Literal["end", "calls", "length", "refusal", "context", "pause"]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as the model wrote it; its arguments are text until they are proved to be what the tool takes."""

    id: str
    name: str
    arguments: str

    @property
    def is_object(self) -> bool:
        """Are the arguments a JSON object? A server that reads its own history back may choke on anything else."""
        try:
            return isinstance(json.loads(self.arguments or "{}"), dict)
        except (ValueError, RecursionError):
            return False


@dataclass(frozen=True, slots=True)
class Asked:
    """What we say to the model."""

    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole turn of a model; a turn that broke off is a fault and never becomes one of these."""

    model: str
    text: str
    calls: tuple[Call, ...]
    stop: Stop
    native: tuple[Any, ...]
    """As its wire will send it back."""
    tokens: Tokens | None
    """None when the server does not count."""
    detail: str = ""
    """Why it was refused, in the server's words."""


@dataclass(frozen=True, slots=True)
class Answer:
    call: Call
    text: str
    ok: bool
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What the calls of the reply before it came to; one for each."""

    answers: tuple[Answer, ...]


Entry = Asked | Reply | Answers


def length_of(entry: Entry) -> int:
    """Characters, without a reply's thoughts."""
    match entry:
        case Asked(text=text):
            return len(text)
        case Reply(text=text, calls=calls):
            return len(text) + sum(len(call.name) + len(call.arguments) for call in calls)
        case Answers(answers=answers):
            return sum(len(answer.text) for answer in answers)


@dataclass(frozen=True, slots=True)
class ToolSpec:
    name: str
    description: str
    schema: dict[str, object]


@dataclass(frozen=True, slots=True)
class Prefix:
    """What all requests of a conversation begin with, in this order; it never changes, so that servers can cache it."""

    tools: tuple[ToolSpec, ...]
    system: str
    stable: str
    output_tokens: int
    cache_key: str
    """Same for requests that share a prefix."""


class Wire(Protocol):
    """A server's protocol. It holds no state of a conversation."""

    async def turn(self, model: str, prefix: Prefix, history: Sequence[Entry]) -> Reply:
        """One whole reply. Raises Fault for everything else."""

    async def close(self) -> None: ...


class ServerWire(Wire, Protocol):
    """One with a server behind it, which may not be there or not let us in."""

    async def look_up(self, model: str) -> None:
        """A request that costs nothing. Raises Fault for whatever the server has against it."""

    async def models(self) -> list[str]:
        """What the server says it has, which costs nothing either. Raises Fault."""
