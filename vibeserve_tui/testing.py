"""What a backend has to hold, as a check that its own tests can call: every broken promise as one line.

    from vibeserve_tui.testing import backend_conformance
    def test_it_keeps_the_contract(): assert backend_conformance(backend()) == []

It runs on any machine: a backend without its device has to say so, with a reason and a fix.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from vibeserve_tui.backend import (
    API_VERSION,
    Backend,
    CandidateEnv,
    Device,
    LaunchProfiler,
    Profiler,
    ProfilesAtLaunch,
    Window,
)
from vibeserve_tui.errors import BackendError
from vibeserve_tui.roles.fragments import fragments_of

HEAVY = frozenset({"torch", "transformers", "mlx", "pynvml", "textual", "rich", "numpy"})
DETECT_S = 2.0


def backend_conformance(backend: object) -> list[str]:
    """All faults; an empty list is a pass."""
    if not isinstance(backend, Backend):
        return ["it does not satisfy the Backend protocol"]
    return list(_faults(backend))


def _faults(backend: Backend) -> Iterator[str]:
    if backend.api_version[0] != API_VERSION[0]:
        yield f"it is built for API {backend.api_version}, this is {API_VERSION}"
    if not backend.skill_tags:
        yield "it has no skill tag: no skill will ever be offered on it"
    try:
        fragments_of(backend)
    except BackendError as error:
        yield str(error)
    before = HEAVY & sys.modules.keys()
    started = time.monotonic()
    devices = backend.detect()
    if (took := time.monotonic() - started) > DETECT_S:
        yield f"detect took {took:.1f} s, limit {DETECT_S:.0f} s"
    if [device.fingerprint for device in backend.detect()] != [device.fingerprint for device in devices]:
        yield "a fingerprint changes between two calls of detect"
    if len({backend.lease_key(device) for device in devices}) != len(devices):
        yield "two devices share a lease key"
    for device in devices:
        yield from _of_device(backend, device)
    yield from _availability(backend, devices[0] if devices else None)
    if loaded := (HEAVY & sys.modules.keys()) - before:
        yield f"it imported {', '.join(sorted(loaded))} into the engine's process"


def _availability(backend: Backend, device: Device | None) -> Iterator[str]:
    state = backend.availability(device)
    if device is None and state.usable:
        yield "it is usable without a device"
    if not state.usable and not (state.reason and state.fix):
        yield "it is not usable, and does not say why or how to help it"
    for line in (state.reason, state.fix, *(line.observed for line in state.requirements)):
        if "\n" in line:
            yield f"availability takes more than a line: {line!r}"


def _of_device(backend: Backend, device: Device) -> Iterator[str]:
    if Device.model_validate_json(device.model_dump_json()) != device:
        yield "a device does not survive JSON"
    if not 0 < device.memory_usable <= device.memory_total:
        yield f"{device.memory_usable} of {device.memory_total} bytes are usable"
    if CandidateEnv.model_validate_json(backend.candidate_env(device).model_dump_json()).env.keys() & _secrets():
        yield "a candidate's environment has a name of the operator's secrets"
    if backend.trusted(device, ()).ok:
        yield "a time without telemetry is trusted"
    with backend.telemetry(device, lambda: (os.getpid(),)) as samples:
        first, second = next(samples), next(samples)
    if not 0 < first.t <= second.t:
        yield "telemetry has no time, or goes back in it"
    for profiler in backend.profilers(device):
        yield from _of_profiler(profiler)
    for launcher in backend.launch_profilers(device) if isinstance(backend, ProfilesAtLaunch) else ():
        yield from _of_launcher(launcher)


def _secrets() -> set[str]:
    return {name for name in os.environ if name.endswith(("_KEY", "_TOKEN", "_SECRET"))}


def _of_profiler(profiler: Profiler) -> Iterator[str]:
    if not isinstance(profiler, Profiler):
        yield f"profiler {profiler!r} does not satisfy the protocol"
        return
    yield from _refuses(profiler)
    with tempfile.TemporaryDirectory() as out:
        plan = profiler.plan(os.getpid(), Path(out), 2.0)
        if not any(out in word for word in plan.argv):
            yield f"{profiler.id} does not write into the folder that it is given"
        if plan.timeout_s <= 2.0:
            yield f"{profiler.id} may not even take as long as it looks"


def _of_launcher(profiler: LaunchProfiler) -> Iterator[str]:
    if not isinstance(profiler, LaunchProfiler):
        yield f"profiler {profiler!r} does not satisfy the protocol"
        return
    yield from _refuses(profiler)
    with tempfile.TemporaryDirectory() as out:
        plan = profiler.wrap(("serve", "--port", "8000"), Path(out), Window(delay_s=1.0, seconds=2.0))
        if plan.argv[-3:] != ("serve", "--port", "8000"):
            yield f"{profiler.id} changes the server's own command"
        if not any(out in word for word in (*plan.argv, *plan.env.values())):
            yield f"{profiler.id} does not write into the folder that it is given"


def _refuses(profiler: Profiler | LaunchProfiler) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as empty:
        try:
            profiler.parse(Path(empty))
        except ValueError:
            return
    yield f"{profiler.id} finds a profile in an empty folder"
