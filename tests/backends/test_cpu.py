"""The cpu backend: what it says about this machine, about a busy one, and about a profile."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from vibeserve_cpu.cpu import CpuBackend
from vibeserve_cpu.py_spy import parse_raw
from vibeserve_tui.backend import Backend, Device, Telemetry, discover, load_backend
from vibeserve_tui.errors import BackendError

DATA = Path(__file__).parent / "data"


@pytest.fixture
def device() -> Device:
    return CpuBackend().detect()[0]


def sample(**figures: float) -> Telemetry:
    return Telemetry(t=0.0, source="test", **figures)


def test_it_satisfies_the_contract_and_is_found_by_its_name():
    assert isinstance(load_backend("cpu"), Backend)
    assert discover()["cpu"].distribution == "vibeserve-tui"


def test_an_unknown_backend_names_those_installed():
    with pytest.raises(BackendError, match=r"did you mean .cpu.*installed: cpu"):
        load_backend("cpx")


def test_a_device_survives_json_and_keeps_its_fingerprint(device):
    assert Device.model_validate_json(device.model_dump_json()) == device
    assert CpuBackend().detect()[0].fingerprint == device.fingerprint


def test_a_candidate_starts_with_one_thread_and_gets_none_of_our_secrets(device, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "secret")
    env = CpuBackend().candidate_env(device).env
    assert env["OMP_NUM_THREADS"] == "1"
    assert "secret" not in env.values()


def test_a_quiet_machine_may_be_measured_and_a_busy_one_may_not(device):
    backend = CpuBackend()
    quiet, busy = sample(foreign_util=0.05, pressure=0.0), sample(foreign_util=0.6, pressure=0.0)
    assert backend.ready(device, [quiet]).ok
    assert "other processes use 60%" in backend.ready(device, [busy]).reasons[0]
    assert not backend.trusted(device, [busy]).ok


def test_pressure_counts_before_a_run_and_not_during_it(device):
    backend, waiting = CpuBackend(), sample(foreign_util=0.0, pressure=0.5)
    assert not backend.ready(device, [waiting]).ok
    assert backend.trusted(device, [waiting]).ok


def test_a_time_without_telemetry_is_not_trusted(device):
    assert not CpuBackend().trusted(device, []).ok


def test_growing_swap_voids_a_measurement(device):
    series = [sample(swap_used=0), sample(swap_used=100 << 20)]
    assert CpuBackend().trusted(device, series).reasons == ("swap is growing",)


def test_our_own_processes_are_not_foreign(device):
    hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        backend = CpuBackend()
        with backend.telemetry(device, lambda: (hog.pid,)) as ours, backend.telemetry(device, tuple) as theirs:
            next(ours), next(theirs)
            time.sleep(0.4)
            without, with_it = next(ours).foreign_util, next(theirs).foreign_util
    finally:
        hog.kill()
        hog.wait()
    assert without is not None and with_it is not None
    assert without < with_it


def test_a_machine_that_does_not_tell_its_clock_is_watched_all_the_same(device, monkeypatch):
    monkeypatch.setattr("psutil.cpu_freq", lambda: None)
    with CpuBackend().telemetry(device, tuple) as stream:
        assert next(stream).clock_mhz is None


def test_what_our_killed_processes_used_is_not_foreign_either(device):
    """A busy machine blurs a single look: what was ours has to be missing from the foreign share in one of a few."""
    assert any(_share_that_is_missing(device) > 0.5 for _ in range(5))


def _share_that_is_missing(device: Device) -> float:
    """Of the CPU time of a process of ours that was killed: how much of it the foreign share leaves out."""
    hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    with CpuBackend().telemetry(device, lambda: (hog.pid,)) as stream:
        next(stream)
        started = time.monotonic()
        time.sleep(0.5)
        used = sum(psutil.Process(hog.pid).cpu_times()[:2])
        hog.kill()
        hog.wait()
        sample = next(stream)
        room = (time.monotonic() - started) * (psutil.cpu_count() or 1)
    assert sample.foreign_util is not None and sample.util is not None
    return (sample.util - sample.foreign_util) / (used / room)


def test_detection_imports_no_framework():
    code = "import sys, json; from vibeserve_cpu import backend; backend().detect(); print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )
    assert not {"torch", "transformers", "textual", "numpy"} & set(modules)


def test_a_recorded_profile_of_a_torch_server_shows_the_model_and_not_the_waiting_thread():
    report = parse_raw((DATA / "py_spy_torch_server.raw").read_text(), 100, 3.0)
    assert report.phases["model"] > 0.85
    assert not any("wait" in name for name in report.operations)
    assert abs(sum(report.phases.values()) - 1) < 0.01


def test_a_native_kernel_counts_as_the_model_and_its_caller_as_the_scheduler():
    raw = (
        "_run (server/engine.py:50);step (server/native/runner.py:20) 70\n"
        "_run (server/engine.py:60) 10\n"
        "run (asyncio/runners.py:1);send (server/api.py:9) 20\n"
        "thread;Condition.wait (threading.py:320) 500\n"
    )
    report = parse_raw(raw, 100, 1.25)
    assert report.phases == {"model": 0.7, "http": 0.2, "schedule": 0.1}
    assert report.device_idle == 0.2, "25 of 125 samples saw nobody at work"


def test_too_few_samples_are_no_profile():
    with pytest.raises(ValueError, match="only 3 busy samples"):
        parse_raw("f (server/model.py:1) 3\n", 100, 3.0)
