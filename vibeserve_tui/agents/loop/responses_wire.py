"""OpenAI's Responses, stateless: the server stores nothing, so every output item goes back with the next request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import openai
from openai.types.responses import FunctionToolParam, Response, ResponseStreamEvent

from vibeserve_tui.agents.loop import usage
from vibeserve_tui.agents.loop.faults import Fault, of_status
from vibeserve_tui.agents.loop.openai_server import OpenAIServer, translated
from vibeserve_tui.agents.loop.turns import Answers, Asked, Call, Entry, Prefix, Reply, Stop

INCOMPLETE: Mapping[str, Stop] = {"max_output_tokens": "length", "content_filter": "refusal"}


class ResponsesWire(OpenAIServer):
    def __init__(self, client: openai.AsyncOpenAI, headers: Mapping[str, str | openai.Omit], effort: str) -> None:
        super().__init__(client, headers)
        self._effort = effort

    async def turn(self, model: str, prefix: Prefix, history: Sequence[Entry]) -> Reply:
        with translated(begun=False):
            stream = await self._client.responses.create(
                model=model,
                tools=_tools(prefix),
                instructions=prefix.system,
                input=items(model, prefix, history),
                max_output_tokens=prefix.output_tokens,
                store=False,
                include=["reasoning.encrypted_content"],
                prompt_cache_key=prefix.cache_key,
                extra_body={"reasoning": {"effort": self._effort}} if self._effort else None,
                extra_headers=self._headers,
                stream=True,
            )
        async with stream:
            with translated(begun=True):
                return _reply(model, await _last(stream))


def _tools(prefix: Prefix) -> list[FunctionToolParam]:
    return [
        FunctionToolParam(type="function", name=t.name, description=t.description, parameters=t.schema, strict=False)
        for t in prefix.tools
    ]


def items(model: str, prefix: Prefix, history: Sequence[Entry]) -> Any:
    """The input; reasoning is encrypted for the model that made it, so another model does not get it."""
    shown: list[dict[str, object]] = [{"role": "user", "content": prefix.stable}] if prefix.stable else []
    for entry in history:
        match entry:
            case Asked(text=text):
                shown.append({"role": "user", "content": text})
            case Reply(model=author, native=output):
                shown += [item for item in output if author == model or item["type"] != "reasoning"]
            case Answers(answers=answers):
                shown += [
                    {"type": "function_call_output", "call_id": a.call.id, "output": a.text or "(nothing)"}
                    for a in answers
                ]
    return shown


async def _last(stream: AsyncIterator[ResponseStreamEvent]) -> Response:
    """The whole response, which the last event carries."""
    async for event in stream:
        if event.type == "response.completed":
            return event.response
        if event.type == "response.incomplete":
            return event.response
        if event.type == "response.failed":
            error = event.response.error
            code, message = (error.code, error.message) if error else ("", "failed")
            raise of_status(200, code, message, {}, begun=True)
        if event.type == "error":
            raise of_status(200, event.code or "server_error", event.message, {}, begun=True)
    raise Fault("the stream ended before its end", "again", begun=True)


def _reply(model: str, response: Response) -> Reply:
    calls, native, text, refused = list[Call](), list[dict[str, object]](), "", ""
    for item in response.output:
        sent_back = item.to_dict(mode="json", exclude_none=True)
        if item.type == "function_call":
            call = Call(item.call_id, item.name, item.arguments)
            calls.append(call)
            sent_back["arguments"] = item.arguments if call.is_object else "{}"
        elif item.type == "message":
            text += "".join(part.text for part in item.content if part.type == "output_text")
            refused += "".join(part.refusal for part in item.content if part.type == "refusal")
        native.append(sent_back)
    stop: Stop = "refusal" if refused else "calls" if calls else "end"
    if response.status == "incomplete":
        why = response.incomplete_details.reason if response.incomplete_details else None
        stop = INCOMPLETE.get(why or "", "length")
    counted = response.to_dict().get("usage")
    tokens = usage.of_openai(counted, given="input", made="output") if isinstance(counted, dict) else None
    return Reply(model, text, tuple(calls), stop, tuple(native), tokens, refused)
