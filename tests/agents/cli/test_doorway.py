"""A CLI's box has no network: its one port leads to our tools, to the listed hosts of its provider, and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.agents.cli.conftest import Stage
from tests.execution.conftest import launched
from vibeserve_tui.agents.cli import doorway
from vibeserve_tui.agents.protocol import Used
from vibeserve_tui.execution.ladder import Tier

pytest.importorskip("mcp")
pytestmark = pytest.mark.asyncio(loop_scope="session")
HOSTS = frozenset({"provider.example"})
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[int]:
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that it hears, in capitals, once it has heard the end."""
    writer.write((await reader.read()).upper())
    writer.close()


@asynccontextmanager
async def opened(inside: Answer = shout) -> AsyncIterator[tuple[int, doorway.Doorway]]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    async with serving(inside) as behind, doorway.doorway(listener, ("127.0.0.1", behind), HOSTS) as door:
        yield port, door


async def say(port: int, words: bytes) -> bytes:
    """What is answered; nothing where the connection ends before all was heard."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer), contextlib.suppress(ConnectionError):
        writer.write(words)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 30)
    return b""


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whom a connection was asked for; it leads to whoever listens there, which in a test is nobody."""
    asked = []

    async def connect(host: str) -> doorway.Streams:
        asked.append(host)
        raise ConnectionRefusedError

    monkeypatch.setattr(doorway, "_connect", connect)
    return asked


async def test_what_is_no_connect_goes_to_our_tools_byte_by_byte() -> None:
    async with opened() as (port, _):
        assert await say(port, b"POST /tools HTTP/1.1\r\n\r\n" + b"x" * 200_000) == (
            b"POST /TOOLS HTTP/1.1\r\n\r\n" + b"X" * 200_000
        )


async def test_more_connections_than_any_program_needs_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a CLI runs could else take every file that the engine may open."""
    monkeypatch.setattr(doorway, "AT_ONCE", 3)
    async with opened() as (port, _):
        *held, (turned_away, one_more) = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        assert await asyncio.wait_for(turned_away.read(), 30) == b""
        for _, writer in held:
            writer.write(b"hello\n")
            writer.write_eof()
        assert [await asyncio.wait_for(reader.read(), 30) for reader, _ in held] == [b"HELLO\n"] * 3
        for _, writer in held:
            writer.close()
        one_more.close()


async def test_a_listed_host_is_spoken_to_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(shout) as provider, opened() as (port, _):
        monkeypatch.setattr(doorway, "_connect", lambda _: asyncio.open_connection("127.0.0.1", provider))
        heard = await say(port, b"CONNECT Provider.example:443 HTTP/1.1\r\nHost: x\r\n\r\n" + b"hello")
    assert heard == b"HTTP/1.1 200 Connected\r\n\r\nHELLO"


@pytest.mark.parametrize(
    "target",
    ["other.example:443", "provider.example:80", "provider.example.:443", "127.0.0.1:443", "provider.example", ""],
)
async def test_nobody_else_is_and_it_is_remembered_who_was_asked_for(provider: list[str], target: str) -> None:
    async with opened() as (port, door):
        heard = await say(port, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
    assert heard.startswith(b"HTTP/1.1 403")
    assert provider == []
    assert len(door.refused) == 1


async def test_a_host_that_cannot_be_reached_and_words_that_make_no_sense_end_the_connection(
    provider: list[str],
) -> None:
    async with opened() as (port, _):
        assert (await say(port, b"CONNECT provider.example:443 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 502")
        assert await say(port, b"") == b""
        assert await say(port, b"\xff" * 1_000_000) == b""
        assert await say(port, b"CONNECT provider.example:443 HTTP/1.1\r\n" + b"a" * 1_000_000) == b""
        assert (await say(port, b"CONNECT \xff:443\r\n\r\n")).startswith(b"HTTP/1.1 403")


async def test_behind_a_proxy_of_the_operator_its_name_and_password_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await shout(reader, writer)

    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with serving(proxy) as there, opened() as (port, _):
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:p%40ss@127.0.0.1:{there}")
        heard = await say(port, b"CONNECT provider.example:443 HTTP/1.1\r\n\r\nhello")
    assert heard == b"HTTP/1.1 200 Connected\r\n\r\nHELLO"
    assert said[0].startswith(b"CONNECT provider.example:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==\r\n" in said[0]


# ---- a whole conversation -----------------------------------------------------------------------------------------

LOOK_AROUND = """
import json, os, socket, sys, urllib.parse
door = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])
found = {}
for host in ("api.anthropic.com:443", "api.anthropic.com:80", "example.com:443"):
    with socket.create_connection((door.hostname, door.port), timeout=5) as way:
        way.sendall(f"CONNECT {host} HTTP/1.1\\r\\n\\r\\n".encode())
        found[host] = way.recv(100).decode().split()[1]
for name, address in {"the host": ("127.0.0.1", int(sys.argv[1])), "the internet": ("192.0.2.1", 443)}.items():
    try:
        socket.create_connection(address, timeout=2)
    except OSError as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""


@pytest.mark.parametrize("tier", [Tier.BWRAP, pytest.param(Tier.UNSHARE, marks=pytest.mark.slow), Tier.LANDLOCK])
async def test_with_a_login_the_providers_hosts_can_be_reached_and_nobody_else(
    stage: Stage, home: Path, provider: list[str], tier: Tier
) -> None:
    stage.settings = {"api_key_env": ""}
    (home / ".claude").mkdir()
    (home / ".claude" / ".credentials.json").write_text("{}")
    (stage.workspace / "look.py").write_text(LOOK_AROUND)
    async with launched(tier) as stage.launcher:
        with socket.create_server(("127.0.0.1", 0)) as host:
            look = ["run", f"{sys.executable} -I {stage.workspace}/look.py {host.getsockname()[1]}"]
            events, result = await stage.ask("claude", look, ["end", "401"])
    (call,) = [event.call for event in events if isinstance(event, Used)]
    found = json.loads(call.output)
    refused = {"ConnectionRefusedError", "OSError", "PermissionError"}
    assert {found.pop("the host"), found.pop("the internet")} <= refused
    assert found == {"api.anthropic.com:443": "502", "api.anthropic.com:80": "403", "example.com:443": "403"}
    assert provider == ["api.anthropic.com"]
    assert "its box lets it not reach api.anthropic.com, example.com" in result.reason
