"""One boxed command as the engine sees it: started, awaited, its output kept within a cap."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui.errors import SandboxError
from vibeserve_tui.execution.box import BoxResult, BoxSpec, Killed, spec_to_json
from vibeserve_tui.execution.connection import Connection
from vibeserve_tui.execution.wire import Exit, Start

OUTPUT_CAP = 16 << 20
"""Bytes kept of each of stdout and stderr; a box that prints more is killed."""
_TAIL = 4096
_NOT_FOUND = 127
_Stdio = tuple[int, int, int]


class Process:
    """A command that was started; it ends by itself, by `kill`, or with its pod."""

    def __init__(self, connection: Connection, box: int, log: Path | None) -> None:
        self._connection = connection
        self._over = connection.expect_exit(box)
        self._box = box
        self._log = log
        self.pid = 0
        """As the host counts; 0 when it ended before it could be seen."""

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._over.result()["returncode"] if self._over.done() else None

    async def wait(self) -> BoxResult:
        """The result, without output: that went to the log. Raises when the box could not be built."""
        over = await self.exit()
        return _result(over, _tail(self._log) if self._log else b"")

    async def exit(self) -> Exit:
        return await asyncio.shield(self._over)

    async def kill(self, why: Killed = Killed.ASKED) -> None:
        """The whole tree; returns when nothing of it is left."""
        if not self._over.done():
            await self._connection.kill(self._box, why)
            with contextlib.suppress(SandboxError):
                await self.exit()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box is started: under which number, in which pod."""

    connection: Connection
    box: int
    pod: int | None = None


async def start(place: Place, spec: BoxSpec) -> Process:
    """A box that runs until it ends; its output goes to the spec's log, or nowhere."""
    with _file_of(b"") as nothing, _appending(spec.log or Path(os.devnull)) as log:
        return await _start(place, spec, (nothing, log, log))


@dataclass(frozen=True, slots=True)
class Conversation:
    """A running box that is talked to; the end of `replies` means that it ended."""

    process: Process
    replies: asyncio.StreamReader
    requests: asyncio.StreamWriter


async def connected(place: Place, spec: BoxSpec) -> tuple[Process, socket.socket]:
    """A box whose stdin and stdout are one end of a socket pair, and the other end; its stderr goes to the spec's log.

    The pair is connected for good: unlike a listener it leads nowhere else.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs, _appending(spec.log or Path(os.devnull)) as log:
            return await _start(place, spec, (theirs.fileno(), theirs.fileno(), log)), ours
    except BaseException:
        ours.close()
        raise


async def converse(place: Place, spec: BoxSpec, longest_line: int) -> Conversation:
    """A box whose stdin and stdout are streams of ours."""
    process, ours = await connected(place, spec)
    try:
        replies, requests = await asyncio.open_connection(sock=ours, limit=longest_line)
    except BaseException:
        ours.close()
        await process.kill()
        raise
    return Conversation(process, replies, requests)


async def run(place: Place, spec: BoxSpec, stdin: bytes, timeout_s: float) -> BoxResult:
    """One boxed command to its end; whatever happens here, its tree is gone afterwards."""
    with _file_of(stdin) as source, contextlib.closing(_Pipe()) as stdout, contextlib.closing(_Pipe()) as stderr:
        with contextlib.ExitStack() as theirs:
            theirs.callback(stdout.end_writing)
            theirs.callback(stderr.end_writing)
            stdio = (source, stdout.write_end, stderr.write_end)
            if spec.log is not None:
                log = theirs.enter_context(_appending(spec.log))
                stdio = (source, log, log)
            process = await _start(place, spec, stdio, timeout_s)
        try:
            out, err = await asyncio.gather(stdout.read(process), stderr.read(process))
            over = await process.exit()
        finally:
            await process.kill()
    return _result(over, _tail(spec.log) if spec.log else err, out, err)


class _Pipe:
    """An output of a box, read to its end and kept up to the cap."""

    def __init__(self) -> None:
        read_end, self.write_end = os.pipe()
        self._file = open(read_end, "rb", buffering=0)  # noqa: SIM115 - closed by close()

    def end_writing(self) -> None:
        """The box has its own copy; with ours the end would never come."""
        os.close(self.write_end)

    def close(self) -> None:
        self._file.close()

    async def read(self, process: Process) -> bytes:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, self._file)
        kept = bytearray()
        with contextlib.closing(transport):
            while chunk := await reader.read(1 << 16):
                if len(kept) + len(chunk) > OUTPUT_CAP:
                    await process.kill(Killed.OUTPUT)
                kept += chunk[: OUTPUT_CAP - len(kept)]
        return bytes(kept)


async def _start(place: Place, spec: BoxSpec, stdio: _Stdio, timeout_s: float | None = None) -> Process:
    for path in (spec.cwd, *spec.read_only, *spec.writable, *spec.devices):
        if not path.is_absolute() or not path.exists():
            raise SandboxError("to be shown in a box, but it does not exist", where=str(path))
    connection = place.connection
    process = Process(connection, place.box, spec.log)
    request = Start(
        op="start",
        id=connection.number(),
        box=place.box,
        pod=place.pod,
        spec=spec_to_json(spec),
        timeout_s=timeout_s,
    )
    try:
        reply = await connection.request(request, stdio)
    except SandboxError:
        connection.forget_exit(place.box)
        raise
    except asyncio.CancelledError:
        await process.kill()  # it may have been started
        raise
    process.pid = reply["pid"]
    return process


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[int]:
    with open(path, "ab") as file:
        yield file.fileno()


@contextlib.contextmanager
def _file_of(content: bytes) -> Iterator[int]:
    """A read-only descriptor; a file and not a pipe, so nobody has to feed it."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with open(file.name, "rb") as source:
            yield source.fileno()


def _result(over: Exit, said: bytes, stdout: bytes = b"", stderr: bytes = b"") -> BoxResult:
    """`said` is where the reason stands when the command could not be started."""
    returncode = over["returncode"]
    if not over["ran"]:
        lines = over["detail"].splitlines() or said.decode(errors="replace").splitlines() or ["no reason given"]
        if not lines[-1].startswith("bwrap: execvp"):
            raise SandboxError(f"the box could not be built: {lines[-1]}", fix="see `vibeserve doctor`")
        returncode = _NOT_FOUND
    return BoxResult(
        returncode=returncode,
        stdout=stdout,
        stderr=stderr,
        wall_s=over["wall_s"],
        cpu_s=over["cpu_s"],
        peak_rss_mib=over["peak_rss_mib"],
        killed=None if over["killed"] is None else Killed(over["killed"]),
    )


def _tail(path: Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        return file.read()
