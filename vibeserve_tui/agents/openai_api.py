"""OpenAI's models through Responses, and any server that speaks chat completions, through the official SDK."""

from __future__ import annotations

from functools import partial

from vibeserve_tui.agents.loop.api import ApiAgent, Vendor, auth_headers
from vibeserve_tui.agents.loop.connection import Patience
from vibeserve_tui.agents.loop.turns import ServerWire
from vibeserve_tui.events import VoiceSettings

VENDOR = Vendor(
    package="openai",
    requirement="openai>=3.51,<4",
    model="gpt-5.5",
    api="responses",
    key="OPENAI_API_KEY",
    base_url="https://api.openai.com/v1",
    base_url_variable="OPENAI_BASE_URL",
    name_in_price_table="openai",
)


def connect(settings: VoiceSettings, key: str, patience: Patience) -> ServerWire:
    """Without the SDK's own retries, which try even what no waiting mends."""
    import openai

    from vibeserve_tui.agents.loop.chat_wire import ChatWire
    from vibeserve_tui.agents.loop.responses_wire import ResponsesWire

    client = openai.AsyncOpenAI(
        api_key=key or "none",
        base_url=settings.base_url or VENDOR.base_url,
        max_retries=0,
        timeout=patience.timeout,
    )
    headers = auth_headers(settings, key, openai.omit)
    if settings.api == "responses":
        return ResponsesWire(client, headers, settings.effort)
    return ChatWire(client, headers, settings.effort, own_server=bool(settings.base_url))


Agent = partial(ApiAgent, connect=connect)
completed, missing, reach = VENDOR.completed, VENDOR.require, partial(VENDOR.reach, connect=connect)
