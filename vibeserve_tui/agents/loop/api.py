"""What providers that answer over an API share: their defaults, what they need to start, and a conversation with one."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from vibeserve_tui.agents.loop.connection import Patience
from vibeserve_tui.agents.loop.conversation import Conversation
from vibeserve_tui.agents.loop.prices import with_prices
from vibeserve_tui.agents.loop.turns import Wire
from vibeserve_tui.agents.protocol import AgentEvent, AgentRequest, Result
from vibeserve_tui.errors import EnvironmentFault, InputError
from vibeserve_tui.events import VoiceSettings
from vibeserve_tui.inputs.keys import require_key

Connect = Callable[[VoiceSettings, str, Patience], Wire]
"""Opens a wire with a key, which is "" where none is asked for."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """Who is meant when the settings name nobody else."""

    package: str
    requirement: str
    model: str
    api: str
    key: str
    """Variable of the key."""
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
