"""Processes as /proc on Linux shows them, read fast enough for once a second.

A process may end between two reads: it is then simply not there.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from vibeserve_tui.execution.box import Listener
from vibeserve_tui.execution.process_facts import Process

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2
_TCP_LISTEN, _UDP_UNCONNECTED = "0A", "07"
# 127/8, ::1 and 127/8 as IPv6 has it: words of four bytes, the lowest first.
_LOOPBACK = re.compile("[0-9A-F]{6}7F|0{24}01000000|0{16}FFFF0000[0-9A-F]{6}7F")


def children(pid: int) -> list[int]:
    """Each thread has its own list; a process that is gone has none."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.scandir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"{thread.path}/children", "rb") as file:
                found += map(int, file.read().split())
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


def command_line(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(4096).replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def marked(mark: str) -> list[int]:
    """Processes whose environment holds this entry."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def count_tasks() -> int:
    """Processes and threads of the whole machine."""
    with open("/proc/loadavg", encoding="ascii") as file:
        return int(file.read().split()[3].partition("/")[2])


def listeners(pids: Iterable[int]) -> list[Listener]:
    """Sockets of these processes (of one network namespace) that wait for others to speak first."""
    return [listener for listener, _ in _listening(pids)]


def listens_to_others(pids: Iterable[int]) -> bool:
    """Whether one of these processes can be reached at another address than this machine's loopback."""
    return any(not _LOOPBACK.fullmatch(address) for _, address in _listening(pids))


def _listening(pids: Iterable[int]) -> list[tuple[Listener, str]]:
    """Beside each listener its address, as the kernel prints it."""
    owners: dict[str, int] = {}
    for pid in pids:
        owners |= dict.fromkeys(_socket_inodes(pid), pid)
    if not owners:
        return []
    found: list[tuple[Listener, str]] = []
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
                address, _, port = fields[1].rpartition(":")
                found.append((Listener(owners[fields[9]], protocol, int(port, 16)), address))
    return found


def nameless_bytes(pids: Iterable[int]) -> int:
    """What the open files of these processes take that have no name any more, or never had one."""
    found: dict[tuple[int, int], int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    file = descriptor.stat()
                    if stat.S_ISREG(file.st_mode) and file.st_nlink == 0:
                        found[file.st_dev, file.st_ino] = file.st_blocks * 512
    return sum(found.values())


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
