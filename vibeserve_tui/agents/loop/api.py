"""What providers that answer over an API share: their defaults, what they need to start, and a conversation with one."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from vibeserve_tui.agents.loop.connection import Patience
from vibeserve_tui.agents.loop.conversation import Conversation
from vibeserve_tui.agents.loop.faults import MALFORMED, Fault
from vibeserve_tui.agents.loop.prices import with_prices
from vibeserve_tui.agents.loop.turns import ServerWire, Wire
from vibeserve_tui.agents.protocol import AgentEvent, AgentRequest, Result
from vibeserve_tui.errors import EnvironmentFault, InputError
from vibeserve_tui.events import VoiceSettings
from vibeserve_tui.inputs.keys import require_key, without_key

Connect = Callable[[VoiceSettings, str, Patience], Wire]
"""Opens a wire with a key, which is "" where none is asked for."""
ConnectServer = Callable[[VoiceSettings, str, Patience], ServerWire]
Omit = TypeVar("Omit")
LOOK_UP_S = 10.0
"""A server that is busy for longer is there."""
MODELS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Vendor:
    """Who is meant when the settings name nobody else."""

    package: str
    requirement: str
    model: str
    api: str
    key: str
    """Variable of the key."""
    base_url: str
    base_url_variable: str
    """Where the vendor's own tools look for another server."""
    name_in_price_table: str

    def completed(self, settings: VoiceSettings) -> VoiceSettings:
        """With the default model, wire, key and prices. A server of the operator's own gets no key by itself."""
        own_server = settings.base_url or ""
        whole = settings.model_copy(
            update={
                "model": settings.model or ("" if own_server else self.model),
                "api": settings.api or self.api,
                "base_url": own_server or os.environ.get(self.base_url_variable, ""),
                "api_key_env": settings.api_key_env or ("" if own_server else self.key),
            }
        )
        return with_prices(whole, sold_by=self.name_in_price_table)

    def require(self, settings: VoiceSettings) -> None:
        """Raises EnvironmentFault for a missing package, InputError for a missing key or model."""
        if importlib.util.find_spec(self.package) is None:
            raise EnvironmentFault(f"the package {self.package} is missing", fix=f"pip install '{self.requirement}'")
        if not settings.model:
            raise InputError(f"which model of {settings.name} is not said", fix="--model-name NAME")
        _key(settings)

    def reach(self, settings: VoiceSettings, connect: ConnectServer) -> str:
        """Ask the server for what it knows of the model, which costs nothing; what is doubtful about it, or "".

        Raises InputError or EnvironmentFault for what is certain: a server may well be busy, or answer to a name that it
        does not list.
        """
        key, server = _key(settings), settings.base_url or self.base_url
        fault, listed = asyncio.run(_look_up(settings, key, connect))
        if fault is None:
            return ""
        why = without_key(fault.why, key)
        if fault.status == 401:
            raise InputError(f"{server} does not take the key: {why}", fix=f"export {settings.api_key_env or 'KEY'}=…")
        if fault.status == 404 and not settings.base_url:
            raise InputError(f"{server} knows no model {settings.model!r}", fix="--model-name NAME")
        if not fault.status and not fault.begun:
            fix = "start it, or correct base_url in [providers]" if settings.base_url else "look at the network"
            raise EnvironmentFault(f"{server} cannot be reached: {why}", fix=fix)
        if fault.status != 404 or settings.model in listed:
            return ""
        if not listed:
            return (
                f"{server} lists no models: see that it is the whole base_url; for chat and responses most end in /v1"
            )
        return f"{server} lists no model {settings.model!r}; it has {', '.join(map(repr, listed[:MODELS_SHOWN]))}"


class ApiAgent:
    """One request after another, each on a connection of its own."""

    def __init__(self, settings: VoiceSettings, connect: Connect) -> None:
        self._settings = settings
        self._connect = connect

    def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]:
        return converse(self._settings, request, self._connect)


def auth_headers(settings: VoiceSettings, key: str, omit: Omit) -> dict[str, str | Omit]:
    """What is sent beside the bearer token that an SDK sends by itself, or instead; `omit` is its word for nothing."""
    headers: dict[str, str | Omit] = {"x-api-key": key} if settings.auth == "x-api-key" else {}
    if settings.auth != "bearer" or not key:
        headers["Authorization"] = omit
    return headers


async def _look_up(settings: VoiceSettings, key: str, connect: ConnectServer) -> tuple[Fault | None, list[str]]:
    """What the server has against the model, and for one that it does not know, which others it has."""
    wire = connect(settings, key, Patience(silence_s=LOOK_UP_S))
    try:
        await wire.look_up(settings.model)
    except Fault as fault:
        return fault, await _listed(wire) if fault.status == 404 else []
    except MALFORMED:  # something answered, if not in the form that the SDK expects
        return None, []
    finally:
        await wire.close()
    return None, []


async def _listed(wire: ServerWire) -> list[str]:
    try:
        return await wire.models()
    except (Fault, *MALFORMED):
        return []


async def converse(
    settings: VoiceSettings, request: AgentRequest, connect: Connect, patience: Patience | None = None
) -> AsyncGenerator[AgentEvent]:
    """One request to the server that the settings mean."""
    if request.brief is None:
        yield Result("error", reason=f"the {request.role} has no words for a language model")
        return
    patience = patience or Patience()
    try:
        key = _key(settings)
        wire = connect(settings, key, patience)
    except (InputError, ImportError) as error:  # a run may be resumed where less is at hand than where it began
        yield Result("error", reason=str(error), halts=True)
        return
    conversation = Conversation(wire, settings, request, request.brief, patience, key)
    async with aclosing(conversation.events()) as events:
        async for event in events:
            yield event


def _key(settings: VoiceSettings) -> str:
    return require_key(settings.api_key_env) if settings.api_key_env and settings.auth != "none" else ""
