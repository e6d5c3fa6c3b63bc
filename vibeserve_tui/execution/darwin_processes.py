"""Processes as libproc on macOS shows them. Written from its public headers and never run on a Mac by its authors.

Only what needs no right beyond the caller's own: processes of the same user. What libproc cannot give in a simple way,
sockets and environments, comes from lsof and ps.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import subprocess
from collections.abc import Iterable

from vibeserve_tui.execution.box import Listener
from vibeserve_tui.execution.process_facts import Process

_ALL_INFORMATION = 2  # PROC_PIDTASKALLINFO
_MOST = 4096
_STATES = {1: "I", 2: "R", 3: "S", 4: "T", 5: "Z"}
_LOOPBACKS = ("127.", "[::1]", "localhost")


class _Basics(ctypes.Structure):
    """struct proc_bsdinfo"""

    _fields_ = (
        *(
            (name, ctypes.c_uint32)
            for name in ("flags", "status", "xstatus", "pid", "ppid", "uid", "gid", "ruid", "rgid")
        ),
        *((name, ctypes.c_uint32) for name in ("svuid", "svgid", "reserved")),
        ("comm", ctypes.c_char * 16),
        ("name", ctypes.c_char * 32),
        *((name, ctypes.c_uint32) for name in ("files", "pgid", "pjobc", "tdev", "tpgid")),
        ("nice", ctypes.c_int32),
        ("start_s", ctypes.c_uint64),
        ("start_us", ctypes.c_uint64),
    )


class _Task(ctypes.Structure):
    """struct proc_taskinfo; times in ticks of the machine's clock"""

    _fields_ = (
        *(
            (name, ctypes.c_uint64)
            for name in ("virtual", "resident", "user", "system", "threads_user", "threads_system")
        ),
        *((name, ctypes.c_int32) for name in ("policy", "faults", "pageins", "cow_faults", "sent", "received")),
        *(
            (name, ctypes.c_int32)
            for name in ("mach_calls", "unix_calls", "switches", "threads", "running", "priority")
        ),
    )


class _Information(ctypes.Structure):
    _fields_ = (("basics", _Basics), ("task", _Task))


class _Timebase(ctypes.Structure):
    _fields_ = (("numerator", ctypes.c_uint32), ("denominator", ctypes.c_uint32))


def children(pid: int) -> list[int]:
    found = (ctypes.c_int * _MOST)()
    count = _library().proc_listchildpids(pid, found, ctypes.sizeof(found))
    return list(found[: max(0, min(count, _MOST))])


def read(pid: int) -> Process | None:
    """None for a process that is gone, or another user's. Time of children that were waited for is not known."""
    information = _Information()
    size = ctypes.sizeof(information)
    if _library().proc_pidinfo(pid, _ALL_INFORMATION, ctypes.c_uint64(0), ctypes.byref(information), size) != size:
        return None
    basics, task = information.basics, information.task
    resident = task.resident / 2**20
    return Process(
        pid=pid,
        parent=basics.ppid,
        name=basics.comm.decode(errors="replace"),
        state=_STATES.get(basics.status, "?"),
        own_cpu_s=(task.user + task.system) * _tick_s(),
        reaped_cpu_s=0.0,
        threads=task.threads,
        rss_mib=resident,
        high_water_mib=resident,
    )


def command_line(pid: int) -> str:
    """The program's path; its arguments are not told."""
    path = ctypes.create_string_buffer(4096)
    length = _library().proc_pidpath(pid, path, len(path))
    return path.raw[: max(0, length)].decode(errors="replace")


def marked(mark: str) -> list[int]:
    """Processes whose environment, as `ps -E` shows it, holds this entry."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        argv = ["/bin/ps", "-axEww", "-o", "pid=,command="]
        said = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=5, check=False).stdout
        lines = [line.split() for line in said.splitlines()]
        return [int(words[0]) for words in lines if mark in words[1:]]
    return []


def count_tasks() -> int:
    """Processes of the whole machine."""
    return max(0, int(_library().proc_listallpids(None, 0)))


def listeners(pids: Iterable[int]) -> list[Listener]:
    return [listener for listener, _ in _listening(pids)]


def listens_to_others(pids: Iterable[int]) -> bool:
    """Whether one of these processes can be reached at another address than this machine's loopback."""
    return any(not address.startswith(_LOOPBACKS) for _, address in _listening(pids))


def nameless_bytes(pids: Iterable[int]) -> int:  # noqa: ARG001 - for no process
    """Nothing here tells how much a file without a name takes."""
    return 0


def _listening(pids: Iterable[int]) -> list[tuple[Listener, str]]:
    wanted = ",".join(map(str, pids))
    if not wanted:
        return []
    argv = ["/usr/sbin/lsof", "-nP", "-a", "-p", wanted, "-iTCP", "-sTCP:LISTEN", "-Fpn"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(argv, capture_output=True, text=True, timeout=5, check=False).stdout
        return parsed(said)
    return []


def parsed(said: str) -> list[tuple[Listener, str]]:
    """What `lsof -Fpn` printed: a line `pPID`, below it a line `nADDRESS:PORT` for each socket."""
    found: list[tuple[Listener, str]] = []
    pid = 0
    for line in said.splitlines():
        kind, value = line[:1], line[1:]
        if kind == "p":
            pid = int(value)
        elif kind == "n":
            address, _, port = value.rpartition(":")
            found.append((Listener(pid, "tcp6" if address.startswith("[") else "tcp", int(port)), address))
    return found


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL("/usr/lib/libproc.dylib")


@functools.cache
def _tick_s() -> float:
    base = _Timebase()
    ctypes.CDLL(None).mach_timebase_info(ctypes.byref(base))
    return float(base.numerator) / float(base.denominator) / 1e9
