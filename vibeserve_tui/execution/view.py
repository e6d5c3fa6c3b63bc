"""The file system as a box sees it: a short list of what is there, everything else absent.

One description for all tiers: `bwrap.py` turns it into arguments, `namespaces.py` into mounts, and
`landlock_rules` into the nearest thing that can be said without a mount namespace.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from vibeserve_tui.execution import landlock
from vibeserve_tui.execution.box import BoxSpec

HOME = "/home/sbx"
TMP = "/tmp"  # noqa: S108 - the box's own, not the host's
SCRATCH = (TMP, HOME, "/dev/shm")  # noqa: S108 - likewise
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
HOST_NAME = "box"

_ROOT_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SYSTEM = (
    # the dynamic linker, the compiler's alternatives, local names, users' names, TLS certificates
    *("/etc/ld.so.cache", "/etc/alternatives", "/etc/hosts", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group"),
    *("/etc/ssl/openssl.cnf", "/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted"),
    # numeric libraries size their thread pools by these
    *("/sys/devices/system/cpu", "/sys/devices/system/node"),
)
# What numeric libraries read of /proc; all that the landlock tier shows of it.
_PROC = tuple(f"/proc/{name}" for name in ("cpuinfo", "meminfo", "stat", "filesystems", "sys/vm/overcommit_memory"))
_UNSEEN = ("keys", "key-users", "kcore", "kpagecount", "kpageflags", "kpagecgroup", "slabinfo", "vmallocinfo")


@dataclass(frozen=True, slots=True)
class Bind:
    """A path of the host under its own name."""

    path: str
    writable: bool = False
    device: bool = False


@dataclass(frozen=True, slots=True)
class Empty:
    """A fresh folder in memory; one that may not be written hides what lies below."""

    path: str
    size_mib: int
    writable: bool = True


@dataclass(frozen=True, slots=True)
class Link:
    path: str
    target: str


Entry = Bind | Empty | Link


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that boxes may use, and the application's own package that they may not see."""

    prefixes: tuple[str, ...]
    package: str


def view_of(spec: BoxSpec, interpreter: Interpreter) -> tuple[Entry, ...]:
    """Entries in the order in which they must be made: a folder before what lies in it."""
    entries: list[Entry] = [Bind("/usr"), *_root_folders()]
    entries += [Bind(path) for path in _existing(_SYSTEM)]
    entries += [Bind(path) for path in interpreter.prefixes]
    # An installed application lives inside the interpreter's folder, with its judges and targets.
    if any(_is_inside(interpreter.package, prefix) for prefix in interpreter.prefixes):
        entries.append(Empty(interpreter.package, size_mib=1, writable=False))
    entries += [Empty(path, spec.limits.scratch_mib) for path in SCRATCH]
    entries += [Bind(str(path)) for path in spec.read_only]
    entries += [Bind(str(path), writable=True) for path in spec.writable]
    entries += [Bind(str(path), writable=True, device=True) for path in spec.devices]
    return tuple(sorted(entries, key=lambda entry: len(PurePath(entry.path).parts)))


def unseen() -> list[str]:
    """Files of /proc that tell of the user or the machine and not of the box: nothing is in them there."""
    return [path for name in _UNSEEN if os.access(path := f"/proc/{name}", os.R_OK)]


def landlock_rules(view: Iterable[Entry], scratch: str, ports: landlock.Ports) -> landlock.Rules:
    """The same view where nothing can be mounted: one private folder stands for all scratch space."""
    entries = list(view)
    hidden = [entry.path for entry in entries if isinstance(entry, Empty) and not entry.writable]
    # What the spec names itself is never hidden.
    hidden = [path for path in hidden if Bind(path) not in entries]
    paths = [(scratch, landlock.WRITE)]
    paths += [(f"/dev/{name}", landlock.WRITE) for name in DEVICES]
    paths += [(path, landlock.READ) for path in _existing(_PROC)]
    for entry in entries:
        if not isinstance(entry, Bind):
            continue
        if entry.writable:
            paths.append((entry.path, landlock.WRITE))
        else:
            paths += landlock.readable_without(entry.path, hidden)
    return landlock.Rules(tuple(paths), ports)


def _root_folders() -> list[Entry]:
    """/bin and its siblings: links into /usr on most systems, folders on some."""
    entries: list[Entry] = []
    for name in _ROOT_FOLDERS:
        folder = Path("/", name)
        if folder.is_symlink():
            entries.append(Link(str(folder), str(folder.readlink())))
        elif folder.is_dir():
            entries.append(Bind(str(folder)))
    return entries


def _existing(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if Path(path).exists()]


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")
