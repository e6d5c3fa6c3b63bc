"""What a line of a CLI's output means, in one set of words for all of them."""

from __future__ import annotations

from dataclasses import dataclass

from vibeserve_tui.agents.protocol import Status, Tokens


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
