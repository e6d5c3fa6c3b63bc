"""Google's wire in front of a brain of the fake language model: what gemini needs of it, and no more."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.fakes.llm import Request, Turn

Brain = Callable[[Request], Turn]


class FakeGemini:
    """`with FakeGemini(brain) as server:` answers at `server.url`."""

    def __init__(self, brain: Brain) -> None:
        self.brain = brain
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def turn(self, headers: dict[str, str], body: dict[str, Any]) -> Turn:
        with self._lock:
            request = Request("chat", headers, _as_chat(body), len(self.requests))
            self.requests.append(request)
            return self.brain(request)


def _as_chat(body: dict[str, Any]) -> dict[str, Any]:
    """The request as chat completions would have it, so that every brain can read it."""
    system = "\n".join(part["text"] for part in body.get("systemInstruction", {}).get("parts", ()))
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
    for content in body["contents"]:
        for part in content["parts"]:
            if "functionCall" in part:
                messages.append({"role": "assistant", "content": ""})
            elif "functionResponse" in part:
                answer = part["functionResponse"]["response"]
                messages.append({"role": "tool", "content": json.dumps(answer)})
            elif "text" in part and not part.get("thought"):
                role = "assistant" if content["role"] == "model" else "user"
                messages.append({"role": role, "content": part["text"]})
    tools = [
        {"type": "function", "function": declared}
        for group in body.get("tools", ())
        for declared in group.get("functionDeclarations", ())
    ]
    return {"messages": messages, "tools": tools}


def _as_google(turn: Turn) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"text": turn.text}] if turn.text else []
    parts += [{"functionCall": {"name": call.name, "args": call.arguments}} for call in turn.calls]
    usage = {
        "promptTokenCount": turn.tokens["input"] + turn.tokens["cache_read"],
        "cachedContentTokenCount": turn.tokens["cache_read"],
        "candidatesTokenCount": turn.tokens["output"] - turn.tokens["reasoning"],
        "thoughtsTokenCount": turn.tokens["reasoning"],
    }
    usage["totalTokenCount"] = usage["promptTokenCount"] + turn.tokens["output"]
    candidate = {"content": {"role": "model", "parts": parts or [{"text": ""}]}, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "fake"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fake: FakeGemini

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        method = self.path.split("?")[0].rpartition(":")[2]
        if method == "countTokens":
            self._send(json.dumps({"totalTokens": 100}), "application/json")
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = json.dumps(_as_google(self.fake.turn(headers, body)))
        if method == "streamGenerateContent":
            self._send(f"data: {answer}\r\n\r\n", "text/event-stream")
        else:
            self._send(answer, "application/json")

    def _send(self, text: str, kind: str) -> None:
        data = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
