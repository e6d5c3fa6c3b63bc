"""The way to the model: byte by byte, with the key instead of its stand-in, and for nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from tests.fakes.llm import FakeLLM, Turn
from vibeserve_tui.agents.cli import tool_server
from vibeserve_tui.agents.cli.gateway import STAND_IN, gateway_to
from vibeserve_tui.agents.cli.tool_server import Desk, serve_http

pytest.importorskip("mcp")
KEY = "sk-canary-0123456789abcdef"
ASK = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "tools": [], "stream": True}


@asynccontextmanager
async def through(upstream: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        gateway_to(upstream, KEY) as gateway,
        serve_http(Desk([]), gateway) as address,
        httpx2.AsyncClient(base_url=address.model, headers={"Authorization": f"Bearer {STAND_IN}"}) as client,
    ):
        yield client


async def test_a_stream_passes_as_it_is_and_the_key_is_put_in() -> None:
    with FakeLLM([Turn(text="hello yourself")] * 2) as server:
        direct = httpx2.post(f"{server.url}/v1/chat/completions", json=ASK)
        async with through(f"{server.url}/v1") as client:
            reply = await client.post("/chat/completions", json=ASK)
    assert server.requests[1].headers["authorization"] == f"Bearer {KEY}"
    assert server.requests[1].body == ASK
    assert reply.headers["content-type"] == direct.headers["content-type"]
    assert "hello yourself" in reply.text
    assert reply.text.count("data:") == direct.text.count("data:")


@pytest.mark.parametrize("name", ["x-api-key", "x-goog-api-key"])
async def test_every_kind_of_key_header_is_served(name: str) -> None:
    with FakeLLM([Turn()]) as server:
        async with through(server.url) as client:
            await client.post("/v1/messages?beta=true", json=ASK, headers={name: STAND_IN})
    assert server.requests[0].headers[name] == KEY


async def test_the_key_is_put_nowhere_else() -> None:
    with FakeLLM([Turn()]) as server:
        async with through(server.url) as client:
            asked = {**ASK, "model": STAND_IN}
            await client.post("/v1/messages", json=asked, headers={"anthropic-version": STAND_IN})
    (request,) = server.requests
    assert request.headers["anthropic-version"] == STAND_IN
    assert KEY not in repr(request.body)


async def test_errors_of_the_server_pass_and_a_server_that_is_gone_is_one() -> None:
    with FakeLLM([Turn(status=429, headers={"retry-after": "7"})]) as server:
        async with through(server.url) as client:
            reply = await client.post("/v1/messages", json=ASK)
            assert (reply.status_code, reply.headers["retry-after"]) == (429, "7")
    async with through(server.url) as client:
        reply = await client.post("/v1/messages", json=ASK)
    assert reply.status_code == 502
    assert "cannot be reached" in reply.text


async def test_a_request_that_is_larger_than_any_sensible_one_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_server, "LARGEST_BODY", 1 << 20)
    with FakeLLM([Turn()]) as server:
        async with through(server.url) as client:
            reply = await client.post("/v1/messages", content=bytes(2 << 20))
            assert (reply.status_code, server.requests) == (413, [])
            assert (await client.post("/v1/messages", json=ASK)).status_code == 200


async def test_a_reply_that_breaks_off_breaks_off_here_too() -> None:
    with FakeLLM([Turn(text="a b c d e f g h", drop_after=2)]) as server:
        async with through(server.url) as client:
            reply = await client.post("/v1/messages", json=ASK)
    assert "message_stop" not in reply.text
