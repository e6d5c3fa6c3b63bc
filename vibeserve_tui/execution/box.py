"""What a box is: the values that the engine and its launcher agree on.

Standard library only and cheap to import, because the launcher process loads it too. Paths are
shown inside a box under the names that they have outside, so one spec serves every tier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypedDict


class Killed(StrEnum):
    """Why the launcher ended a box before it ended by itself."""

    TIMEOUT = "timeout"
    MEMORY = "memory"
    TASKS = "tasks"
    DISK = "disk"
    OUTPUT = "output"
    LISTENING = "listening"
    """On an address that other machines reach (tier landlock: elsewhere nobody reaches a pod)."""
    ASKED = "asked"


@dataclass(frozen=True, slots=True)
class Limits:
    memory_mib: int = 4096
    """Resident memory of all processes together; checked once a second."""
    tasks: int = 512
    """Processes and threads together; checked once a second, for ordinary users also by the kernel."""
    file_mib: int = 1024
    """Largest file that may be written; by the kernel."""
    disk_mib: int = 2048
    """Bytes below the writable paths, and in open files without a name, in memory too; checked once a second."""
    log_mib: int = 64
    """What is written to the spec's log; checked once a second."""
    scratch_mib: int = 256
    """Size of each of /tmp, /home/sbx and /dev/shm; by the kernel (tier landlock: counted in `disk_mib`)."""


@dataclass(frozen=True, slots=True)
class BoxSpec:
    """One command and all that it may see. The environment is built from `env` alone."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    """Beside PATH, HOME, LANG, TMPDIR and VIBESERVE_RUN, which every box has."""
    read_only: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()
    """Device nodes beside null, zero, full, random, urandom and tty."""
    limits: Limits = Limits()
    cores: frozenset[int] | None = None
    """Pinned to these cores; None leaves the choice to the kernel."""
    log: Path | None = None
    """Where stdout and stderr are appended; None returns them in the result."""
    serves: bool = False
    """Listens on its pod's port, and the pod's other boxes connect to it: where a tier can only rule ports, each box
    gets its half, because a port that may be connected to is open to the whole internet.
    """


@dataclass(frozen=True, slots=True)
class BoxResult:
    returncode: int
    """128 + n when signal n ended the command, 127 when it was not found."""
    stdout: bytes
    stderr: bytes
    wall_s: float
    cpu_s: float
    """User and system time of the whole tree, starting the box included."""
    peak_rss_mib: float
    killed: Killed | None


@dataclass(frozen=True, slots=True)
class Usage:
    """A box's whole tree so far."""

    cpu_s: float
    """Children that were waited for are included; the box's own machinery is not."""
    rss_mib: float
    peak_rss_mib: float
    """Largest sum of the high-water marks of processes alive together, as seen once a second and now."""
    processes: int
    threads: int


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    pid: int
    """As the host counts."""
    parent: int
    command: str
    cpu_s: float
    session: int = 0
    """Of one that lives on when its parent's terminal goes: another than the parent's."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket of a box that others could send to."""

    pid: int
    protocol: str
    """tcp | tcp6 | udp | udp6"""
    port: int


class SpecJson(TypedDict):
    argv: list[str]
    cwd: str
    env: dict[str, str]
    read_only: list[str]
    writable: list[str]
    devices: list[str]
    limits: dict[str, int]
    cores: list[int] | None
    serves: bool


def spec_to_json(spec: BoxSpec) -> SpecJson:
    """As it travels to the launcher; the log does not, it travels as an open file."""
    return SpecJson(
        argv=list(spec.argv),
        cwd=str(spec.cwd),
        env=dict(spec.env),
        read_only=[str(path) for path in spec.read_only],
        writable=[str(path) for path in spec.writable],
        devices=[str(path) for path in spec.devices],
        limits=asdict(spec.limits),
        cores=None if spec.cores is None else sorted(spec.cores),
        serves=spec.serves,
    )


def spec_from_json(message: SpecJson) -> BoxSpec:
    cores = message["cores"]
    return BoxSpec(
        argv=tuple(message["argv"]),
        cwd=Path(message["cwd"]),
        env=message["env"],
        read_only=tuple(Path(path) for path in message["read_only"]),
        writable=tuple(Path(path) for path in message["writable"]),
        devices=tuple(Path(path) for path in message["devices"]),
        limits=Limits(**message["limits"]),
        cores=None if cores is None else frozenset(cores),
        serves=message["serves"],
    )
