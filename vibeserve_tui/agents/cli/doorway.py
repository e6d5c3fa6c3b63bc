"""The only way out of a CLI's box, which has no network: one port of its own loopback, and behind it the engine.

What comes in there is passed on to the tool server. CONNECT leads to the hosts that are listed, on the port of HTTPS, and
to nobody else; whom the box asked for in vain is remembered.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

HTTPS = 443
AT_ONCE = 64
"""Connections; what a CLI runs could open so many that the engine has no file left to write to."""
REMEMBERED, LONGEST_NAME = 32, 253
HEAD_S = 60.0
"""Until a connection has said what it wants; programs open some before they need them."""
CONNECT_S = 10.0
_PIECE = 1 << 16
_END = b"\r\n\r\n"
_UNFINISHED = (asyncio.IncompleteReadError, asyncio.LimitOverrunError)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Doorway:
    def __init__(self, inside: tuple[str, int], hosts: frozenset[str]) -> None:
        self._inside = inside
        self._hosts = hosts
        self.refused: set[str] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection out of the box, until either side has ended it."""
        with contextlib.closing(writer), contextlib.suppress(OSError, *_UNFINISHED):
            async with asyncio.timeout(HEAD_S):
                first = await reader.readuntil(b"\n")
            if not first.startswith(b"CONNECT "):
                await _pass_on((reader, writer), await asyncio.open_connection(*self._inside), first)
                return
            async with asyncio.timeout(HEAD_S):
                while (await reader.readuntil(b"\n")).strip():
                    pass
            host, _, port = b"".join(first.split()[1:2]).decode(errors="replace").lower().rpartition(":")
            if host not in self._hosts or port != str(HTTPS):
                if len(self.refused) < REMEMBERED:
                    self.refused.add(host[:LONGEST_NAME])
                writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            elif (other := await _reached(host)) is None:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            else:
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                await _pass_on((reader, writer), other)


@asynccontextmanager
async def doorway(listener: socket.socket, inside: tuple[str, int], hosts: frozenset[str]) -> AsyncIterator[Doorway]:
    """Answers on the listener, which is a box's, until the context ends."""
    door = Doorway(inside, hosts)
    answering = set[asyncio.Task[None]]()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(answering) >= AT_ONCE:
            writer.close()
            return
        task = asyncio.create_task(door.answer(reader, writer))
        answering.add(task)
        task.add_done_callback(answering.discard)

    server = await asyncio.start_server(begin, sock=listener)
    try:
        yield door
    finally:
        server.close()
        for task in list(answering):
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)


async def _reached(host: str) -> Streams | None:
    with contextlib.suppress(OSError, *_UNFINISHED):
        async with asyncio.timeout(CONNECT_S):
            return await _connect(host)
    return None


async def _connect(host: str) -> Streams:
    """To its HTTPS port, by the operator's proxy where there is one."""
    proxy = urllib.request.getproxies().get("https", "")
    if not proxy or urllib.request.proxy_bypass(host):
        return await asyncio.open_connection(host, HTTPS)
    where = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    reader, writer = await asyncio.open_connection(where.hostname, where.port or 80)
    login = ""
    if where.username:
        words = f"{unquote(where.username)}:{unquote(where.password or '')}".encode()
        login = f"Proxy-Authorization: Basic {base64.b64encode(words).decode()}\r\n"
    writer.write(f"CONNECT {host}:{HTTPS} HTTP/1.1\r\nHost: {host}:{HTTPS}\r\n{login}\r\n".encode())
    said = (await reader.readuntil(_END)).split(maxsplit=2)
    if said[1:2] != [b"200"]:
        writer.close()
        raise ConnectionError("the proxy refused")
    return reader, writer


async def _pass_on(box: Streams, other: Streams, first: bytes = b"") -> None:
    """Both ways, each to its end; `first` of what the box said was read already."""
    with contextlib.closing(other[1]):
        other[1].write(first)
        async with asyncio.TaskGroup() as ways:
            ways.create_task(_copy(box[0], other[1]))
            ways.create_task(_copy(other[0], box[1]))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
