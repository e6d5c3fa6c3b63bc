"""OpenAI's models through Responses, and any server that speaks chat completions, through the official SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator

from vibeserve_tui.agents.loop.api import Vendor, converse
from vibeserve_tui.agents.loop.connection import Patience
from vibeserve_tui.agents.loop.turns import Wire
from vibeserve_tui.agents.protocol import AgentEvent, AgentRequest
from vibeserve_tui.events import VoiceSettings

VENDOR = Vendor(
    package="openai",
    requirement="openai>=3.51,<4",
    model="gpt-5.5",
    api="responses",
    key="OPENAI_API_KEY",
    base_url_variable="OPENAI_BASE_URL",
    name_in_price_table="openai",
)
BASE_URL = "https://api.openai.com/v1"

completed, missing = VENDOR.completed, VENDOR.require


class Agent:
    def __init__(self, settings: VoiceSettings) -> None:
        self._settings = settings

    def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]:
        return converse(self._settings, request, connect)


def connect(settings: VoiceSettings, key: str, patience: Patience) -> Wire:
    """Without the SDK's own retries, which try even what no waiting mends."""
    import openai

    from vibeserve_tui.agents.loop.chat_wire import ChatWire
    from vibeserve_tui.agents.loop.responses_wire import ResponsesWire

    headers: dict[str, str | openai.Omit] = {"x-api-key": key} if settings.auth == "x-api-key" else {}
    if settings.auth != "bearer" or not key:
        headers["Authorization"] = openai.omit
    client = openai.AsyncOpenAI(
        api_key=key or "none",
        base_url=settings.base_url or BASE_URL,
        max_retries=0,
        timeout=patience.timeout,
    )
    if settings.api == "responses":
        return ResponsesWire(client, headers, settings.effort)
    return ChatWire(client, headers, settings.effort, own_server=bool(settings.base_url))
