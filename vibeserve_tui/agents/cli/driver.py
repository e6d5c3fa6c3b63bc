"""What coding CLIs have in common: what a driver is asked, and what it hears.

A driver is pure: it turns a call into a command line and a line of output into signals. It starts nothing, reads no
clock and no environment, and never decides whether the work was good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from vibeserve_tui.agents.cli.signals import Signal

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
    """A stand-in for the key; "" uses the login of whoever runs us."""
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
    seller: str
    """Of its models, as the price table calls it; "" for the one that a model's name begins with."""
    login: tuple[Login, ...]
    silence_s: float

    def endpoint(self, model: str) -> str:
        """Where it finds that model unless told otherwise; "" where that is not known."""

    def hosts(self, model: str) -> tuple[str, ...]:
        """Whom it speaks to with a login of its own: the model's server, and where the login is renewed."""

    def command(self, call: Call) -> Command: ...

    def read(self, line: str) -> Iterable[Signal]:
        """The signals of one line; nothing for what is not known."""
