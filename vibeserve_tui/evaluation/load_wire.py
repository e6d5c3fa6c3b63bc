"""HTTP/1.1 over raw asyncio: keep-alive, chunked replies, one time stamp per read.

Within the window a read costs its framing and two appends; nothing is parsed as JSON or even
split into events here. No reply is ever asked for twice: a failed call is a result.
"""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import dataclass, field
from time import monotonic

from vibeserve_tui.evaluation.load_report import Fault

MAX_HEAD_BYTES = READ_BYTES = 64 << 10
MAX_IDLE_S = 2.0  # servers hang up on idle connections (uvicorn after 5 s); racing with that would look like a fault


class HttpSyntaxError(Exception):
    """The peer does not speak HTTP/1.1."""


@dataclass(slots=True)
class Reply:
    """One reply as it came: `pieces[i]` of the body was read at `stamps[i]` (monotonic seconds)."""

    t_sched: float
    t_sent: float
    max_bytes: int
    cancel_after: int | None = None
    t_end: float | None = None
    fault: Fault | None = None
    detail: str = ""
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    stamps: array[float] = field(default_factory=lambda: array("d"))
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    reads: int = 0

    def fail(self, fault: Fault, detail: str = "") -> None:
        self.fault, self.detail, self.t_end = fault, detail, monotonic()


class ReplyDecoder:
    """Takes the reply's bytes as they come and gives back its body: by length, chunks or close."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.complete = False
        self.until_close = False
        self._held = b""  # a head or a chunk-size line that has not ended yet
        self._closes = False  # once it is complete
        self._left: int | None = None  # bytes of the body, by Content-Length
        self._in_chunk = 0  # bytes of this chunk and the line break behind it
        self._in_trailer = False

    @property
    def keeps_alive(self) -> bool:
        return self.complete and not self.until_close and not self._closes

    def feed(self, data: bytes) -> bytes:
        """The part of the body within `data`."""
        if self.status is None:
            data = self._read_head(data)
            if self.status is None:
                return b""
        if self.until_close:
            return data
        if self._left is not None:
            return self._take_by_length(data)
        return self._take_by_chunks(data)

    def _read_head(self, data: bytes) -> bytes:
        head, ended, rest = (self._held + data).partition(b"\r\n\r\n")
        if len(head) > MAX_HEAD_BYTES:
            raise HttpSyntaxError("the head does not end")
        if not ended:
            self._held = head
            return b""
        self._held = b""
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, _, status = status_line.partition(" ")
        if not version.startswith("HTTP/1.") or not status[:3].isdecimal():
            raise HttpSyntaxError(f"no status line: {status_line[:60]!r}")
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise HttpSyntaxError(f"no header: {line[:60]!r}")
            self.headers[name.strip().lower()] = value.strip()
        self.status = int(status[:3])
        wishes = {wish.strip() for wish in self.headers.get("connection", "").lower().split(",")}
        self._closes = "close" in wishes or (version == "HTTP/1.0" and "keep-alive" not in wishes)
        self._choose_framing()
        return rest

    def _choose_framing(self) -> None:
        length = self.headers.get("content-length")
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            return
        if length is None:
            self.until_close = True
        elif length.isdecimal():
            self._left = int(length)
            self.complete = self._left == 0
        else:
            raise HttpSyntaxError(f"Content-Length {length[:60]!r}")

    def _take_by_length(self, data: bytes) -> bytes:
        assert self._left is not None
        if len(data) > self._left:
            raise HttpSyntaxError("bytes behind the end of the reply")
        self._left -= len(data)
        self.complete = self._left == 0
        return data

    def _take_by_chunks(self, data: bytes) -> bytes:
        body = []
        at, end = 0, len(data)
        while at < end:
            if self.complete:
                raise HttpSyntaxError("bytes behind the end of the reply")
            if self._in_chunk:
                taken = min(self._in_chunk, end - at)
                payload = min(max(self._in_chunk - 2, 0), taken)
                body.append(data[at : at + payload])
                self._in_chunk -= taken
                at += taken
                continue
            line_end = data.find(b"\n", at)
            if line_end < 0:
                self._hold(data[at:])
                break
            self._read_chunk_line(self._held + data[at:line_end])
            self._held = b""
            at = line_end + 1
        return body[0] if len(body) == 1 else b"".join(body)

    def _hold(self, line: bytes) -> None:
        self._held += line
        if len(self._held) > MAX_HEAD_BYTES:
            raise HttpSyntaxError("a chunk-size line does not end")

    def _read_chunk_line(self, line: bytes) -> None:
        if self._in_trailer:
            self.complete = not line.strip()
            return
        digits = line.partition(b";")[0].strip()
        try:
            size = int(digits, 16)
        except ValueError as error:
            raise HttpSyntaxError(f"no chunk size: {line[:60]!r}") from error
        if size < 0:
            raise HttpSyntaxError(f"no chunk size: {line[:60]!r}")
        self._in_trailer = size == 0
        self._in_chunk = size + 2 if size else 0


class Connection(asyncio.BufferedProtocol):
    """One connection; at most one exchange at a time."""

    _read = memoryview(bytearray(READ_BYTES))
    """Of all connections, and copied at once: a plain protocol gets 256 KiB made for each read, whatever it brings."""

    def __init__(self) -> None:
        self.idle_since = monotonic()
        self.usable = False
        self._transport: asyncio.Transport | None = None
        self._reply: Reply | None = None
        self._decoder = ReplyDecoder()
        self._events = 0
        self._ended: asyncio.Future[None] | None = None

    async def exchange(self, request: bytes, reply: Reply) -> None:
        """Send and wait for the end of the reply, which is a fault of `reply` if it is a bad one."""
        assert self._transport is not None
        self._reply, self._decoder, self._events = reply, ReplyDecoder(), 0
        self._ended = asyncio.get_running_loop().create_future()
        if self.usable:
            self._transport.write(request)
        else:
            self._fail(Fault.DROPPED)
        try:
            await self._ended
        finally:
            self._reply = None
            reply.status, reply.headers = self._decoder.status, self._decoder.headers
            self.idle_since = monotonic()
            if not self._decoder.keeps_alive:
                self.abort()

    def abort(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.usable = True

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  what is left over is read next
        return self._read

    def buffer_updated(self, nbytes: int) -> None:
        now = monotonic()
        data = bytes(self._read[:nbytes])
        reply = self._reply
        if reply is None:
            self.abort()
            return
        reply.reads += 1
        try:
            body = self._decoder.feed(data)
        except HttpSyntaxError as error:
            self._fail(Fault.BAD_HTTP, str(error))
            return
        if body:
            reply.stamps.append(now)
            reply.pieces.append(body)
            reply.size += len(body)
        if self._decoder.complete:
            self._end(now)
        elif reply.size > reply.max_bytes:
            self._fail(Fault.TOO_LARGE, f"more than {reply.max_bytes} bytes")
        elif reply.cancel_after is not None:
            self._events += body.count(b"data:")
            if self._events >= reply.cancel_after:
                self._fail(Fault.CANCELLED)

    def eof_received(self) -> None:
        if self._reply is None:
            self.usable = False
        elif self._decoder.until_close and self._decoder.status is not None:
            self._decoder.complete = True
            self._end(monotonic())
        else:
            self._fail(Fault.EARLY_CLOSE if self._reply.reads else Fault.DROPPED)

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._reply is not None:
            self._fail(Fault.RESET, "" if exc is None else str(exc))

    def _fail(self, fault: Fault, detail: str = "") -> None:
        reply = self._reply
        if reply is not None and reply.t_end is None:
            reply.fail(fault, detail)
            self._end(reply.t_end)

    def _end(self, now: float | None) -> None:
        reply, self._reply = self._reply, None
        if reply is None or self._ended is None:
            return
        reply.t_end = now
        if not self._ended.done():
            self._ended.set_result(None)


class Connections:
    """Idle connections, the last used first; as many as are needed, never fewer."""

    def __init__(self, host: str, port: int) -> None:
        self.opened = 0
        self._host = host
        self._port = port
        self._idle: list[Connection] = []

    async def open(self, count: int) -> None:
        """Connect ahead of the window. A server that refuses now is found out by the calls."""
        opening = (self._connect() for _ in range(count))
        for connection in await asyncio.gather(*opening, return_exceptions=True):
            if isinstance(connection, Connection):
                self._idle.append(connection)

    async def take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and monotonic() - connection.idle_since < MAX_IDLE_S:
                return connection
            connection.abort()
        return await self._connect()

    def put_back(self, connection: Connection) -> None:
        if connection.usable:
            self._idle.append(connection)

    def close(self) -> None:
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, self._host, self._port)
        self.opened += 1
        return connection
