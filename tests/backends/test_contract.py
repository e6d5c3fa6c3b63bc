"""One contract for all backends: each keeps it on this machine and over stand-ins; a broken one fails every clause."""

from __future__ import annotations

import contextlib
import platform
import sys
import time
from pathlib import Path

import pytest

from tests.backends.stand_ins import live, mac, nvidia_smi, tools
from tests.processes import python
from vibeserve_cpu.cpu import CpuBackend
from vibeserve_cuda.cuda import CudaBackend
from vibeserve_metal.metal import MetalBackend
from vibeserve_tui import testing
from vibeserve_tui.backend import Availability, Backend, Device, GateCheck, ProfilePlan, discover
from vibeserve_tui.profile_report import ProfileReport
from vibeserve_tui.testing import backend_conformance

__all__ = ["tools"]
BACKENDS: tuple[type[Backend], ...] = (CpuBackend, CudaBackend, MetalBackend)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda kind: kind.name)
def test_a_backend_keeps_the_contract_on_this_machine(backend: type[Backend]) -> None:
    assert backend_conformance(backend()) == []


def test_the_cuda_backend_keeps_the_contract_with_a_gpu(tools: Path) -> None:
    nvidia_smi(tools, live=live())
    assert len(CudaBackend().detect()) == 1
    assert backend_conformance(CudaBackend()) == []


def test_the_metal_backend_keeps_the_contract_on_a_mac(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mac(tools)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert len(MetalBackend().detect()) == 1
    assert backend_conformance(MetalBackend()) == []


def test_all_three_are_installed_and_a_machine_without_their_hardware_says_so_in_a_line() -> None:
    found = discover()
    assert {"cpu", "cuda", "metal"} <= found.keys()
    for name in ("cuda", "metal"):
        backend = found[name].backend
        assert backend is not None and found[name].distribution == "vibeserve-tui"
        if not backend.detect():
            state = backend.availability(None)
            assert not state.usable and state.reason and state.fix and not state.requirements


@pytest.mark.parametrize("package", ["vibeserve_cpu", "vibeserve_cuda", "vibeserve_metal"])
def test_loading_a_plugin_and_asking_what_is_there_imports_no_framework(package: str) -> None:
    heavy = {"torch", "pynvml", "mlx", "numpy", "transformers", "textual", "rich"}
    code = f"import sys, {package} as p; b = p.backend(); b.detect(); b.availability(None)\nprint(*sorted({heavy!r} & set(sys.modules)))"
    done = python(["-c", code], PYTHONPATH="backends")
    assert (done.code, done.out.split(), done.err) == (0, [], "")


class Broken(CpuBackend):
    """Breaks one promise after another."""

    api_version = (0, 9)
    skill_tags = frozenset()

    def detect(self):
        time.sleep(0.2)
        sys.modules.setdefault("pynvml", sys)
        first = super().detect()[0].model_copy(update={"fingerprint": str(time.time()), "memory_usable": 0})
        return [first, first]

    def availability(self, device):
        return Availability(usable=False, reason="two\nlines")

    def trusted(self, device, during):
        return GateCheck(ok=True)

    @contextlib.contextmanager
    def telemetry(self, device, own):
        with super().telemetry(device, own) as samples:
            yield (sample.model_copy(update={"t": 0.0}) for sample in samples)

    def candidate_env(self, device):
        return super().candidate_env(device).model_copy(update={"env": {"TEST_API_KEY": "secret"}})

    def profilers(self, device):
        return (Believer(),)

    def launch_profilers(self, device):
        return (Believer(), Meddler())


class Believer:
    id, title = "believer", "believes everything"

    def availability(self):
        return Availability(usable=True)

    def plan(self, pid, out, seconds):
        return ProfilePlan(argv=("true",), timeout_s=1)

    def parse(self, out):
        return ProfileReport(tool="believer", window_s=1, samples=1, phases={}, operations={})


class Meddler(Believer):
    id = "meddler"

    def wrap(self, argv, out, window):
        from vibeserve_tui.backend import LaunchPlan

        return LaunchPlan(argv=("true",))


CLAUSES = (
    "built for API", "no skill tag", "no prompt fragment", "detect took", "fingerprint changes", "share a lease key",
    "bytes are usable", "operator's secrets", "without telemetry is trusted", "telemetry has no time", "does not say why",
    "more than a line", "believer finds a profile", "believer does not write", "believer may not even take",
    "<tests.backends.test_contract.Believer", "meddler changes", "meddler does not write", "it imported pynvml",
)  # fmt: skip


def test_a_broken_plugin_breaks_every_clause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_API_KEY", "secret")
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.setattr(testing, "DETECT_S", 0.1)
    try:
        faults = "\n".join(backend_conformance(Broken()))
    finally:
        sys.modules.pop("pynvml", None)
    assert [clause for clause in CLAUSES if clause not in faults] == []


def test_what_is_no_backend_at_all_is_told_so() -> None:
    assert backend_conformance(object()) == ["it does not satisfy the Backend protocol"]


def test_a_device_is_a_value_that_outlives_its_backend() -> None:
    for kind in BACKENDS:
        for device in kind().detect():
            assert Device.model_validate_json(device.model_dump_json()) == device
