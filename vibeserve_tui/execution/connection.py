"""The engine's end of the launcher: requests out, replies and exits back to whoever waits.

Knows nothing of pods and outputs. When the launcher is lost, every waiter gets the same
SandboxError, and what may have survived it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import vibeserve_tui
from vibeserve_tui import foreign_trees
from vibeserve_tui.errors import LauncherLost, SandboxError
from vibeserve_tui.execution import process_table, seatbelt
from vibeserve_tui.execution.box import Killed
from vibeserve_tui.execution.ladder import SandboxReport, Tier, TierResult
from vibeserve_tui.execution.wire import Act, Channel, Exit, Hello, Reply, Request, Setup

_T = TypeVar("_T")
_HELLO_S = 120.0
_END_S = 5.0
# The package's place is not an argument: keepers are forks, and a box may read their command line.
_BOOT = (
    "import os, sys; sys.path.insert(0, os.environ['VIBESERVE_CODE'])\n"
    "from vibeserve_tui.execution.launcher_process import main; main()"
)


class Connection:
    """One launcher process. Made outside of asyncio, then used from one event loop."""

    def __init__(self, run_id: str, tiers: Sequence[Tier]) -> None:
        self._run_id = run_id
        if sys.platform not in ("linux", "darwin"):
            raise SandboxError(f"no sandbox is known for {sys.platform}", fix="run on Linux")
        self._package = Path(vibeserve_tui.__file__).parent
        self._scratch = tempfile.mkdtemp(prefix="vibeserve-boxes-")
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = self._spawn(theirs.fileno())
        self._channel = Channel(ours)
        self._attached = False
        self._lost: SandboxError | None = None
        self._replies: dict[int, asyncio.Future[Reply]] = {}
        self._exits: dict[int, asyncio.Future[Exit]] = {}
        self._numbers = itertools.count(1)
        ours.settimeout(_HELLO_S)
        self.report = self._greet(tiers)
        ours.settimeout(None)

    def _spawn(self, descriptor: int) -> subprocess.Popen[bytes]:
        """Isolated and without site-packages: nothing but this package and the standard library."""
        code = str(self._package.parent)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, str(descriptor)],
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "VIBESERVE_RUN": self._run_id, "VIBESERVE_CODE": code},
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def _greet(self, tiers: Sequence[Tier]) -> SandboxReport:
        setup = Setup(
            run=self._run_id,
            scratch=self._scratch,
            tiers=list(tiers),
            prefixes=_prefixes(),
            package=str(self._package),
            seatbelt=seatbelt.PROGRAM,
        )
        try:
            self._channel.send(setup)
            hello: Hello = json.loads(self._channel.first())
        except (OSError, EOFError) as error:
            self.end()
            raise SandboxError("the launcher did not start", fix="see what it wrote to stderr") from error
        tried = tuple(TierResult(Tier(one["tier"]), one["works"], one["detail"], one["fix"]) for one in hello["tried"])
        if hello["tier"] is None:
            self.end()
            raise SandboxError(
                "no sandbox works here: " + "; ".join(f"{one.tier}: {one.detail}" for one in tried),
                fix=tried[0].fix if tried else "allow at least one tier",
            )
        return SandboxReport(Tier(hello["tier"]), tried)

    def number(self) -> int:
        """A fresh one, for a request, a box or a pod."""
        return next(self._numbers)

    def expect_exit(self, box: int) -> asyncio.Future[Exit]:
        """Ask before the box is started, so that its exit cannot be missed."""
        self._attach()
        future = self._exits[box] = asyncio.get_running_loop().create_future()
        return future

    def forget_exit(self, box: int) -> None:
        """The box was never started."""
        self._exits.pop(box).cancel()

    async def request(self, request: Request, files: Sequence[int] = ()) -> Reply:
        """Raises SandboxError when the launcher could not do it."""
        self._attach()
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._replies[request["id"]] = future
        try:
            with contextlib.suppress(ConnectionError):  # its loss is noticed by reading
                self._channel.send(request, files)
            reply = await future
        finally:
            self._replies.pop(request["id"], None)
        if "error" in reply:
            raise SandboxError(reply["error"])
        return reply

    async def kill(self, box: int, why: Killed) -> None:
        """Its exit follows; a lost launcher has ended it already."""
        with contextlib.suppress(SandboxError):
            await self.request(Act(op="kill", id=self.number(), box=box, why=why))

    def end(self) -> None:
        """Close the socket, which ends the launcher and every box, and see it gone."""
        self._channel.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            _kill_marked(self._run_id)
        with contextlib.suppress(OSError):
            foreign_trees.remove(Path(self._scratch))

    async def close(self) -> None:
        if self._lost is None:
            self._detach(SandboxError("the launcher was closed"))
        await asyncio.to_thread(self.end)

    def _attach(self) -> None:
        if self._lost is not None:
            raise self._lost
        if not self._attached:
            asyncio.get_running_loop().add_reader(self._channel.fileno(), self._receive)
            self._attached = True

    def _receive(self) -> None:
        try:
            lines = self._channel.receive()
        except (EOFError, ConnectionError):
            self._lose()
            return
        for line in lines:
            message = json.loads(line)
            if "box" in message:
                over: Exit = message
                self._exits.pop(over["box"]).set_result(over)
            else:
                reply: Reply = message
                if (waiter := self._replies.get(reply["id"])) is not None and not waiter.done():
                    waiter.set_result(reply)

    def _lose(self) -> None:
        if self._lost is None:
            self._detach(LauncherLost("the launcher ended unexpectedly; its boxes were killed", fix="resume the run"))
            _kill_marked(self._run_id)

    def _detach(self, reason: SandboxError) -> None:
        self._lost = reason
        if self._attached:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
        for reply in self._replies.values():
            _fail(reply, reason)
        for over in self._exits.values():
            _fail(over, reason)


def _fail(waiter: asyncio.Future[_T], reason: SandboxError) -> None:
    if not waiter.done():
        waiter.set_exception(reason)
        waiter.exception()  # seen: not every box has somebody who waits for it


def _prefixes() -> list[str]:
    """Folders of the running interpreter that a box needs beside /usr."""
    found = dict.fromkeys((sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)))
    return [prefix for prefix in found if not prefix.startswith("/usr/") and prefix not in ("/", "/usr")]


def _kill_marked(run_id: str) -> None:
    """The second line where there is no pid namespace: all that still carries the run's mark."""
    for pid in process_table.marked(f"VIBESERVE_RUN={run_id}"):
        if pid != os.getpid():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
