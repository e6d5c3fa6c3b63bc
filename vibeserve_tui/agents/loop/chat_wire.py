"""Chat completions, as OpenAI defined them and many local servers speak them, each in its own dialect.

Some count no usage, some end a turn of tool calls with "stop", some leave ids out or send a whole call in one piece.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionFunctionToolParam
from openai.types.chat.chat_completion_chunk import ChoiceDelta

from vibeserve_tui.agents.loop import usage
from vibeserve_tui.agents.loop.faults import Fault
from vibeserve_tui.agents.loop.openai_server import OpenAIServer, translated
from vibeserve_tui.agents.loop.turns import Answers, Asked, Call, Entry, Prefix, Reply, Stop


class ChatWire(OpenAIServer):
    def __init__(
        self, client: openai.AsyncOpenAI, headers: Mapping[str, str | openai.Omit], effort: str, *, own_server: bool
    ) -> None:
        super().__init__(client, headers)
        self._effort = effort
        # OpenAI refuses the old name for its newer models; other servers often know no other.
        self._length_name = "max_tokens" if own_server else "max_completion_tokens"

    async def turn(self, model: str, prefix: Prefix, history: Sequence[Entry]) -> Reply:
        more: dict[str, object] = {self._length_name: prefix.output_tokens}
        if self._effort:
            more["reasoning_effort"] = self._effort
        with translated(begun=False):
            stream = await self._client.chat.completions.create(
                model=model,
                tools=_tools(prefix),
                messages=messages(prefix, history),
                stream=True,
                stream_options={"include_usage": True},
                extra_body=more,
                extra_headers=self._headers,
            )
        async with stream:
            with translated(begun=True):
                return (await _read(stream)).reply(model)


def _tools(prefix: Prefix) -> list[ChatCompletionFunctionToolParam]:
    return [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.schema}}
        for t in prefix.tools
    ]


def messages(prefix: Prefix, history: Sequence[Entry]) -> Any:
    system = "\n\n".join(filter(None, (prefix.system, prefix.stable)))
    shown: list[dict[str, object]] = [{"role": "system", "content": system}] if system else []
    for entry in history:
        match entry:
            case Asked(text=text):
                shown.append({"role": "user", "content": text})
            case Reply(native=message):
                shown += message
            case Answers(answers=answers):
                shown += [
                    {"role": "tool", "tool_call_id": a.call.id, "content": a.text or "(nothing)"} for a in answers
                ]
    return shown


@dataclass(slots=True)
class _Part:
    """A tool call as far as it has come."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class _Heard:
    text: str = ""
    refusal: str = ""
    finish: str = ""
    parts: dict[int, _Part] = field(default_factory=dict)
    counted: dict[str, object] = field(default_factory=dict)

    def add(self, delta: ChoiceDelta) -> None:
        self.text += delta.content or ""
        self.refusal += delta.refusal or ""
        for piece in delta.tool_calls or ():
            part = self.parts.setdefault(piece.index, _Part())
            part.id = piece.id or part.id
            if piece.function:
                part.name += piece.function.name or ""
                part.arguments += piece.function.arguments or ""

    def reply(self, model: str) -> Reply:
        parts = [part for _, part in sorted(self.parts.items())]
        calls = [Call(p.id or f"call_{uuid.uuid4().hex[:12]}", p.name, p.arguments) for p in parts]
        message: dict[str, object] = {"role": "assistant", "content": self.text or None}
        if calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    # Servers render the history through a template that parses this.
                    "function": {"name": call.name, "arguments": call.arguments if call.is_object else "{}"},
                }
                for call in calls
            ]
        native = (message,) if calls or self.text else ()
        tokens = usage.of_openai(self.counted, given="prompt", made="completion")
        return Reply(model, self.text, tuple(calls), self._stop(), native, tokens, self.refusal)

    def _stop(self) -> Stop:
        if self.refusal or self.finish == "content_filter":
            return "refusal"
        return "length" if self.finish == "length" else "calls" if self.parts else "end"


async def _read(stream: AsyncIterator[ChatCompletionChunk]) -> _Heard:
    heard = _Heard()
    async for chunk in stream:
        counted = chunk.to_dict().get("usage")
        if isinstance(counted, dict):
            heard.counted = counted
        for choice in chunk.choices[:1]:
            heard.add(choice.delta)
            heard.finish = choice.finish_reason or heard.finish
    if not heard.finish:
        raise Fault("the stream ended before its end", "again", begun=True)
    return heard
