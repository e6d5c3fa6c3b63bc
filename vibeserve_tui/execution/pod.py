"""A pod: one network of its own, with boxes in it that talk over its loopback.

The server under test and its load generator are two boxes of one pod: neither sees the other's
processes or files, no other process of the machine reaches their port, and neither reaches out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Collection
from pathlib import Path

from vibeserve_tui.errors import SandboxError
from vibeserve_tui.execution import listener, process
from vibeserve_tui.execution.box import BoxResult, BoxSpec, Listener, ProcessInfo, Usage
from vibeserve_tui.execution.connection import Connection
from vibeserve_tui.execution.process import Conversation, Place, Process
from vibeserve_tui.execution.wire import Act, BoxOp, ClosePod, Reply

HOST = "127.0.0.1"
LOOKS = 20


class Pod:
    def __init__(self, connection: Connection, number: int, port: int) -> None:
        self._connection = connection
        self._number = number
        self.is_apart = not connection.report.tier.is_beside_host
        """In a network of its own."""
        self._boxes: dict[str, int] = {}
        self.host = HOST
        self.port = port
        """8000 in a network of its own, else one of the host's that was free."""
        ours = cores_of_this_process()
        self.server_cores, self.client_cores = split_cores(ours)
        self.other_cores = frozenset(sorted(ours)[-len(self.server_cores) :])
        """As many as the server's, and as far from them as there are: for a server that starts beside another one."""

    async def start(self, name: str, spec: BoxSpec) -> Process:
        """A box that runs until it ends or the pod closes."""
        return await process.start(self._place(name), spec)

    async def run(self, name: str, spec: BoxSpec, *, stdin: bytes = b"", timeout_s: float) -> BoxResult:
        """A box that is awaited, and killed when the caller is cancelled."""
        return await process.run(self._place(name), spec, stdin, timeout_s)

    async def converse(self, name: str, spec: BoxSpec, *, longest_line: int) -> Conversation:
        """A box that is talked to over its stdin and stdout."""
        return await process.converse(self._place(name), spec, longest_line)

    async def listen(self) -> socket.socket:
        """A socket of ours that only the pod's boxes reach, by its loopback."""
        # In a network of its own the pod's port stays free for whoever serves there.
        return await listener.handed_out(self._place("listener"), 0 if self.is_apart else self.port)

    async def move(self, name: str, cores: frozenset[int]) -> None:
        """All threads of the box to these cores; on macOS threads go where the system wants them."""
        if sys.platform != "linux":
            return
        pids = [one.pid for one in await self.processes(name)]
        await asyncio.to_thread(_move, pids, cores)

    async def suspend(self, name: str) -> None:
        """Stop every process of the box; it uses no CPU until resumed."""
        await self._ask("suspend", name)

    async def resume(self, name: str) -> None:
        await self._ask("resume", name)

    async def terminate(self, name: str) -> None:
        """SIGTERM to the command alone: a request, unlike closing the pod."""
        await self._ask("terminate", name)

    async def usage(self, name: str) -> Usage:
        reply = await self._ask("usage", name)
        return Usage(**reply["usage"])

    async def processes(self, name: str) -> tuple[ProcessInfo, ...]:
        """The command first, then all below it."""
        reply = await self._ask("processes", name)
        return tuple(ProcessInfo(**one) for one in reply["processes"])

    async def listening(self, name: str) -> tuple[Listener, ...]:
        reply = await self._ask("listeners", name)
        return tuple(Listener(**one) for one in reply["listeners"])

    async def close(self) -> None:
        """Kill all boxes of the pod; returns when nothing of them is left."""
        await self._connection.request(ClosePod(op="close_pod", id=self._connection.number(), pod=self._number))

    def _place(self, name: str) -> Place:
        box = self._boxes[name] = self._connection.number()
        return Place(self._connection, box, self._number)

    async def _ask(self, op: BoxOp, name: str) -> Reply:
        request = Act(op=op, id=self._connection.number(), box=self._boxes[name], why="")
        reply = await self._connection.request(request)
        if reply.get("over"):
            raise SandboxError("has ended", where=f"box {name!r}")
        return reply


def cores_of_this_process() -> frozenset[int]:
    if sys.platform == "linux":
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _move(pids: Collection[int], cores: frozenset[int]) -> None:
    """A thread that is born meanwhile has the cores of its maker: look until all are where they belong."""
    for _ in range(LOOKS):
        strays = [tid for pid in pids for tid in _threads(pid) if _moved(tid, cores)]
        if not strays:
            return
    raise SandboxError("its threads do not stay on the cores that they are put on", where=f"process {min(pids)}")


def _threads(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return []


def _moved(tid: int, cores: frozenset[int]) -> bool:
    """Whether it had to be moved; one that has ended need not."""
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "linux" and os.sched_getaffinity(tid) != cores:
            os.sched_setaffinity(tid, cores)
            return True
    return False


def split_cores(available: Collection[int]) -> tuple[frozenset[int], frozenset[int]]:
    """For the server all but the last core, for the load generator the last; one core serves both."""
    ordered = sorted(available)
    return frozenset(ordered[:-1] or ordered), frozenset(ordered[-1:])
