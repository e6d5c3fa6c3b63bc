"""The cuda backend without a GPU: written samples of the tools' formats, and stand-ins for the tools themselves."""

from __future__ import annotations

import csv
import importlib
import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backends.stand_ins import (
    DATA,
    H200,
    KERNELS,
    NO_PROCESSES,
    UUID,
    live,
    nsys_export,
    nvidia_smi,
    program,
    tools,
)
from vibeserve_cuda import cuda, ncu, telemetry, trust
from vibeserve_cuda import nvidia_smi as smi
from vibeserve_cuda.ceilings import Card, _table, datasheet
from vibeserve_cuda.cuda import CudaBackend
from vibeserve_cuda.nsys import Nsys, timeline
from vibeserve_cuda.timeline import Timeline, Work, phase_of, report, short
from vibeserve_cuda.torch_trace import TorchTrace, report_of, self_times
from vibeserve_tui.backend import Device, Telemetry, Window
from vibeserve_tui.evaluation.sentinels import watching
from vibeserve_tui.profile_report import Quality, covered, shares

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


# ---- profilers --------------------------------------------------------------------------------------------------------


def test_an_export_of_nsys_gives_shares_idleness_and_the_reason_for_it(tmp_path: Path) -> None:
    truth = nsys_export(tmp_path / "nsys.sqlite")
    found = Nsys().parse(tmp_path)
    assert found.window_s == pytest.approx(truth["window"] / 1e9)
    assert found.device_idle == pytest.approx(1 - truth["busy"] / truth["window"], abs=1e-4)
    assert {name: found.operations[name] for name, _ in KERNELS} == pytest.approx(
        {name: truth[name] for name, _ in KERNELS}, abs=1e-4
    )
    assert list(found.phases) == ["model", "attention", "numerics"] and sum(found.phases.values()) == pytest.approx(
        1, abs=1e-3
    )
    assert found.hints == ("python_overhead_bound",)


def test_launches_longer_than_kernels_are_what_binds(tmp_path: Path) -> None:
    nsys_export(tmp_path / "nsys.sqlite", launch_ns=90_000)
    assert "cpu_launch_bound" in Nsys().parse(tmp_path).hints


def test_nvidias_own_report_script_finds_the_same(tmp_path: Path) -> None:
    """The table is what `nsys stats` 2022.4 printed for this file, whose steps are synthetic and whose schema is theirs."""
    shutil.copy(DATA / "cuda" / "nsys_schema_3.sqlite", tmp_path / "nsys.sqlite")
    theirs = list(csv.DictReader((DATA / "cuda" / "nsys_stats_gpukernsum.csv").open()))
    total = sum(int(row["Total Time (ns)"]) for row in theirs)
    ours = {name: part for name, part in Nsys().parse(tmp_path).operations.items() if not name.startswith("Memcpy")}
    kernels = sum(ours.values())
    assert {name: part / kernels for name, part in ours.items()} == pytest.approx(
        {short(row["Name"]): int(row["Total Time (ns)"]) / total for row in theirs}, abs=2e-4
    )


@pytest.mark.parametrize(
    "spoil",
    [
        "drop table CUPTI_ACTIVITY_KIND_KERNEL",
        "update CUPTI_ACTIVITY_KIND_KERNEL set deviceId = correlationId % 2",
        "delete from CUPTI_ACTIVITY_KIND_KERNEL",
        "drop table StringIds",
    ],
)
def test_an_export_that_cannot_be_believed_is_refused(tmp_path: Path, spoil: str) -> None:
    nsys_export(tmp_path / "nsys.sqlite")
    database = sqlite3.connect(tmp_path / "nsys.sqlite")
    database.execute(spoil)
    database.commit()
    database.close()
    with pytest.raises(ValueError, match=r"kernels|exported"):
        Nsys().parse(tmp_path)


def test_tables_without_rows_are_absent_and_that_is_no_fault(tmp_path: Path) -> None:
    nsys_export(tmp_path / "nsys.sqlite")
    database = sqlite3.connect(tmp_path / "nsys.sqlite")
    for table in ("RUNTIME", "MEMCPY"):
        database.execute(f"drop table CUPTI_ACTIVITY_KIND_{table}")
    assert timeline(database).calls == []
    database.close()


def test_a_text_file_is_no_export(tmp_path: Path) -> None:
    (tmp_path / "nsys.sqlite").write_text("Processing [p.sqlite] with [reports/osrtsum.py]...")
    with pytest.raises(ValueError, match="not a report"):
        Nsys().parse(tmp_path)


SPANS = st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 100)), min_size=1, max_size=30)


@given(SPANS)
def test_overlapping_streams_count_once(drawn: list[tuple[int, int]]) -> None:
    spans = [(start, start + took) for start, took in drawn]
    assert covered(spans) == len({moment for start, end in spans for moment in range(start, end)})


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 100)), min_size=1))
def test_shares_are_parts_of_one(times: list[tuple[str, float]]) -> None:
    assert sum(shares(times).values()) == pytest.approx(1, abs=1e-3)
    assert list(shares(times).values()) == sorted(shares(times).values(), reverse=True)


def test_synchronising_copies_and_communication_are_named() -> None:
    kernels = [Work("gemm", at * 100.0, at * 100.0 + 40) for at in range(20)]
    waiting = [Work("cudaStreamSynchronize_v3020", 0, 500)]
    copies = [Work("Memcpy DtoH", 1950.0, 2150.0)]
    found = report("test", Timeline([*kernels, Work("ncclDevKernel_AllReduce", 0, 40)], copies, waiting))
    assert found.hints == ("python_overhead_bound", "sync_bound", "memcpy_bound", "comm_bound")
    with pytest.raises(ValueError, match="only 3 kernels"):
        report("test", Timeline(kernels[:3], [], []))
    with pytest.raises(ValueError, match="took no time"):
        report("test", Timeline([Work("gemm", 1.0, 1.0)] * 20, [], []))


@pytest.mark.parametrize(
    ("kernel", "phase", "name"),
    [
        (
            "void flash_fwd_splitkv_kernel<Flash_fwd_kernel_traits<(int)128>>(Flash_fwd_params)",
            "attention",
            "flash_fwd_splitkv_kernel",
        ),
        ("nvjet_tst_128x64_64x5_1x3_h_bz_coopA_NTn", "model", "nvjet_tst_128x64_64x5_1x3_h_bz_coopA_NTn"),
        ("void at::native::reduce_kernel<(int)512, MeanOps>(T3)", "numerics", "reduce_kernel"),
        ("void at::native::radixSortKVInPlace<(int)-1>(T1)", "sample", "radixSortKVInPlace"),
        ("Memcpy DtoH (Device -> Pinned)", "copy", "Memcpy DtoH"),
        ("something new", "other", "something new"),
    ],
)
def test_kernels_are_sorted_by_what_they_are_for(kernel: str, phase: str, name: str) -> None:
    assert (phase_of(kernel), short(kernel)) == (phase, name)


def test_a_table_of_ncu_says_what_kernels_are_bound_by() -> None:
    found = ncu.report((DATA / "cuda" / "ncu_raw.csv").read_text())
    assert found.quality is Quality.PERTURBED and found.samples == 3
    assert found.hints == ("kernel_bandwidth_bound",)
    assert found.operations["gemv2T_kernel_val"] == pytest.approx(52.10 / 64.12, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("==PROF== Connected", "==ERROR== ERR_NVGPUCTRPERM - no permission\n==PROF== Connected"), "run as root"),
        (('"us"', '"parsec"'), "unknown unit"),
        (("gpu__time_duration.sum", "other"), "no column"),
        (('\n"0"', '\n"9"'), ""),
    ],
    ids=["permission", "unit", "column", "sound"],
)
def test_a_table_that_cannot_be_believed_is_refused(change: tuple[str, str], message: str) -> None:
    text = (DATA / "cuda" / "ncu_raw.csv").read_text().replace(*change)
    if not message:
        assert ncu.report(text).samples == 3
        return
    with pytest.raises(ValueError, match=message):
        ncu.report(text)


def test_times_are_in_the_unit_that_the_table_names() -> None:
    text = (DATA / "cuda" / "ncu_raw.csv").read_text()
    assert ncu.report(text.replace('"us"', '"ns"')).window_s == pytest.approx(ncu.report(text).window_s / 1000)


def kernel_event(
    at: float, name: str = "void gemm<1>(T)", kind: str = "kernel", took: float = 40.0
) -> dict[str, object]:
    return {
        "ph": "X",
        "cat": kind,
        "name": name,
        "pid": 0,
        "tid": 7,
        "ts": at,
        "dur": took,
        "args": {"stream": 7, "correlation": 1},
    }


def test_a_trace_of_a_gpu_is_its_timeline_and_calls_of_the_host_are_not_counted_as_work() -> None:
    events = [kernel_event(at * 50.0) for at in range(40)]
    calls = [kernel_event(at * 50.0, "cudaLaunchKernel", "cuda_runtime", 45.0) for at in range(40)]
    found = report_of([*events, *calls, kernel_event(1995.0, "Memcpy DtoH (Device -> Pinned)", "gpu_memcpy", 5.0)])
    assert found.samples == 40 and found.device_idle == pytest.approx(0.1975, abs=0.01)
    assert found.operations == {"gemm": pytest.approx(0.997, abs=0.01), "Memcpy DtoH": pytest.approx(0.003, abs=0.01)}


def test_operators_inside_others_are_counted_once() -> None:
    outer, inner, later = Work("outer", 0, 100), Work("inner", 10, 40), Work("later", 100, 150)
    assert shares(self_times([later, inner, outer])) == {"outer": 0.4667, "later": 0.3333, "inner": 0.2}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"traceEvents": []}', '{"traceEvents": [{"ph": "X", "name": 1}]}'])
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "trace.json").write_text(text)
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the reason
        TorchTrace().parse(tmp_path)


def test_the_commands_leave_the_server_running_and_change_no_clock(tmp_path: Path) -> None:
    window, serve = Window(delay_s=20, seconds=6), ("python", "serve.py")
    assert {"--kill=none", "--delay=20", "--duration=6"} <= set(Nsys().wrap(serve, tmp_path, window).argv)
    assert "--clock-control=none" in ncu.Ncu().wrap(serve, tmp_path, window).argv
    assert TorchTrace().wrap(serve, tmp_path, window).argv == serve
