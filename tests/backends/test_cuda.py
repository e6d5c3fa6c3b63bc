"""The cuda backend without a GPU: written samples of the tools' formats, and stand-ins for the tools themselves."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backends.stand_ins import (
    DATA,
    H200,
    NO_PROCESSES,
    UUID,
    live,
    nvidia_smi,
    program,
    tools,
)
from vibeserve_cuda import cuda, telemetry, trust
from vibeserve_cuda import nvidia_smi as smi
from vibeserve_cuda.ceilings import Card, _table, datasheet
from vibeserve_cuda.cuda import CudaBackend
from vibeserve_tui.backend import Device, Telemetry
from vibeserve_tui.evaluation.sentinels import watching

__all__ = ["tools"]
MACHINE = Telemetry(t=1.0, source="psutil", swap_used=0, steal=0.0)


@pytest.fixture
def device(tools: Path) -> Device:
    nvidia_smi(tools, live=live())
    return CudaBackend().detect()[0]


def sample(**figures: object) -> Telemetry:
    return MACHINE.model_copy(update={"util": 0.9, "clock_mhz": 1980.0, "temp_c": 54.0} | figures)


# ---- which GPU --------------------------------------------------------------------------------------------------------


def test_a_gpu_is_found_with_what_its_generation_can_do(device: Device) -> None:
    assert (device.id, device.name, device.vendor) == (f"cuda:{UUID}", "NVIDIA H200", "nvidia")
    assert device.memory_total == 143771 << 20 and device.memory_usable == (143771 - 512) << 20
    assert device.capabilities == ("sm_90", "cuda_graphs", "bf16", "fp8")


def test_a_gpu_without_memory_of_its_own_shares_the_hosts(tools: Path) -> None:
    nvidia_smi(tools, H200.replace("143771 MiB", "[N/A]").replace("512 MiB", "[N/A]").replace("9.0", "12.1"))
    found = CudaBackend().detect()[0]
    assert found.unified and found.memory_total > 1 << 30
    assert "fp4" in found.capabilities


def test_another_driver_is_another_fingerprint(tools: Path) -> None:
    nvidia_smi(tools)
    one = CudaBackend().detect()[0]
    nvidia_smi(tools, H200.replace("580.159.03", "590.10.01"))
    assert CudaBackend().detect()[0].fingerprint != one.fingerprint


@pytest.mark.parametrize(
    ("source", "reason", "fix"),
    [
        ("import sys; print('No devices were found'); sys.exit(6)", "No devices were found", "--gpus all"),
        ("import sys; print(\"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\"); sys.exit(9)", "couldn't communicate", "modprobe"),
        ("import sys; print('Field \"compute_cap\" is not a valid field to query.'); sys.exit(2)", "not a valid field", "update"),
        ("print('No devices were found')", "not the fields", "by hand"),
        ("import sys; sys.stdout.buffer.write(bytes(range(256)))", "not the fields", "by hand"),
        ("", "nothing", "by hand"),
    ],
    ids=["no device", "no driver", "an old driver", "an answer with rc 0", "garbage", "silence"],
)  # fmt: skip
def test_a_driver_that_fails_is_told_in_one_line(tools: Path, source: str, reason: str, fix: str) -> None:
    program(tools, "nvidia-smi", source)
    state = CudaBackend().availability(None)
    assert CudaBackend().detect() == []
    assert not state.usable and reason in state.reason and fix in state.fix and "\n" not in state.reason


def test_a_driver_that_hangs_is_given_up_in_time(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tools, "nvidia-smi", "import time; time.sleep(60)")
    monkeypatch.setattr(smi, "LIMIT_S", 0.3)
    started = time.monotonic()
    assert CudaBackend().detect() == []
    assert time.monotonic() - started < 2
    assert "did not answer" in CudaBackend().availability(None).reason


def test_a_split_gpu_is_refused_and_nobody_switches_it_back(tools: Path) -> None:
    nvidia_smi(tools, H200.replace("Disabled, Enabled", "Enabled, Enabled"))
    state = CudaBackend().availability(CudaBackend().detect()[0])
    assert not state.usable and "MIG" in state.reason and "sudo nvidia-smi -i 0 -mig 0" in state.fix


def test_a_torch_without_cuda_is_not_enough(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_torch_cuda", lambda: None)
    assert "no torch that was built for CUDA" in CudaBackend().availability(device).reason
    monkeypatch.setattr(cuda, "_torch_cuda", lambda: "12.8")
    assert CudaBackend().availability(device).usable


@pytest.mark.parametrize(
    ("line", "version"),
    [("cuda: Optional[str] = None", None), ("cuda: Optional[str] = '12.8'", "12.8"), ("cuda = '11.8'", "11.8")],
)
def test_the_cuda_version_of_torch_is_read_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, version: str | None
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "torch" / "version.py").write_text(f"__version__ = '2.13.0'\n{line}\nhip: Optional[str] = None\n")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert cuda._torch_cuda() == version


def test_a_candidate_sees_one_gpu_by_its_uuid_and_computes_the_same_on_every_stream(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    env = CudaBackend().candidate_env(device).env
    assert env["CUDA_VISIBLE_DEVICES"] == UUID and env["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert "secret" not in env.values()
    assert CudaBackend().lease_key(device) == f"cuda-{UUID}"


INFORMATION = """\
Model: \t\t NVIDIA H200
IRQ:   \t\t 37
GPU UUID: \t {uuid}
Bus Location: \t 0000:{minor}1:00.0
Device Minor: \t {minor}
"""


def test_a_box_shows_the_nodes_of_one_gpu_only(tmp_path: Path) -> None:
    dev, gpus = tmp_path / "dev", tmp_path / "gpus"
    dev.mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-modeset", "kvm"):
        (dev / name).touch()
    for minor, uuid in enumerate(("GPU-a", "GPU-b")):
        (gpus / str(minor)).mkdir(parents=True)
        (gpus / str(minor) / "information").write_text(INFORMATION.format(uuid=uuid, minor=minor))
    assert [node.name for node in cuda.device_nodes("GPU-b", dev, gpus)] == ["nvidia-uvm", "nvidia1", "nvidiactl"]
    assert {"nvidia0", "nvidia1"} < {node.name for node in cuda.device_nodes("GPU-b", dev, tmp_path)}
    assert cuda.device_nodes("GPU-b", tmp_path, gpus) == []


# ---- telemetry --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "util", "mem_used", "limit_w", "reasons"),
    [
        ("nvidia_smi_ok.csv", 0.97, 12034 << 20, 700.0, 0x4),
        ("nvidia_smi_old_field_hot.csv", 1.0, 3021 << 20, 450.0, 0x60),
        ("nvidia_smi_na_cells.csv", 0.12, None, None, 0),
    ],
)
def test_a_query_is_read_by_the_names_of_its_columns(
    file: str, util: float, mem_used: int | None, limit_w: float | None, reasons: int
) -> None:
    row = smi.rows((DATA / "cuda" / file).read_text())[0]
    reading = telemetry.from_smi(row)
    assert (reading.util, reading.mem_used, reading.power_limit_w, reading.reasons) == (
        util,
        mem_used,
        limit_w,
        reasons,
    )


@given(st.text())
def test_no_cell_makes_reading_fail(cell: str) -> None:
    number = smi.number(cell)
    assert number is None or isinstance(number, float)


def test_a_look_takes_all_that_happened_since_the_one_before() -> None:
    cool, hot = (
        telemetry.Reading(util=0.5, clock_mhz=1900.0, temp_c=60.0, reasons=0),
        telemetry.Reading(util=1.0, clock_mhz=1700.0, temp_c=87.0, reasons=0x60),
    )
    seen = telemetry.summarise(MACHINE, [cool, hot, cool], {1: (300 << 20, 0.0), 2: (1, 0.5), 3: (1, 0.0)}, {2}, "test")
    assert seen.throttle == ("software thermal slowdown", "hardware thermal slowdown")
    assert seen.temp_c == 87.0 and seen.util == pytest.approx(2 / 3)
    assert seen.foreign_pids == (1,) and seen.foreign_util == 0.0
    assert seen.swap_used == MACHINE.swap_used


def test_what_could_not_be_read_stays_unknown() -> None:
    seen = telemetry.summarise(MACHINE, [], None, (), "none")
    assert (seen.util, seen.throttle, seen.foreign_pids, seen.foreign_util) == (None, None, None, None)


def test_a_gpu_is_watched_by_a_process_that_ends_with_the_watch(device: Device, tools: Path) -> None:
    nvidia_smi(
        tools,
        live=live(mask=0x4),
        apps=f"{NO_PROCESSES}{os.getpid()}, 9000 MiB\n{os.getppid()}, 700 MiB\n4194304, 900 MiB\n",
    )
    with telemetry.watching(UUID) as watch:
        assert watch is not None
        pid = watch.process.pid
        assert len(watch.take(wait_s=5.0)) >= 1
    assert watch.process.poll() is not None and not Path(f"/proc/{pid}/cwd").exists()
    with CudaBackend().telemetry(device, lambda: (os.getpid(),)) as samples:
        seen = next(samples)
    assert (seen.source, seen.clock_mhz, seen.throttle) == ("nvidia-smi", 1980.0, ("power cap",))
    assert seen.foreign_pids == (os.getppid(),), "ours is not foreign, and a pid of another namespace cannot be told"


def test_an_older_driver_is_asked_by_the_older_name(tools: Path) -> None:
    nvidia_smi(tools, live=live(mask=0x20, name="clocks_throttle_reasons.active"))
    with telemetry.watching(UUID) as watch:
        assert watch is not None
        assert watch.take(wait_s=5.0)[0].reasons == 0x20


def test_the_sentinels_of_a_measurement_work_on_it(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vibeserve_tui.evaluation.sentinels.LOOK_S", 0.2)
    with watching(CudaBackend(), device) as sentinels:
        assert "nothing could be read" not in " ".join(sentinels.ready().reasons)
        assert sentinels.trusted().ok


NVML = """\
class NVMLError(Exception): pass
class Of:
    def __init__(self, **figures): self.__dict__ |= figures
NVML_TEMPERATURE_GPU = NVML_CLOCK_SM = 0
def nvmlInit(): pass
def nvmlDeviceGetHandleByUUID(uuid): return uuid.decode()
def nvmlDeviceGetMemoryInfo(handle): return Of(used=10, total=100)
def nvmlDeviceGetUtilizationRates(handle): return Of(gpu=40)
def nvmlDeviceGetPowerUsage(handle): return 512310
def nvmlDeviceGetEnforcedPowerLimit(handle): raise NVMLError("not supported")
def nvmlDeviceGetTemperature(handle, which): return 54
def nvmlDeviceGetClockInfo(handle, which): return 1980
def nvmlDeviceGetCurrentClocksThrottleReasons(handle): return 0x84
def nvmlDeviceGetComputeRunningProcesses(handle): return [Of(pid=%d, usedGpuMemory=None)]
def nvmlDeviceGetProcessUtilization(handle, since): return [Of(pid=%d, smUtil=30)]
"""


def test_nvml_is_asked_where_its_binding_is_installed(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: Device
) -> None:
    (tmp_path / "pynvml.py").write_text(NVML % (os.getppid(), os.getppid()))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(telemetry, "FIRST_LINE_S", 60.0)  # a busy machine starts the reader slowly
    importlib.invalidate_caches()
    with CudaBackend().telemetry(device, lambda: (os.getpid(),)) as samples:
        seen = next(samples)
    assert (seen.source, seen.util, seen.power_w, seen.power_limit_w) == ("nvml", 0.4, 512.31, None)
    assert seen.throttle == ("power cap", "power brake")
    assert (seen.foreign_pids, seen.foreign_util) == ((os.getppid(),), 0.3)
    assert "pynvml" not in sys.modules


# ---- trust ------------------------------------------------------------------------------------------------------------


def test_a_gpu_that_nobody_else_uses_is_ready_and_trusted() -> None:
    quiet = sample(foreign_pids=(), foreign_util=0.0, throttle=("idle",))
    assert trust.ready([quiet]).ok and trust.trusted([quiet, quiet]).ok


@pytest.mark.parametrize("reason", sorted(trust.VOID))
def test_a_gpu_that_slowed_down_voids_the_time_in_which_it_did(reason: str) -> None:
    hot, cool = sample(throttle=(reason,)), sample(throttle=())
    assert trust.trusted([cool, hot]).reasons == (f"the GPU slowed down: {reason}",)
    assert trust.trusted([hot, cool]).ok, "the first sample is of an earlier time"


def test_the_power_cap_is_a_warning_only() -> None:
    check = trust.trusted([sample(), sample(throttle=("power cap",))])
    assert check.ok and check.warnings == ("the GPU ran at its power cap",)


def test_a_falling_clock_is_a_warning() -> None:
    assert trust.trusted([sample(), sample(clock_mhz=1500.0)]).warnings == ("the clock fell from 1980 to 1500 MHz",)


def test_others_on_the_gpu_have_to_be_waited_for_and_void_what_is_measured_beside_them() -> None:
    alone, here = sample(foreign_pids=()), sample(foreign_pids=(7, 8))
    assert trust.ready([alone, here]).reasons == ("other processes hold the GPU: pid 7, 8",)
    assert trust.trusted([alone, here]).reasons == trust.trusted([here, here]).reasons == trust.ready([here]).reasons
    assert trust.trusted([here, alone]).ok, "who is gone since is no reason"
    busy = sample(foreign_util=0.4, foreign_pids=(7,))
    assert trust.ready([busy]).reasons == ("other processes use 40% of the GPU, limit 10%",)


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        ({"swap_used": 100 << 20}, "swap is growing"),
        ({"on_battery": True}, "on battery"),
        ({"steal": 0.5}, "the hypervisor takes"),
        ({"util": None, "clock_mhz": None, "temp_c": None}, "nothing could be read from the GPU"),
    ],
    ids=["swap", "battery", "steal", "blind"],
)
def test_the_host_counts_too(later: dict[str, object], reason: str) -> None:
    assert any(reason in line for line in trust.trusted([sample(), sample(**later)]).reasons)
    assert not trust.trusted([]).ok


# ---- ceilings ---------------------------------------------------------------------------------------------------------


def test_a_card_is_matched_by_its_whole_name() -> None:
    assert datasheet("NVIDIA L4").bandwidth is not None
    assert datasheet("NVIDIA L40S") == datasheet("NVIDIA L4 ") == datasheet("")
    assert not datasheet("NVIDIA L40S").compute


def test_every_card_of_the_table_is_plausible_and_named_once() -> None:
    cards: tuple[Card, ...] = _table()
    names = [name for card in cards for name in card.match]
    assert len(names) == len(set(names)) and len(cards) == 14
    for card in cards:
        assert 200 <= card.bandwidth_gbs <= 10_000 and card.sources
        assert card.fp8_tflops is None or card.fp16_tflops is None or card.fp8_tflops > card.fp16_tflops


def test_what_cannot_be_measured_here_comes_from_the_datasheet_and_says_so(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vibeserve_cpu.ceilings.MEASURING_S", 0.01)
    found = CudaBackend().ceilings(device, 1 << 20)
    assert found.bandwidth is not None and found.bandwidth.value == 4.8e12
    assert {one.provenance for one in (found.bandwidth, *found.compute.values())} == {"datasheet"}
    assert found.compute["bfloat16"].value == 989e12
