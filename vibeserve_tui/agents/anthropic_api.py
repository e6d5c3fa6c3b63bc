"""Anthropic's models, and any server that speaks its Messages, through the official SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator

from vibeserve_tui.agents.loop.api import Vendor, converse
from vibeserve_tui.agents.loop.connection import Patience
from vibeserve_tui.agents.loop.turns import Wire
from vibeserve_tui.agents.protocol import AgentEvent, AgentRequest
from vibeserve_tui.events import VoiceSettings

VENDOR = Vendor(
    package="anthropic",
    requirement="anthropic>=2.10,<3",
    model="claude-sonnet-5-5",
    api="messages",
    key="ANTHROPIC_API_KEY",
    base_url_variable="ANTHROPIC_BASE_URL",
    name_in_price_table="anthropic",
)
BASE_URL = "https://api.anthropic.com"

completed, missing = VENDOR.completed, VENDOR.require


class Agent:
    def __init__(self, settings: VoiceSettings) -> None:
        self._settings = settings

    def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]:
        return converse(self._settings, request, connect)


def connect(settings: VoiceSettings, key: str, patience: Patience) -> Wire:
    """Without the SDK's own retries, which obey any wait that a server asks for, unseen."""
    import anthropic

    from vibeserve_tui.agents.loop.messages_wire import MessagesWire

    headers: dict[str, str | anthropic.Omit] = {"x-api-key": key} if settings.auth == "x-api-key" else {}
    if settings.auth != "bearer" or not key:
        headers["Authorization"] = anthropic.omit
    client = anthropic.AsyncAnthropic(
        # Never None: the SDK would go looking for credentials in places that the operator did not name.
        api_key=key or "none",
        base_url=settings.base_url or BASE_URL,
        max_retries=0,
        timeout=patience.timeout,
    )
    return MessagesWire(client, headers, settings.effort)
