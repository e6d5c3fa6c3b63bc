"""The launcher's boxes: started, watched once a second, killed as whole trees, reaped.

Single-threaded and never blocking for long: it lives in the launcher's event loop. A box is over
when its keeper is reaped, its init is gone and nothing holds its status pipe; only then is the exit
reported, so whoever hears of it may rely on an empty tree.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vibeserve_tui import foreign_trees
from vibeserve_tui.execution import disk, keeper, process_table
from vibeserve_tui.execution.box import BoxSpec, Killed, Usage
from vibeserve_tui.execution.box_plan import Ground, Pod, Stdio, plan_of
from vibeserve_tui.execution.keeper import Keeper
from vibeserve_tui.execution.ladder import Tier
from vibeserve_tui.execution.namespaces import open_pod
from vibeserve_tui.execution.wire import Exit

_WATCH_S = 1.0
_STRAY_S = 10.0
"""How long boxes wait for an orphan that was killed; one that outlives this is stuck in the kernel, or another user's."""
_POD_PORT = 8000
_KIB_PER_MIB = 1024


@dataclass(slots=True)
class Box:
    """What the launcher knows of one box; changes only on its event loop."""

    number: int
    spec: BoxSpec
    pod: Pod | None
    keeper: Keeper
    scratch: str | None
    started_s: float
    over: asyncio.Future[Exit]
    log_fd: int | None
    """Its stdout, where that is a file."""
    alive: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the init is known, or the box is over."""
    deadline: asyncio.TimerHandle | None = None
    init: int | None = None
    init_fd: int | None = None
    status: bytes = b""
    status_open: bool = True
    keeper_status: int | None = None
    killed: Killed | None = None
    cpu_s: float = 0.0
    """Of its machinery and what that reaped."""
    seen_cpu_s: float = 0.0
    """Of the command's tree when last looked at: the time of a killed tree is reaped by nobody."""
    peak_rss_mib: float = 0.0

    @property
    def machinery(self) -> tuple[int, ...]:
        return (self.keeper.pid,) if self.init is None else (self.keeper.pid, self.init)


class Supervisor:
    def __init__(self, ground: Ground, on_exit: Callable[[Exit], None]) -> None:
        self._ground = ground
        self._on_exit = on_exit
        self._boxes: dict[int, Box] = {}
        self._strays: dict[int, float] = {}
        """Orphans that have no box, and when they were first seen."""

    @property
    def tier(self) -> Tier:
        return self._ground.tier

    def open_pod(self) -> Pod:
        """A network of its own with a fixed port, or a port of the host that is free now."""
        if not self.tier.is_beside_host:
            return Pod(open_pod(), _POD_PORT)
        with socket.create_server(("127.0.0.1", 0)) as free:
            return Pod(None, free.getsockname()[1])

    def start(self, number: int, spec: BoxSpec, stdio: Stdio, pod: Pod | None, timeout_s: float | None) -> Box:
        """Returns as soon as the keeper is forked; `alive` and `over` of the box tell the rest."""
        loop = asyncio.get_running_loop()
        scratch = tempfile.mkdtemp(dir=self._ground.scratch) if self.tier.is_beside_host else None
        child = keeper.start(plan_of(spec, self._ground, stdio, pod, scratch))
        log = os.dup(stdio[1]) if stat.S_ISREG(os.fstat(stdio[1]).st_mode) else None
        box = Box(number, spec, pod, child, scratch, time.monotonic(), loop.create_future(), log)
        self._boxes[number] = box
        loop.add_reader(child.status_fd, self._read_status, box)
        if timeout_s is not None:
            box.deadline = loop.call_later(timeout_s, self.kill, box, Killed.TIMEOUT)
        return box

    async def command_pid(self, box: Box) -> int:
        """The boxed command as the host counts, or 0 when it ended before it could be seen."""
        await box.alive.wait()
        while not box.over.done():
            if box.init is not None and (found := process_table.children(box.init)):
                return found[0]
            await asyncio.sleep(0.001)
        return 0

    def pids(self, box: Box) -> list[int]:
        """The command and all below, without the box's machinery."""
        if box.init is None:
            return []
        return process_table.descendants(box.init)

    def usage(self, box: Box) -> Usage:
        """Of a tree that may change meanwhile; updates what the box has been seen to use."""
        tree = process_table.read_tree(box.keeper.pid)
        # Of keepers and inits only the time of the orphans they reaped is the command's.
        cpu_s = sum(process.reaped_cpu_s for process in tree)
        own = [process for process in tree if process.pid not in box.machinery]
        cpu_s += sum(process.own_cpu_s for process in own)
        box.seen_cpu_s = max(box.seen_cpu_s, cpu_s)
        box.peak_rss_mib = max(box.peak_rss_mib, sum(process.high_water_mib for process in own))
        return Usage(
            cpu_s=cpu_s,
            rss_mib=sum(process.rss_mib for process in own),
            peak_rss_mib=box.peak_rss_mib,
            processes=len(own),
            threads=sum(process.threads for process in own),
        )

    def signal_all(self, box: Box, number: signal.Signals) -> None:
        if box.init is not None:
            process_table.signal_descendants(box.init, number)

    def terminate(self, box: Box) -> None:
        """Ask the command itself, as a service manager does."""
        for pid in self.pids(box)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def kill(self, box: Box, why: Killed) -> None:
        """The kernel ends a pid namespace with its init; without one the tree is stopped, then killed."""
        if box.over.done():
            return
        if box.killed is None:
            box.killed = why
            self.usage(box)
        if self.tier.is_beside_host and process_table.children(box.keeper.pid):
            # The keeper stays to collect its orphans: when it ends, nothing of the tree is left.
            process_table.signal_descendants(box.keeper.pid, signal.SIGSTOP)
            process_table.signal_descendants(box.keeper.pid, signal.SIGKILL)
            return
        if sys.platform == "linux" and box.init_fd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(box.init_fd, signal.SIGKILL)
        if box.keeper_status is None:
            os.kill(box.keeper.pid, signal.SIGKILL)

    def kill_everything(self) -> None:
        """The last act of a launcher: blocks until it has no children left."""
        for box in self._boxes.values():
            self.kill(box, Killed.ASKED)
        process_table.kill_descendants(os.getpid())
        with contextlib.suppress(OSError):
            foreign_trees.remove(Path(self._ground.scratch))

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            for box in list(self._boxes.values()):
                # Again and again: a tree may have grown where it had been looked at already.
                if (why := box.killed or self._exceeded(box)) is not None:
                    self.kill(box, why)
            self.reap()  # a stray that cannot die tells nobody that its time is over

    def _exceeded(self, box: Box) -> Killed | None:
        limits = box.spec.limits
        usage = self.usage(box)
        if usage.rss_mib > limits.memory_mib:
            return Killed.MEMORY
        if usage.threads > limits.tasks:
            return Killed.TASKS
        if self._wrote_too_much(box):
            return Killed.DISK
        if box.log_fd is not None and os.fstat(box.log_fd).st_size > limits.log_mib << 20:
            return Killed.OUTPUT
        # Landlock rules the port, not the address.
        if self.tier is Tier.LANDLOCK and process_table.listens_to_others(self.pids(box)):
            return Killed.LISTENING
        return None

    def _wrote_too_much(self, box: Box) -> bool:
        written = [str(path) for path in box.spec.writable] + ([box.scratch] if box.scratch else [])
        left = (box.spec.limits.disk_mib << 20) - process_table.nameless_bytes(self.pids(box))
        return left < 0 or disk.exceeds(written, left) or any(map(disk.is_nearly_full, written))

    def reap(self) -> None:
        """Collect all children that ended. No box is over while an orphan may be its: whose they are is not known."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, spent = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    break
                for box in self._boxes.values():
                    if pid in box.machinery:
                        box.cpu_s += spent.ru_utime + spent.ru_stime
                        box.peak_rss_mib = max(box.peak_rss_mib, spent.ru_maxrss / _KIB_PER_MIB)
                    if pid == box.keeper.pid:
                        box.keeper_status = status
        if not self._kill_strays():
            for box in list(self._boxes.values()):
                self._finish(box)

    def _kill_strays(self) -> bool:
        """Whether there are orphans that fell to the launcher and that may still go; their end brings us here again."""
        known = {pid for box in self._boxes.values() for pid in box.machinery}
        now = time.monotonic()
        strays = set(process_table.children(os.getpid())) - known
        self._strays = {stray: self._strays.get(stray, now) for stray in strays}
        for stray in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(stray, signal.SIGKILL)
        return any(now - since < _STRAY_S for since in self._strays.values())

    def _read_status(self, box: Box) -> None:
        data = os.read(box.keeper.status_fd, 1 << 16)
        box.status += data
        if not data:
            asyncio.get_running_loop().remove_reader(box.keeper.status_fd)
            os.close(box.keeper.status_fd)
            box.status_open = False
            self.reap()
        elif box.init is None and (init := _reported(box.status).get("child-pid")) is not None:
            self._meet_init(box, int(init))

    def _meet_init(self, box: Box, init: int) -> None:
        process = process_table.read(init)
        # The number may have been given to a stranger already if the box lived very briefly.
        if process is not None and (init == box.keeper.pid or process.parent in (box.keeper.pid, os.getpid())):
            self._follow_init(box, init)
        box.init = init
        box.alive.set()
        if box.killed is not None:
            self.kill(box, box.killed)

    def _follow_init(self, box: Box, init: int) -> None:
        """On macOS the only init there is is the keeper, whose end is noticed anyway."""
        if sys.platform == "linux":
            with contextlib.suppress(ProcessLookupError):
                box.init_fd = os.pidfd_open(init)
                asyncio.get_running_loop().add_reader(box.init_fd, self._init_ended, box)

    def _init_ended(self, box: Box) -> None:
        if box.init_fd is not None:
            asyncio.get_running_loop().remove_reader(box.init_fd)
            os.close(box.init_fd)
            box.init_fd = None
        self.reap()

    def _finish(self, box: Box) -> None:
        if box.keeper_status is None or box.init_fd is not None or box.status_open or box.over.done():
            return
        del self._boxes[box.number]
        if box.log_fd is not None:
            os.close(box.log_fd)
        if box.deadline is not None:
            box.deadline.cancel()
        if box.scratch is not None:
            with contextlib.suppress(OSError):
                foreign_trees.remove(Path(box.scratch))
        report = _reported(box.status)
        code = os.waitstatus_to_exitcode(box.keeper_status)
        message = Exit(
            box=box.number,
            returncode=int(report.get("exit-code", 128 - code if code < 0 else code)),
            ran=box.killed is not None or code < 0 or ("exit-code" in report and "error" not in report),
            detail=report.get("error", ""),
            wall_s=time.monotonic() - box.started_s,
            cpu_s=max(box.cpu_s, box.seen_cpu_s),
            peak_rss_mib=box.peak_rss_mib,
            killed=box.killed,
        )
        box.over.set_result(message)
        box.alive.set()
        self._on_exit(message)


def _reported(status: bytes) -> dict[str, str]:
    """The members of all complete lines together."""
    members: dict[str, str] = {}
    for line in status.split(b"\n")[:-1]:
        if line.strip():
            members |= {name: str(value) for name, value in json.loads(line).items()}
    return members
