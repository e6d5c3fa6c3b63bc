"""The hardware contract: what a backend plugin must offer, and how installed ones are found.

A backend detects a device, prepares a candidate's environment, watches the machine, says whether a measurement may be
trusted, and brings profilers. It never measures a target's metrics and never decides a round. Plugins register a
zero-argument factory under the entry-point group `vibeserve.backends` and import nothing of the engine but this module,
`profile_report`, `metrics` and `errors`. Whatever a backend cannot read is None; None is never 0.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from vibeserve_tui.errors import BackendError, EnvironmentFault, did_you_mean
from vibeserve_tui.profile_report import ProfileReport

API_VERSION = (1, 0)
GROUP = "vibeserve.backends"
OWN_DISTRIBUTION = "vibeserve-tui"

Pids = Callable[[], Collection[int]]
"""Root pids of our own trees (server and load generator): what else is busy is foreign."""


class Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Requirement(Value):
    """One line of `vibeserve doctor`."""

    id: str
    ok: bool
    severity: Literal["required", "recommended", "info"]
    observed: str
    expected: str
    fix: str = ""


class Availability(Value):
    usable: bool
    reason: str = ""
    fix: str = ""
    requirements: tuple[Requirement, ...] = ()


class Device(Value):
    """One device that can serve a model. Memory in bytes; `fingerprint` keys every stored measurement."""

    id: str
    name: str
    vendor: str
    memory_total: int
    memory_usable: int
    unified: bool
    compute_units: int | None
    last_level_cache: int | None = None
    capabilities: tuple[str, ...]
    os: str
    driver: str | None
    runtime: Mapping[str, str]
    fingerprint: str


class CandidateEnv(Value):
    """What a candidate's environment gains on this device."""

    env: Mapping[str, str]
    devices: tuple[str, ...] = ()
    """Device nodes that its box must show; what is not listed is not there."""


class Telemetry(Value):
    """One sample of the machine; shares are 0..1, memory in bytes, `t` in seconds since the epoch."""

    t: float
    source: str
    util: float | None = None
    mem_used: int | None = None
    mem_total: int | None = None
    swap_used: int | None = None
    clock_mhz: float | None = None
    pressure: float | None = None
    foreign_util: float | None = None
    """Busy share of the device by processes that are not ours."""
    steal: float | None = None
    on_battery: bool | None = None
    low_power_mode: bool | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temp_c: float | None = None
    thermal_level: int | None = None
    """What the operating system says of heat; 0 is nominal."""
    throttle: tuple[str, ...] | None = None
    """Why the device slowed itself down since the sample before, in the backend's words."""
    foreign_pids: tuple[int, ...] | None = None
    """Processes that are not ours and hold the device in earnest."""


class GateCheck(Value):
    """May we measure (before), or may we believe what was measured (after)?"""

    ok: bool
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Ceiling(Value):
    """The most that a device gives of something; only a measured one may bound a measurement."""

    value: float
    unit: Literal["B/s", "FLOP/s"]
    provenance: Literal["measured", "datasheet", "estimate"]
    conditions: str = ""
    """Size, shape, threads."""


class Ceilings(Value):
    """What is not listed is unknown."""

    bandwidth: Ceiling | None = None
    """Reading weights of the asked size again and again: a small model lives in a cache, whatever the memory gives."""
    compute: Mapping[str, Ceiling] = {}
    """Matrix products by dtype, as torch names it."""


class ProfilePlan(Value):
    """How a profiler is run: argv is journaled and shown before it starts."""

    argv: tuple[str, ...]
    timeout_s: float
    max_bytes: int = 64 * 2**20


@runtime_checkable
class Profiler(Protocol):
    id: str
    title: str

    def availability(self) -> Availability: ...

    def plan(self, pid: int, out: Path, seconds: float) -> ProfilePlan:
        """Attach to `pid` (the whole tree) for `seconds`, writing into the folder `out`."""

    def parse(self, out: Path) -> ProfileReport:
        """Files in, report out; ValueError when they are no usable profile."""


class LaunchPlan(Value):
    """How a server is started under a profiler, and what is run when the window is over."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = {}
    """Added to the server's own environment."""
    written: str = ""
    """A file in `out` that appears when the window is over; where there is none, time tells."""
    finish: tuple[tuple[str, ...], ...] = ()
    """Commands that turn what was recorded into files which `parse` can read, in this order."""
    finish_s: float = 120.0
    max_bytes: int = 512 * 2**20


class Window(Value):
    """When to look: not before the server is warm, and not for long."""

    delay_s: float
    seconds: float


@runtime_checkable
class LaunchProfiler(Protocol):
    """A tool that cannot attach: it must start the server itself, or set its environment (`vibeserve_tui.profiling`)."""

    id: str
    title: str

    def availability(self) -> Availability: ...

    def wrap(self, argv: Sequence[str], out: Path, window: Window) -> LaunchPlan:
        """The server's command line inside the profiler's, writing into the folder `out`."""

    def parse(self, out: Path) -> ProfileReport:
        """Files in, report out; ValueError when they are no usable profile."""


@runtime_checkable
class ProfilesAtLaunch(Protocol):
    """What a backend may offer besides: tools for a server that a person starts."""

    def launch_profilers(self, device: Device) -> Sequence[LaunchProfiler]: ...


@runtime_checkable
class Backend(Protocol):
    name: str
    api_version: tuple[int, int]
    skill_tags: frozenset[str]
    cpu_time_is_work: bool
    """Whether a server's CPU time per token says how fast it is: on processors, not on accelerators."""

    def detect(self) -> Sequence[Device]:
        """The devices present; takes < 2 s, raises nothing, imports no framework."""

    def availability(self, device: Device | None) -> Availability: ...

    def candidate_env(self, device: Device) -> CandidateEnv: ...

    def profilers(self, device: Device) -> Sequence[Profiler]: ...

    def telemetry(self, device: Device, own: Pids) -> contextlib.AbstractContextManager[Iterator[Telemetry]]:
        """An endless iterator; each `next` takes one sample over the time since the one before."""

    def ceilings(self, device: Device, weight_bytes: int) -> Ceilings:
        """What the device gives at best, for weights of this size; takes seconds, and wants a quiet machine."""

    def ready(self, device: Device, recent: Sequence[Telemetry]) -> GateCheck: ...

    def trusted(self, device: Device, during: Sequence[Telemetry]) -> GateCheck: ...

    def lease_key(self, device: Device) -> str: ...


# ---- discovery ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """An installed backend: loaded, or the reason why not."""

    name: str
    distribution: str
    backend: Backend | None
    error: str = ""


def discover(points: Sequence[EntryPoint] | None = None) -> dict[str, Found]:
    """All installed backends by name. Our own names win; a broken plugin is an entry with its error, never an exception."""
    found: dict[str, Found] = {}
    points = list(entry_points(group=GROUP)) if points is None else points
    for point in sorted(points, key=lambda p: (_distribution(p) != OWN_DISTRIBUTION, p.name)):
        if point.name in found:
            taken = found[point.name].distribution
            key = f"{point.name}@{_distribution(point)}"
            found[key] = Found(point.name, _distribution(point), None, f"the name is already provided by {taken}")
        else:
            found[point.name] = _load(point)
    return found


def load_backend(name: str) -> Backend:
    """The backend called `name`. Raises BackendError listing what is installed."""
    found = discover()
    entry = found.get(name)
    if entry is None:
        raise BackendError(
            f"no backend is called {name!r}{did_you_mean(name, found)}",
            fix=f"installed: {', '.join(sorted(found)) or 'none'}; reinstall with pip install 'vibeserve-tui[cpu]'",
        )
    if entry.backend is None:
        raise BackendError(f"backend {name} cannot be loaded: {entry.error}", fix=f"repair {entry.distribution}")
    return entry.backend


def usable_device(name: str) -> tuple[Backend, Device]:
    """The backend and its first device. Raises BackendError with the fix when either is missing or not usable."""
    backend = load_backend(name)
    device = next(iter(backend.detect()), None)
    state = backend.availability(device)
    if device is None or not state.usable:
        raise BackendError(f"backend {name} is not usable here: {state.reason or 'no device'}", fix=state.fix)
    return backend, device


def _load(point: EntryPoint) -> Found:
    try:
        backend = point.load()()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - foreign code; a plugin may even call sys.exit
        return Found(point.name, _distribution(point), None, f"{type(error).__name__}: {error}")
    if not isinstance(backend, Backend):
        return Found(point.name, _distribution(point), None, "does not satisfy the Backend protocol")
    if backend.api_version[0] != API_VERSION[0]:
        return Found(point.name, _distribution(point), None, f"built for backend API {backend.api_version}")
    return Found(point.name, _distribution(point), backend)


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else ""


# ---- the device lease ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def lease(key: str, root: Path, owner: str, wait_s: float) -> Iterator[None]:
    """Hold a device for one measurement, across all runs of this user; the kernel frees it when the holder dies."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{key.replace('/', '_')}.lease"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = path.read_text(errors="replace") or "another process"
                    raise EnvironmentFault(f"device {key} is held by {holder}", fix="wait for it, or stop it") from None
                time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "owner": owner}).encode(), 0)
        yield
    finally:
        os.close(descriptor)
