"""The cuda backend's profilers: timelines, tables and traces as the tools write them, read without a GPU."""

from __future__ import annotations

import csv
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backends.stand_ins import DATA, KERNELS, nsys_export
from vibeserve_cuda import ncu
from vibeserve_cuda.nsys import Nsys, timeline
from vibeserve_cuda.timeline import Timeline, Work, phase_of, report, short
from vibeserve_cuda.torch_trace import TorchTrace, report_of, self_times
from vibeserve_tui.backend import Window
from vibeserve_tui.profile_report import Quality, covered, shares


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
