"""A scripted language model behind real HTTP, on three wires: Anthropic Messages, OpenAI Responses and chat completions.

A brain decides each turn: a list of turns, or a function of the request. A turn also carries what shall go wrong with
it. The server keeps its own books, as a real one would: what it delivered in full, and what broke off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

USAGE = {"input": 100, "output": 20, "cache_read": 0, "cache_write": 0, "reasoning": 0}
ENDPOINTS = {"/messages": "messages", "/responses": "responses", "/chat/completions": "chat"}


@dataclass(frozen=True)
class Call:
    name: str
    arguments: dict[str, Any] | str
    """Text goes over the wire as it is, however broken."""


@dataclass(frozen=True)
class Turn:
    text: str = ""
    calls: Sequence[Call] = ()
    stop: str = ""
    """end, calls, length, refusal, context, pause; empty = what the calls suggest."""
    usage: dict[str, int] = field(default_factory=dict)
    counts: bool = True
    """False leaves the usage out, as small servers do."""
    thinking: str = ""
    finish: str = ""
    """On chat, the finish_reason as it is."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    """Body of an error: {type, code, message} without any wire's wrapping."""
    drop_after: int | None = None
    """The connection is reset after so many events."""
    error_after: int | None = None
    stall_after: int | None = None
    garbage_after: int | None = None
    nonsense_after: int | None = None
    """Valid JSON of the right type in which everything that matters is missing."""
    ends_after: int | None = None
    """The stream ends properly, but too early."""
    drip_s: float = 0.0
    """Before each event."""

    @property
    def tokens(self) -> dict[str, int]:
        return USAGE | self.usage

    @property
    def ending(self) -> str:
        return self.stop or ("calls" if self.calls else "end")


@dataclass(frozen=True)
class Request:
    """One request for a turn, in neutral terms as far as brains need them."""

    wire: str
    headers: dict[str, str]
    body: dict[str, Any]
    n: int

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.body, sort_keys=True).encode()).hexdigest()

    @property
    def system(self) -> str:
        if self.wire == "messages":
            return _text(self.body.get("system", ""))
        if self.wire == "responses":
            return str(self.body.get("instructions") or "")
        return "\n".join(_text(m["content"]) for m in self.body["messages"] if m["role"] in ("system", "developer"))

    @property
    def entries(self) -> list[dict[str, Any]]:
        return list(self.body["input"] if self.wire == "responses" else self.body["messages"])

    @property
    def prompt(self) -> str:
        """All that a user said, tool results left out."""
        return "\n".join(
            _text(entry["content"]) for entry in self.entries if entry.get("role") == "user" and not _results_in(entry)
        )

    @property
    def results(self) -> list[list[str]]:
        """What the calls came to: one list for each turn that made any."""
        turns: list[list[str]] = []
        going_on = False
        for entry in self.entries:
            found = _results_in(entry)
            if found and going_on:
                turns[-1] += found
            elif found:
                turns.append(found)
            going_on = bool(found)
        return turns

    @property
    def tools(self) -> list[str]:
        return [tool["function"]["name"] if "function" in tool else tool.get("name", "") for tool in self.body["tools"]]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content or ())


def _results_in(entry: dict[str, Any]) -> list[str]:
    if entry.get("type") == "function_call_output":
        return [_text(entry["output"])]
    if entry.get("role") == "tool":
        return [_text(entry["content"])]
    content = entry.get("content")
    blocks = content if isinstance(content, list) else []
    return [_text(block.get("content", "")) for block in blocks if block.get("type") == "tool_result"]


Brain = Callable[[Request], Turn]


class FakeLLM:
    """`with FakeLLM(brain) as server:` answers at `server.url` (Messages) and `server.url + "/v1"` (OpenAI)."""

    def __init__(self, brain: Brain | Sequence[Turn], *, key: str = "", models: Sequence[str] = ()) -> None:
        self.key, self.models = key, models
        """What it insists on, if anything."""
        self._script: Iterator[Turn] = iter(()) if callable(brain) else iter(brain)
        self._brain = brain if callable(brain) else self._next_of_script
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.requests: list[Request] = []
        self.delivered: list[tuple[Request, Turn]] = []
        """Turns that the client got to the last byte: what a real server would bill."""
        self.broken: list[tuple[Request, Turn]] = []
        """Turns that began and broke off."""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def _next_of_script(self, request: Request) -> Turn:
        return next(self._script, Turn(text="(the script is over)"))

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def billed(self) -> dict[str, int]:
        """Tokens of the delivered turns, by bucket."""
        return {name: sum(turn.tokens[name] for _, turn in self.delivered) for name in USAGE}

    @property
    def paid_twice(self) -> list[str]:
        """Digests of requests that were delivered more than once: work that was done and paid again."""
        digests = [request.digest for request, _ in self.delivered]
        return sorted({digest for digest in digests if digests.count(digest) > 1})

    # ---- one request --------------------------------------------------------------------------------------------

    def take(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[Request, Turn] | None:
        wire = next((wire for end, wire in ENDPOINTS.items() if path.endswith(end)), None)
        if wire is None:
            return None
        with self._lock:
            request = Request(wire, headers, body, len(self.requests))
            self.requests.append(request)
            return request, self._brain(request)

    def stream(self, out: _Handler, request: Request, turn: Turn) -> None:
        """The turn's events, and what goes wrong among them."""
        from tests.fakes import llm_wires

        faults: dict[int | None, Callable[[], object]] = {
            turn.drop_after: out.reset,
            turn.stall_after: self._stall,
            turn.garbage_after: lambda: out.chunk("event: message_delta\ndata: {not json\n\n"),
            turn.nonsense_after: lambda: out.chunk(llm_wires.NONSENSE[request.wire]),
            turn.error_after: lambda: out.chunk(llm_wires.error_event(request.wire, turn)),
            turn.ends_after: lambda: None,
        }
        with contextlib.suppress(OSError):  # the client went away, or we hung up on it
            for place, event in enumerate(llm_wires.events(request, turn)):
                if place in faults:
                    self.broken.append((request, turn))
                    faults[place]()
                    break
                self._closing.wait(turn.drip_s)
                out.chunk(event)
            else:
                self.delivered.append((request, turn))
            out.end()

    def _stall(self) -> None:
        self._closing.wait(30)
        raise TimeoutError


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each event waits 40 ms for the one before it
    fake: FakeLLM

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        if self._is_locked_out():
            return
        path, known = self.path.split("?")[0], self.fake.models
        _, asked, name = path.rpartition("/models/")
        if path.startswith("/v2/") or (asked and known and name not in known):
            self.whole(404, {"type": "error", "error": {"type": "not_found_error", "message": name}})
            return
        model = {"object": "model", "type": "model", "display_name": "Fake", "created": 1, "owned_by": "us"}
        data = [model | {"id": one, "created_at": "2026-01-01T00:00:00Z"} for one in known or ("fake-1",)]
        listing = {"object": "list", "data": data, "has_more": False, "first_id": None, "last_id": None}
        # Asked for one or for all, by clients that read another field each: the answer has all of them.
        self.whole(200, data[0] | listing | {"models": []})

    def _is_locked_out(self) -> bool:
        given = self.headers.get("authorization", "").removeprefix("Bearer ")
        if not self.fake.key or self.fake.key in (given, self.headers.get("x-api-key")):
            return False
        message = f"Incorrect API key provided: {given}"
        self.whole(401, {"type": "error", "error": {"type": "authentication_error", "message": message}})
        return True

    def do_POST(self) -> None:
        raw = self._body()
        if self._is_locked_out():
            return
        path, headers = self.path.split("?")[0], {name.lower(): value for name, value in self.headers.items()}
        if path.endswith(("/messages/count_tokens", "/responses/input_tokens")):
            self.whole(200, {"object": "response.input_tokens", "input_tokens": max(1, len(raw) // 4)})
            return
        taken = self.fake.take(path, headers, _json(raw))
        if taken is None:
            self.whole(404, {"type": "error", "error": {"type": "not_found_error", "message": path}})
            return
        request, turn = taken
        if turn.status != 200:
            error = {"type": "api_error", "code": None, "param": None, "message": f"fake {turn.status}"} | (
                turn.error or {}
            )
            self.whole(turn.status, {"type": "error", "error": error, "request_id": "req_1"}, turn.headers)
        elif not request.body.get("stream"):
            from tests.fakes import llm_wires

            self.whole(200, llm_wires.whole(request, turn), turn.headers)
            self.fake.delivered.append((request, turn))
        else:
            self._begin_stream(turn)
            self.fake.stream(self, request, turn)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        raw = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            raw += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return raw

    def _begin_stream(self, turn: Turn) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        for name, value in turn.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def whole(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def reset(self) -> None:
        """A hard end: the client sees ECONNRESET, not a tidy close."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        raise ConnectionResetError


def _handler(fake: FakeLLM) -> type[_Handler]:
    return type("Handler", (_Handler,), {"fake": fake})


def _json(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw or b"{}")
    except ValueError:  # one of the coding CLIs compresses its requests
        return {}
    return body if isinstance(body, dict) else {}
