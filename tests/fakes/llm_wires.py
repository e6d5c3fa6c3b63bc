"""How the fake model's turns look on each wire: whole, and as server-sent events in the order that the real ones have."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from tests.fakes.llm import Call, Request, Turn

PIECE = 16
MESSAGE_STOPS = {
    "end": "end_turn", "calls": "tool_use", "length": "max_tokens", "refusal": "refusal", "pause": "pause_turn",
    "context": "model_context_window_exceeded",
}  # fmt: skip
CHAT_FINISHES = {
    "end": "stop",
    "calls": "tool_calls",
    "length": "length",
    "refusal": "stop",
    "pause": "stop",
    "context": "length",
}
NONSENSE = {
    "messages": 'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 99}\n\n',
    "responses": 'event: response.completed\ndata: {"type": "response.completed"}\n\n',
    "chat": 'data: {"choices": [{"index": 0}]}\n\n',
}

Json = dict[str, Any]
_serial = itertools.count(1)


def whole(request: Request, turn: Turn) -> Json:
    """The answer to a request without a stream."""
    if request.wire == "messages":
        return _message(request, turn, _blocks(turn))
    if request.wire == "responses":
        return _response(request, turn, _items(turn))
    return _completion(request) | {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": _chat_message(turn), "finish_reason": _finish(turn), "logprobs": None}],
        "usage": _chat_usage(turn),
    }


def events(request: Request, turn: Turn) -> Iterator[str]:
    """The turn as text of a stream, event by event."""
    render = {"messages": _message_events, "responses": _response_events, "chat": _chat_events}[request.wire]
    for name, data in render(request, turn):
        text = data if isinstance(data, str) else json.dumps(data)
        yield (f"event: {name}\n" if name else "") + f"data: {text}\n\n"


def error_event(wire: str, turn: Turn) -> str:
    error = {"type": "overloaded_error", "code": "server_error", "message": "Overloaded"} | (turn.error or {})
    if wire == "messages":
        return f"event: error\ndata: {json.dumps({'type': 'error', 'error': error})}\n\n"
    if wire == "responses":
        return f"event: error\ndata: {json.dumps({'type': 'error', 'sequence_number': 9, 'param': None} | error | {'type': 'error'})}\n\n"
    return f"data: {json.dumps({'error': error})}\n\n"


def _new(kind: str) -> str:
    return f"{kind}_{next(_serial):08d}"


def _raw(call: Call) -> str:
    return call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)


def _pieces(text: str) -> list[str]:
    return [text[i : i + PIECE] for i in range(0, len(text), PIECE)]


# ---- Anthropic Messages -------------------------------------------------------------------------------------------


def _blocks(turn: Turn) -> list[tuple[Json, list[Json]]]:
    """Each block as it is at its start, and its deltas."""
    blocks: list[tuple[Json, list[Json]]] = []
    if turn.thinking:
        start = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [
            {"type": "thinking_delta", "thinking": turn.thinking},
            {"type": "signature_delta", "signature": "sig"},
        ]
        blocks.append((start, deltas))
    if turn.text:
        blocks.append(
            ({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in _pieces(turn.text)])
        )
    for call in turn.calls:
        start = {"type": "tool_use", "id": _new("toolu"), "name": call.name, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *_pieces(_raw(call))]]
        blocks.append((start, deltas))
    return blocks


def _message(request: Request, turn: Turn, blocks: list[tuple[Json, list[Json]]]) -> Json:
    content = [dict(start) for start, _ in blocks]
    for block, (_, deltas) in zip(content, blocks, strict=True):
        for delta in deltas:
            if delta["type"] == "text_delta":
                block["text"] += delta["text"]
        if block["type"] == "tool_use":
            block["input"] = json.loads("".join(delta["partial_json"] for delta in deltas) or "{}")
    return {
        "id": _new("msg"), "type": "message", "role": "assistant", "model": request.model, "content": content,
        "stop_reason": MESSAGE_STOPS[turn.ending], "stop_sequence": None, "stop_details": _stop_details(turn),
        "usage": _message_usage(turn),
    }  # fmt: skip


def _message_usage(turn: Turn) -> Json:
    tokens = turn.tokens
    return {
        "input_tokens": tokens["input"],
        "cache_creation_input_tokens": tokens["cache_write"],
        "cache_read_input_tokens": tokens["cache_read"],
        "output_tokens": tokens["output"],
    }


def _stop_details(turn: Turn) -> Json | None:
    if turn.ending != "refusal":
        return None
    return {"type": "refusal", "category": "frontier_llm", "explanation": turn.text or "no"}


def _message_events(request: Request, turn: Turn) -> Iterator[tuple[str | None, Json | str]]:
    usage = {"usage": _message_usage(turn)} if turn.counts else {}
    opening = {
        "id": _new("msg"), "type": "message", "role": "assistant", "model": request.model, "content": [],
        "stop_reason": None, "stop_sequence": None, "stop_details": None,
    }  # fmt: skip
    if turn.counts:
        opening["usage"] = _message_usage(turn) | {"output_tokens": 1}
    yield "message_start", {"type": "message_start", "message": opening}
    yield "ping", {"type": "ping"}
    for index, (start, deltas) in enumerate(_blocks(turn)):
        yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
        yield "content_block_stop", {"type": "content_block_stop", "index": index}
    end = {"stop_reason": MESSAGE_STOPS[turn.ending], "stop_sequence": None, "stop_details": _stop_details(turn)}
    yield "message_delta", {"type": "message_delta", "delta": end} | usage
    yield "message_stop", {"type": "message_stop"}


# ---- OpenAI Responses ---------------------------------------------------------------------------------------------


def _items(turn: Turn) -> list[Json]:
    items: list[Json] = []
    if turn.thinking:
        items.append({"type": "reasoning", "id": _new("rs"), "summary": [], "encrypted_content": turn.thinking})
    if turn.ending == "refusal":
        items.append(_message_item({"type": "refusal", "refusal": turn.text or "no"}))
    elif turn.text:
        items.append(_message_item({"type": "output_text", "text": turn.text, "annotations": [], "logprobs": []}))
    for call in turn.calls:
        space, _, name = call.name.rpartition("::")  # tools in a namespace, as codex declares those of MCP servers
        item = {"id": _new("fc"), "call_id": _new("call"), "name": name, "arguments": _raw(call)}
        item |= {"namespace": space} if space else {}
        items.append(item | {"type": "function_call", "status": "completed"})
    return items


def _message_item(part: Json) -> Json:
    return {"type": "message", "id": _new("msg"), "role": "assistant", "status": "completed", "content": [part]}


def _response(request: Request, turn: Turn, items: list[Json]) -> Json:
    cut = turn.ending in ("length", "context")
    tokens = turn.tokens
    given = tokens["input"] + tokens["cache_read"] + tokens["cache_write"]
    usage = {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": tokens["cache_read"], "cache_write_tokens": tokens["cache_write"]},
        "output_tokens": tokens["output"],
        "output_tokens_details": {"reasoning_tokens": tokens["reasoning"]},
        "total_tokens": given + tokens["output"],
    }
    return _empty_response(request) | {
        "output": items,
        "status": "incomplete" if cut else "completed",
        "usage": usage if turn.counts else None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
    }


def _empty_response(request: Request) -> Json:
    return {
        "id": _new("resp"), "object": "response", "created_at": 1_700_000_000, "model": request.model, "output": [],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": request.body.get("tools") or [],
        "status": "in_progress", "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
        "temperature": 1.0, "top_p": 1.0, "usage": None, "text": {"format": {"type": "text"}},
    }  # fmt: skip


def _response_events(request: Request, turn: Turn) -> Iterator[tuple[str | None, Json | str]]:
    items = _items(turn)
    numbers = itertools.count()

    def event(kind: str, **data: Any) -> tuple[str, Json]:
        return kind, {"type": kind, "sequence_number": next(numbers)} | data

    yield event("response.created", response=_empty_response(request))
    yield event("response.in_progress", response=_empty_response(request))
    for index, item in enumerate(items):
        yield event("response.output_item.added", output_index=index, item=item | {"status": "in_progress"})
        for kind, piece in _item_deltas(item):
            yield event(f"response.{kind}.delta", output_index=index, item_id=item["id"], content_index=0, delta=piece)
        yield event("response.output_item.done", output_index=index, item=item)
    end = "incomplete" if turn.ending in ("length", "context") else "completed"
    yield event(f"response.{end}", response=_response(request, turn, items))


def _item_deltas(item: Json) -> Iterator[tuple[str, str]]:
    if item["type"] == "function_call":
        yield from (("function_call_arguments", piece) for piece in _pieces(item["arguments"]))
    elif item["type"] == "message":
        part = item["content"][0]
        kind = "output_text" if "text" in part else "refusal"
        yield from ((kind, piece) for piece in _pieces(part.get("text") or part["refusal"]))


# ---- OpenAI chat completions --------------------------------------------------------------------------------------


def _completion(request: Request) -> Json:
    return {"id": _new("chatcmpl"), "created": 1_700_000_000, "model": request.model}


def _finish(turn: Turn) -> str:
    return turn.finish or CHAT_FINISHES[turn.ending]


def _chat_usage(turn: Turn) -> Json:
    tokens = turn.tokens
    given = tokens["input"] + tokens["cache_read"] + tokens["cache_write"]
    return {
        "prompt_tokens": given,
        "completion_tokens": tokens["output"],
        "total_tokens": given + tokens["output"],
        "prompt_tokens_details": {"cached_tokens": tokens["cache_read"], "cache_write_tokens": tokens["cache_write"]},
        "completion_tokens_details": {"reasoning_tokens": tokens["reasoning"]},
    }


def _chat_calls(turn: Turn) -> list[Json]:
    return [
        {"id": _new("call"), "type": "function", "function": {"name": call.name, "arguments": _raw(call)}}
        for call in turn.calls
    ]


def _chat_message(turn: Turn) -> Json:
    refused = turn.ending == "refusal"
    message = {
        "role": "assistant", "content": None if refused else turn.text or None,
        "refusal": (turn.text or "no") if refused else None,
    }  # fmt: skip
    return message | ({"tool_calls": _chat_calls(turn)} if turn.calls else {})


def _chat_events(request: Request, turn: Turn) -> Iterator[tuple[str | None, Json | str]]:
    base = _completion(request) | {"object": "chat.completion.chunk"}

    def chunk(delta: Json, finish: str | None = None) -> tuple[None, Json]:
        return None, base | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}

    yield chunk({"role": "assistant", "content": ""})
    refused = turn.ending == "refusal"
    for piece in _pieces(turn.text or ("no" if refused else "")):
        yield chunk({"refusal" if refused else "content": piece})
    for index, call in enumerate(_chat_calls(turn)):
        whole_arguments = call["function"]["arguments"]
        yield chunk({"tool_calls": [{"index": index} | call | {"function": call["function"] | {"arguments": ""}}]})
        for piece in _pieces(whole_arguments):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, _finish(turn))
    if turn.counts and (request.body.get("stream_options") or {}).get("include_usage"):
        yield None, base | {"choices": [], "usage": _chat_usage(turn)}
    yield None, "[DONE]"
