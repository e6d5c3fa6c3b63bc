"""The way to the model for a program that shall not know the key.

Its requests pass through here and get the key on the way; what it holds itself is a stand-in, worth nothing elsewhere.
So neither it nor anything that it runs, which may well be a candidate's code, can read the key or take it away.
Requests and replies pass as they are, byte by byte.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx2

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

STAND_IN = "sk-vibeserve-the-key-is-not-here"
_OF_ONE_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"proxy-authorization", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
_KEYS = frozenset((b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"))
_OURS = frozenset((b"host", b"content-length"))
CONNECT_S = 10.0
SILENCE_S = 600.0
"""Of the server; whoever asked is less patient."""


class Gateway:
    def __init__(self, upstream: str, key: str, client: httpx2.AsyncClient) -> None:
        self._upstream = upstream.rstrip("/")
        self._key = key.encode()
        self._client = client

    async def pass_on(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One request to `path` below the server's address, and its reply."""
        query = scope["query_string"].decode("ascii", "replace")
        body = await _body(receive)
        if body is None:
            await _say(send, 413, "the request broke off, or is larger than any sensible one")
            return
        request = self._client.build_request(
            scope["method"],
            self._upstream + path + (f"?{query}" if query else ""),
            headers=[(name, self._with_key(name, value)) for name, value in scope["headers"] if _goes_on(name)],
            content=body,
        )
        try:
            reply = await self._client.send(request, stream=True)
        except httpx2.TransportError as error:
            await _say(send, 502, f"the model's server cannot be reached: {error}")
            return
        headers = [(name, value) for name, value in reply.headers.raw if name.lower() not in _OF_ONE_CONNECTION]
        try:
            await send({"type": "http.response.start", "status": reply.status_code, "headers": headers})
            async with aclosing(_raw(reply)) as chunks:
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await reply.aclose()

    def _with_key(self, name: bytes, value: bytes) -> bytes:
        """Where keys belong, and nowhere else: a server may quote another header in what it answers to the box."""
        return value.replace(STAND_IN.encode(), self._key) if name in _KEYS else value


@asynccontextmanager
async def gateway_to(upstream: str, key: str) -> AsyncGenerator[Gateway]:
    timeout = httpx2.Timeout(SILENCE_S, connect=CONNECT_S)
    async with httpx2.AsyncClient(timeout=timeout, follow_redirects=False) as client:
        yield Gateway(upstream, key, client)


def _goes_on(name: bytes) -> bool:
    return name not in _OF_ONE_CONNECTION and name not in _OURS


async def _body(receive: Receive) -> bytes | None:
    """None when it broke off."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _raw(reply: httpx2.Response) -> AsyncGenerator[bytes]:
    """A reply that breaks off ends here too, and its reader sees that it is not whole."""
    with contextlib.suppress(httpx2.TransportError):
        async for chunk in reply.aiter_raw():
            yield chunk


async def _say(send: Send, status: int, text: str) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text.encode()})
