"""The engine's hand on its launcher: run a boxed command, open a pod, kill everything.

Start it first, from the main thread, before asyncio and threads; all other methods belong to one
event loop. Cancelling a call kills its tree, and losing the launcher fails every call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from vibeserve_tui.execution import process
from vibeserve_tui.execution.box import BoxResult, BoxSpec, Killed, Limits, Listener, ProcessInfo, Usage
from vibeserve_tui.execution.connection import Connection
from vibeserve_tui.execution.ladder import LADDER, SandboxReport, Tier
from vibeserve_tui.execution.pod import Pod
from vibeserve_tui.execution.process import Conversation, Place, Process
from vibeserve_tui.execution.wire import OpenPod

__all__ = [
    "BoxResult",
    "BoxSpec",
    "Conversation",
    "Killed",
    "Launcher",
    "Limits",
    "Listener",
    "Pod",
    "Process",
    "ProcessInfo",
    "Usage",
]


class Launcher:
    """The only way to run code nobody wrote by hand."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def start(cls, run_id: str, *, tiers: Sequence[Tier] = LADDER) -> Self:
        """Spawn the launcher and try the tiers in order; SandboxError when none holds."""
        return cls(Connection(run_id, tiers))

    @property
    def report(self) -> SandboxReport:
        """Which tier is used, and why not the ones before it."""
        return self._connection.report

    async def run(self, spec: BoxSpec, *, stdin: bytes = b"", timeout_s: float) -> BoxResult:
        """One command in a box without any network (unless trusted); its tree is killed in the end."""
        place = Place(self._connection, self._connection.number())
        return await process.run(place, spec, stdin, timeout_s)

    async def converse(self, spec: BoxSpec, *, longest_line: int) -> Conversation:
        """A box without any network that is talked to over its stdin and stdout, until it ends or is killed."""
        place = Place(self._connection, self._connection.number())
        return await process.converse(place, spec, longest_line)

    async def open_pod(self) -> Pod:
        number = self._connection.number()
        request = OpenPod(op="open_pod", id=self._connection.number(), pod=number)
        reply = await self._connection.request(request)
        return Pod(self._connection, number, reply["port"])

    async def close(self) -> None:
        """Kill every box and end the launcher; calls under way raise SandboxError."""
        await self._connection.close()
