"""What coding CLIs have in common: what a driver is asked, and what it hears.

A driver is pure: it turns a call into a command line and a line of output into signals. It starts nothing, reads no
clock and no environment, and never decides whether the work was good.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from vibeserve_tui.agents.protocol import Status, Tokens

SERVER = "vibeserve"
"""The name under which CLIs know the tool server."""
KEY_VARIABLE = "VIBESERVE_AGENT_KEY"
"""Carries the key to CLIs that can be told which variable to read."""
SILENCE_S = 120.0
"""Without an event while no tool runs, this long means that the program hangs."""


@dataclass(frozen=True, slots=True)
class Call:
    """One start of a CLI, which gets its prompt on stdin."""

    model: str
    """"" leaves it to the CLI."""
    effort: str
    system: str
    workspace: Path
    writable: bool
    home: Path
    """A private folder for this conversation: configuration, login, session. It is gone afterwards."""
    tools_url: str
    """Where the tool server listens; whoever knows the address may call it."""
    base_url: str = ""
    own_server: bool = False
    """The address was named by the operator; else it stands for the CLI's usual one."""
    key: str = field(default="", repr=False)
    """"" uses the login of whoever runs us. Where there is a gateway, this is only a stand-in."""
    key_variable: str = ""
    """What the operator calls the variable of the key."""
    turns: int = 60
    usd: float | None = None
    session: str = ""
    """Go on with this one instead of starting afresh."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. Files are written below the call's home first."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


# ---- signals: what a line of output means -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Named:
    """The session's id, to go on with it."""

    session: str


@dataclass(frozen=True, slots=True)
class Spoke:
    text: str
    whole: bool = True
    """False for a piece that others continue."""


@dataclass(frozen=True, slots=True)
class Began:
    """A tool started to run."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A tool ended; `name` and `arguments` for programs that only report a tool once it is over."""

    id: str
    ok: bool
    output: str
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The model is asked for another turn."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn of the model took."""

    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Total:
    """What all turns together took, which is the truth: since the program started, or in the whole session."""

    tokens: Tokens
    whole_session: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The program says that it cannot go on."""

    status: Status
    reason: str
    halts: bool = False
    """Nor can any later call, until somebody mends a key or a login."""


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing of interest comes after this."""


Signal = Named | Spoke | Began | Ended | Asked | Turn | Total | Failed | Over


@dataclass(frozen=True, slots=True)
class Login:
    """A file below the home folder with which the CLI is logged in, and its place below the call's home."""

    source: str
    target: str


class Driver(Protocol):
    name: str
    package: str
    """On npm."""
    key_variable: str
    """Read by the CLI itself; the default name of the key's variable."""
    login: tuple[Login, ...]
    silence_s: float

    def endpoint(self, model: str) -> str:
        """Where it finds that model unless told otherwise; "" where that is not known."""

    def command(self, call: Call) -> Command: ...

    def read(self, line: str) -> Iterable[Signal]:
        """The signals of one line; nothing for what is not known."""


# ---- reading ------------------------------------------------------------------------------------------------------


class Lenient(BaseModel):
    """A part of a program's output: what we do not know of it is ignored, because it changes with every release."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Event = TypeVar("Event", bound=Lenient)


def parsed(event: type[Event], line: str) -> Event | None:
    """None for lines of another kind: banners, warnings, events of a newer release."""
    try:
        return event.model_validate_json(line)
    except ValidationError:
        return None


def as_text(value: JsonValue) -> str:
    """Tool output as a person reads it: text parts joined, anything else as JSON."""
    match value:
        case None:
            return ""
        case str():
            return value
        case list():
            return "\n".join(filter(None, map(as_text, value)))
        case {"text": str(text)}:
            return text
        case _:
            return json.dumps(value, ensure_ascii=False)


def plain(name: str) -> str:
    """Our own tools under their own names, whatever the CLI puts before them."""
    for prefix in (f"mcp__{SERVER}__", f"mcp_{SERVER}_", f"{SERVER}__", f"{SERVER}_", f"{SERVER}/"):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


_LOCKED_OUT = (
    "401", "403", "invalid api key", "invalid_api_key", "incorrect api key", "authentication", "unauthorized",
    "not logged in", "/login", "insufficient_quota", "credit balance",
)  # fmt: skip
_LIMITED = ("429", "rate limit", "rate_limit", "overloaded", "529", "too many requests", "usage limit", "quota")
_REFUSED = ("refusal", "refused", "violat")
_TOO_LONG = ("prompt is too long", "context window", "context length", "context_length", "maximum context")


def failure(reason: str) -> Failed:
    """What kind of failure a message of a CLI is about; they only say it in words."""
    lower = reason.lower()
    if any(word in lower for word in _LOCKED_OUT):
        return Failed("error", reason, halts=True)
    kinds: tuple[tuple[Status, tuple[str, ...]], ...] = (
        ("rate_limited", _LIMITED), ("refused", _REFUSED), ("context", _TOO_LONG),
    )  # fmt: skip
    for status, words in kinds:
        if any(word in lower for word in words):
            return Failed(status, reason)
    return Failed("error", reason)
