"""Anthropic's Messages, on the SDK's raw event stream: its stream helper turns cut-off arguments into plausible ones."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2
from anthropic.types import (
    MessageParam,
    RawMessageStreamEvent,
    TextBlockParam,
    ToolParam,
    ToolResultBlockParam,
)  # fmt: skip

from vibeserve_tui.agents.loop import usage
from vibeserve_tui.agents.loop.connection import never_sent
from vibeserve_tui.agents.loop.faults import MALFORMED, Fault, of_status
from vibeserve_tui.agents.loop.turns import Answers, Asked, Call, Entry, Prefix, Reply, Stop

STOPS: Mapping[str, Stop] = {
    "tool_use": "calls", "max_tokens": "length", "refusal": "refusal", "model_context_window_exceeded": "context",
    "pause_turn": "pause",
}  # fmt: skip
THINKING = frozenset({"thinking", "redacted_thinking"})
LOOK_BACK = 15
"""A cache is looked for at most 20 blocks before a breakpoint, so longer lists of results get one of their own."""
EXTRA_BREAKPOINTS = 2
"""Of the four that a request may have, one stands in the system prompt and one moves along with its end."""


class MessagesWire:
    def __init__(
        self, client: anthropic.AsyncAnthropic, headers: Mapping[str, str | anthropic.Omit], effort: str
    ) -> None:
        self._client = client
        self._headers = headers
        self._effort = effort

    async def turn(self, model: str, prefix: Prefix, history: Sequence[Entry]) -> Reply:
        with translated(begun=False):
            stream = await self._client.messages.create(
                model=model,
                max_tokens=prefix.output_tokens,
                tools=_tools(prefix),
                system=_system(prefix),
                messages=messages(model, history),
                cache_control={"type": "ephemeral"},
                extra_body={"output_config": {"effort": self._effort}} if self._effort else None,
                extra_headers=self._headers,
                stream=True,
            )
        async with stream:
            with translated(begun=True):
                return await _read(model, stream)

    async def look_up(self, model: str) -> None:
        with translated(begun=False):
            await self._client.models.retrieve(model, extra_headers=self._headers)

    async def models(self) -> list[str]:
        with translated(begun=False):
            return [model.id async for model in self._client.models.list(extra_headers=self._headers)]

    async def close(self) -> None:
        await self._client.close()


# ---- what we send -------------------------------------------------------------------------------------------------


def _tools(prefix: Prefix) -> list[ToolParam]:
    return [ToolParam(name=t.name, description=t.description, input_schema=t.schema) for t in prefix.tools]


def _system(prefix: Prefix) -> list[TextBlockParam]:
    blocks = [TextBlockParam(type="text", text=text) for text in (prefix.system, prefix.stable) if text]
    if blocks:
        blocks[-1]["cache_control"] = {"type": "ephemeral"}
    return blocks


def messages(model: str, history: Sequence[Entry]) -> list[MessageParam]:
    """The history as this model may see it: the thoughts of another model are signed for that one alone."""
    shown: list[MessageParam] = []
    breakpoints = 0
    for entry in history:
        match entry:
            case Asked(text=text):
                shown.append({"role": "user", "content": text})
            case Reply(model=author, native=blocks):
                seen = [b for b in blocks if author == model or b["type"] not in THINKING]
                if seen:
                    shown.append({"role": "assistant", "content": seen})
            case Answers(answers=answers):
                content = [
                    ToolResultBlockParam(
                        type="tool_result", tool_use_id=a.call.id, content=a.text or "(nothing)", is_error=not a.ok
                    )
                    for a in answers
                ]
                if len(content) > LOOK_BACK and breakpoints < EXTRA_BREAKPOINTS:
                    content[LOOK_BACK - 1]["cache_control"] = {"type": "ephemeral"}
                    breakpoints += 1
                shown.append({"role": "user", "content": content})
    return shown


# ---- what comes back ----------------------------------------------------------------------------------------------


async def _read(model: str, stream: AsyncIterator[RawMessageStreamEvent]) -> Reply:
    blocks: dict[int, dict[str, Any]] = {}
    arguments: dict[int, str] = {}
    counted: dict[str, object] = {}
    stop, detail = "", ""
    async for event in stream:
        if event.type == "message_start":
            counted |= _known(event.message.to_dict().get("usage"))
        elif event.type == "content_block_start":
            blocks[event.index] = event.content_block.to_dict()
        elif event.type == "content_block_delta":
            block, delta = blocks[event.index], event.delta
            if delta.type == "text_delta":
                block["text"] += delta.text
            elif delta.type == "input_json_delta":
                arguments[event.index] = arguments.get(event.index, "") + delta.partial_json
            elif delta.type == "thinking_delta":
                block["thinking"] += delta.thinking
            elif delta.type == "signature_delta":
                block["signature"] = block.get("signature", "") + delta.signature
        elif event.type == "message_delta":
            stop = event.delta.stop_reason or stop
            counted |= _known(event.to_dict().get("usage"))
            if event.delta.stop_details:
                detail = f"{event.delta.stop_details.category}: {event.delta.stop_details.explanation}"
    if not stop:
        raise Fault("the stream ended before its end", "again", begun=True)
    return _reply(model, [blocks[i] | {"_": arguments.get(i, "")} for i in sorted(blocks)], stop, detail, counted)


def _reply(model: str, blocks: list[dict[str, Any]], stop: str, detail: str, counted: Mapping[str, object]) -> Reply:
    calls, native = list[Call](), list[dict[str, Any]]()
    for block in blocks:
        raw = block.pop("_")
        if block["type"] == "tool_use":
            call = Call(block["id"], block["name"], raw)
            calls.append(call)
            block["input"] = _object(call)
        if block["type"] != "text" or block["text"].strip():  # a blank text is refused when it is sent back
            native.append(block)
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    tokens = usage.of_messages(counted)
    return Reply(model, text, tuple(calls), STOPS.get(stop, "end"), tuple(native), tokens, detail)


def _object(call: Call) -> object:
    """What the model meant, or an empty object: the API takes back nothing else."""
    return json.loads(call.arguments or "{}") if call.is_object else {}


def _known(counted: object) -> dict[str, object]:
    return {name: value for name, value in counted.items() if value is not None} if isinstance(counted, dict) else {}


@contextmanager
def translated(*, begun: bool) -> Iterator[None]:
    """The SDK's errors and the transport's, which it lets through in mid-stream, as faults."""
    try:
        yield
    except anthropic.APIStatusError as error:
        message = error.api_message or error.message
        raise of_status(error.status_code, error.type or "", message, error.response.headers, begun=begun) from error
    except (anthropic.APIError, httpx2.TransportError) as error:
        why = f"{type(error).__name__}: {error}"
        raise Fault(why, "again", begun=begun or not never_sent(error)) from error
    except MALFORMED as error:
        if not begun:
            raise
        raise Fault(f"the stream makes no sense: {type(error).__name__}: {error}", "again", begun=True) from error
