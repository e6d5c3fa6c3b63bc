"""Anthropic's models, and any server that speaks its Messages, through the official SDK."""

from __future__ import annotations

from functools import partial

from vibeserve_tui.agents.loop.api import ApiAgent, Vendor, auth_headers
from vibeserve_tui.agents.loop.connection import Patience
from vibeserve_tui.agents.loop.turns import ServerWire
from vibeserve_tui.events import VoiceSettings

VENDOR = Vendor(
    package="anthropic",
    requirement="anthropic>=2.10,<3",
    model="claude-sonnet-5-5",
    api="messages",
    key="ANTHROPIC_API_KEY",
    base_url="https://api.anthropic.com",
    base_url_variable="ANTHROPIC_BASE_URL",
    name_in_price_table="anthropic",
)


def connect(settings: VoiceSettings, key: str, patience: Patience) -> ServerWire:
    """Without the SDK's own retries, which obey any wait that a server asks for, unseen."""
    import anthropic

    from vibeserve_tui.agents.loop.messages_wire import MessagesWire

    client = anthropic.AsyncAnthropic(
        # Never None: the SDK would go looking for credentials in places that the operator did not name.
        api_key=key or "none",
        base_url=settings.base_url or VENDOR.base_url,
        max_retries=0,
        timeout=patience.timeout,
    )
    return MessagesWire(client, auth_headers(settings, key, anthropic.omit), settings.effort)


Agent = partial(ApiAgent, connect=connect)
completed, missing, reach = VENDOR.completed, VENDOR.require, partial(VENDOR.reach, connect=connect)
