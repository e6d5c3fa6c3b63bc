"""What /proc says about the launcher's descendants, read fast enough for once a second.

Trees are followed by the kernel's own lists of children, so the cost is that of the box and not
of the machine. A process may end between two reads: it is then simply not there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui.execution.box import Listener

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2
_TCP_LISTEN, _UDP_UNCONNECTED = "0A", "07"


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    name: str
    state: str
    own_cpu_s: float
    reaped_cpu_s: float
    """Time of children that ended and were waited for."""
    threads: int
    rss_mib: float
    high_water_mib: float


def children(pid: int) -> list[int]:
    """Each thread has its own list; a process that is gone has none."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.scandir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"{thread.path}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def descendants(pid: int) -> list[int]:
    """All below `pid`, parents first."""
    found = children(pid)
    for child in found:  # grows while it is walked
        found += children(child)
    return found


def read(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            memory = [line.split() for line in file if line.startswith(("VmRSS:", "VmHWM:"))]
    except OSError:
        return None
    fields = rest.split()
    ticks = [int(field) / _TICKS_PER_S for field in fields[11:15]]
    sizes = {words[0]: int(words[1]) / 1024 for words in memory}
    return Process(
        pid=pid,
        parent=int(fields[1]),
        name=name,
        state=fields[0],
        own_cpu_s=_cpu_clock_s(pid, otherwise=ticks[0] + ticks[1]),
        reaped_cpu_s=ticks[2] + ticks[3],
        threads=int(fields[17]),
        rss_mib=sizes.get("VmRSS:", 0.0),
        high_water_mib=sizes.get("VmHWM:", 0.0),
    )


def _cpu_clock_s(pid: int, otherwise: float) -> float:
    """All threads, ended ones too, to the nanosecond: `stat` counts in steps of 10 ms."""
    try:
        return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)  # as clock_getcpuclockid(3) makes it
    except OSError:  # a zombie has no clock any more
        return otherwise


def read_tree(pid: int) -> list[Process]:
    """`pid` and all below."""
    return [process for process in map(read, (pid, *descendants(pid))) if process is not None]


def command_line(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(4096).replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def count_tasks() -> int:
    """Processes and threads of the whole machine."""
    with open("/proc/loadavg", encoding="ascii") as file:
        return int(file.read().split()[3].partition("/")[2])


def signal_descendants(pid: int, number: signal.Signals) -> None:
    """Reach all below `pid`, those included that are forked meanwhile by one not yet reached."""
    reached: set[int] = set()
    while fresh := [child for child in descendants(pid) if child not in reached]:
        for child in fresh:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
        reached.update(fresh)


def kill_descendants(pid: int) -> None:
    """Kill all below the caller's own process `pid` and reap them; stopped first, so that none can fork."""
    while descendants(pid):
        signal_descendants(pid, signal.SIGSTOP)
        signal_descendants(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.001)


def listeners(pids: Iterable[int]) -> list[Listener]:
    """Sockets of these processes (of one network namespace) that wait for others to speak first."""
    owners: dict[str, int] = {}
    for pid in pids:
        owners |= dict.fromkeys(_socket_inodes(pid), pid)
    if not owners:
        return []
    found: list[Listener] = []
    any_pid = next(iter(owners.values()))
    for protocol, waiting in (
        ("tcp", _TCP_LISTEN),
        ("tcp6", _TCP_LISTEN),
        ("udp", _UDP_UNCONNECTED),
        ("udp6", _UDP_UNCONNECTED),
    ):
        for line in _lines(f"/proc/{any_pid}/net/{protocol}")[1:]:
            fields = line.split()
            if fields[3] == waiting and fields[9] in owners:
                port = int(fields[1].rpartition(":")[2], 16)
                found.append(Listener(owners[fields[9]], protocol, port))
    return found


def _socket_inodes(pid: int) -> list[str]:
    inodes: list[str] = []
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                link = str(descriptor.readlink())
                if link.startswith("socket:["):
                    inodes.append(link[8:-1])
    return inodes


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.readlines()
    except OSError:
        return []
