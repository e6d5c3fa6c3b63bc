"""The OpenAI wire format without any HTTP: requests are checked here, replies and chunks get their shape here."""

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from server.tokens import Tokens


class BadRequest(Exception):
    """The client's fault; shown as an OpenAI-style error object."""

    def __init__(self, message: str, param: str | None = None, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


@dataclass(frozen=True)
class GenerationRequest:
    """What the engine has to know."""

    prompt_ids: Sequence[int]
    max_tokens: int
    temperature: float
    seed: int | None
    ignore_eos: bool
    draft_ids: Sequence[int]
    """The client's guess of the answer (`prediction`). A hint for speed: it may never change the answer."""


@dataclass(frozen=True)
class Call:
    """One checked API call: what to generate and how to reply."""

    request: GenerationRequest
    chat: bool
    model: str
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool
    return_token_ids: bool


def parse_call(body: bytes, *, chat: bool, tokens: Tokens, max_len: int) -> Call:
    fields = _Fields(body)
    prompt_ids = _chat_prompt(fields, tokens) if chat else _text_prompt(fields, tokens)
    if not prompt_ids:
        raise BadRequest("the prompt is empty", "messages" if chat else "prompt")
    room = max_len - len(prompt_ids)
    max_tokens = fields.integer("max_tokens", least=1)
    if chat and max_tokens is None:
        max_tokens = fields.integer("max_completion_tokens", least=1)
    if max_tokens is None:
        max_tokens = max(1, room) if chat else 16
    if max_tokens > room:
        raise BadRequest(
            f"{len(prompt_ids)} prompt tokens and {max_tokens} new ones exceed the context of {max_len} tokens",
            "messages" if chat else "prompt",
            code="context_length_exceeded",
        )
    fields.refuse_unsupported()
    request = GenerationRequest(
        prompt_ids=prompt_ids,
        max_tokens=max_tokens,
        temperature=fields.number("temperature", default=1.0, least=0.0, most=2.0),
        seed=fields.integer("seed", least=-(2**63), most=2**63 - 1),
        ignore_eos=fields.flag("ignore_eos"),
        draft_ids=_draft(fields, tokens),
    )
    return Call(
        request=request,
        chat=chat,
        model=fields.string("model", default="model"),
        stop=_stop(fields),
        stream=fields.flag("stream"),
        include_usage=_include_usage(fields),
        return_token_ids=fields.flag("return_token_ids"),
    )


class _Fields:
    """A JSON object whose values are taken out by type; null counts as absent."""

    def __init__(self, body: bytes) -> None:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise BadRequest("the body is not valid JSON") from None
        if not isinstance(value, dict):
            raise BadRequest("the body must be a JSON object")
        self._values = {name: item for name, item in value.items() if item is not None}

    def get(self, name: str) -> object:
        return self._values.get(name)

    def flag(self, name: str) -> bool:
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise BadRequest(f"{name} must be true or false", name)
        return value

    def string(self, name: str, default: str) -> str:
        value = self._values.get(name, default)
        if not isinstance(value, str):
            raise BadRequest(f"{name} must be a string", name)
        return value

    def integer(self, name: str, *, least: int, most: int = 2**31 - 1) -> int | None:
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise BadRequest(f"{name} must be an integer from {least} to {most}", name)
        return value

    def number(self, name: str, *, default: float, least: float, most: float) -> float:
        value = self._values.get(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise BadRequest(f"{name} must be a number from {least:g} to {most:g}", name)
        return float(value)

    def refuse_unsupported(self) -> None:
        """Fields that would change the answer are refused instead of ignored; unknown ones are ignored, as elsewhere."""
        neutral: dict[str, tuple[object, ...]] = {
            "n": (1,), "best_of": (1,), "echo": (False,), "logprobs": (False,), "top_logprobs": (), "suffix": ("",),
            "top_p": (1,), "frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},),
            "tools": ([],), "response_format": ({"type": "text"},),
        }  # fmt: skip
        for name, accepted in neutral.items():
            if name in self._values and self._values[name] not in accepted:
                raise BadRequest(f"{name} = {self._values[name]!r:.60} is not supported", name)


def _text_prompt(fields: _Fields, tokens: Tokens) -> list[int]:
    prompt = fields.get("prompt")
    if isinstance(prompt, str):
        return tokens.encode(_encodable(prompt, "prompt"))
    if not isinstance(prompt, list) or not all(type(i) is int for i in prompt):
        raise BadRequest("prompt must be one text or one list of token ids", "prompt")
    if not all(0 <= i < tokens.vocab for i in prompt):
        raise BadRequest(f"prompt has a token id outside 0..{tokens.vocab - 1}", "prompt")
    return prompt


def _chat_prompt(fields: _Fields, tokens: Tokens) -> list[int]:
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a list with at least one message", "messages")
    return tokens.encode_chat([_message(message) for message in messages])


def _message(message: object) -> dict[str, str]:
    if not isinstance(message, dict) or message.get("role") not in ("system", "user", "assistant"):
        raise BadRequest("every message needs a role: system, user or assistant", "messages")
    return {"role": message["role"], "content": _content(message.get("content"), "messages")}


def _content(content: object, param: str) -> str:
    """Either a text or a list of text parts."""
    if isinstance(content, str):
        return _encodable(content, param)
    parts = content if isinstance(content, list) else [None]
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise BadRequest("content must be text", param)
    return _encodable("".join(text for text in texts if text), param)


def _encodable(text: str, param: str) -> str:
    """JSON can spell half of a surrogate pair, which is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{param} is not valid Unicode", param) from None
    return text


def _draft(fields: _Fields, tokens: Tokens) -> list[int]:
    prediction = fields.get("prediction")
    if prediction is None:
        return []
    if not isinstance(prediction, dict) or prediction.get("type") != "content":
        raise BadRequest('prediction must be {"type": "content", "content": …}', "prediction")
    return tokens.encode(_content(prediction.get("content"), "prediction"))


def _stop(fields: _Fields) -> tuple[str, ...]:
    stop = fields.get("stop")
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > 4 or not all(isinstance(text, str) and text for text in stops):
        raise BadRequest("stop must be a text or a list of up to 4 texts, none of them empty", "stop")
    return tuple(stops)


def _include_usage(fields: _Fields) -> bool:
    options = fields.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict) or not isinstance(options.get("include_usage", False), bool):
        raise BadRequest("stream_options must be an object", "stream_options")
    return bool(options.get("include_usage"))


class Answer:
    """One answer being generated: turns the engine's ids into text, chunks and usage."""

    def __init__(self, call: Call, tokens: Tokens) -> None:
        self._call = call
        self._text = tokens.stream(call.stop)
        self._parts: list[str] = []
        self._ids: list[int] = []
        self.finish: str | None = None
        prefix, kind = ("chatcmpl", "chat.completion") if call.chat else ("cmpl", "text_completion")
        self._chunk_kind = "chat.completion.chunk" if call.chat else "text_completion"
        name, created = f"{prefix}-{uuid.uuid4().hex}", int(time.time())
        self._head = {"id": name, "object": kind, "created": created, "model": call.model}

    def push(self, ids: Sequence[int], finish: str | None) -> str:
        """Take the next ids; the new text is returned, and `finish` tells whether the answer is complete."""
        text = self._text.push(ids, last=finish is not None)
        self._ids += ids
        self._parts.append(text)
        self.finish = "stop" if self._text.stopped else finish
        return text

    def chunk(self, ids: Sequence[int], text: str) -> bytes:
        if self.finish == "error":
            return sse(error_body("the engine failed on this request", 500))
        first = len(self._ids) == len(ids)
        choice: dict[str, object] = {"index": 0, "finish_reason": self.finish, "logprobs": None}
        if self._call.chat:
            choice["delta"] = {"role": "assistant", "content": text} if first else {"content": text}
        else:
            choice["text"] = text
        if self._call.return_token_ids:
            choice["token_ids"] = list(ids)
        return sse({**self._head, "object": self._chunk_kind, "choices": [choice]})

    def end(self) -> bytes:
        """What follows the last chunk of a stream."""
        done = b"data: [DONE]\n\n"
        if not self._call.include_usage:
            return done
        return sse({**self._head, "object": self._chunk_kind, "choices": [], "usage": self._usage()}) + done

    def whole(self) -> dict[str, object]:
        """The reply to a call without streaming."""
        text = "".join(self._parts)
        choice: dict[str, object] = {"index": 0, "finish_reason": self.finish, "logprobs": None}
        if self._call.chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        if self._call.return_token_ids:
            choice["token_ids"] = self._ids
        return {**self._head, "choices": [choice], "usage": self._usage()}

    def _usage(self) -> dict[str, int]:
        prompt, completion = len(self._call.request.prompt_ids), len(self._ids)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def sse(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def error_body(message: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, object]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
