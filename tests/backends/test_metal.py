"""The metal backend without a Mac: written samples of the tools' formats, and stand-ins for the tools themselves."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backends.stand_ins import COLUMNS, DATA, contents, mac, metal_intervals, program, registry, tools
from vibeserve_metal import machine, powermetrics, telemetry, trust
from vibeserve_metal.ceilings import _table, published
from vibeserve_metal.metal import MetalBackend
from vibeserve_metal.mlx_steps import MlxCapture, MlxSteps, Steps, report
from vibeserve_metal.powermetrics import Powermetrics
from vibeserve_metal.xctrace import Xctrace
from vibeserve_tui.backend import Device, Telemetry, Window
from vibeserve_tui.evaluation.sentinels import watching
from vibeserve_tui.profile_report import Quality

__all__ = ["tools"]
GIB = 1 << 30
MACHINE = Telemetry(t=1.0, source="psutil", swap_used=0, on_battery=False)


@pytest.fixture
def on_a_mac(tools: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    mac(tools)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("26.1", ("", "", ""), "arm64"))
    return tools


@pytest.fixture
def device(on_a_mac: Path) -> Device:
    return MetalBackend().detect()[0]


def sample(**figures: object) -> Telemetry:
    return MACHINE.model_copy(update={"util": 0.9, "clock_mhz": 1338.0, "thermal_level": 0} | figures)


# ---- which Mac --------------------------------------------------------------------------------------------------------


def test_a_mac_is_found_with_its_gpu_cores_and_the_memory_that_its_gpu_may_have(device: Device) -> None:
    assert (device.id, device.name, device.compute_units, device.unified) == ("metal:0", "Apple M3 Pro", 18, True)
    assert device.memory_total == 36 * GIB and device.memory_usable == 27 * GIB
    assert device.capabilities == ("metal", "bf16")


def test_a_wired_limit_that_the_user_set_is_respected(on_a_mac: Path) -> None:
    program(
        on_a_mac,
        "sysctl",
        "print('machdep.cpu.brand_string: Apple M5 Max\\nhw.memsize: 17179869184\\niogpu.wired_limit_mb: 8192')",
    )
    found = MetalBackend().detect()[0]
    assert found.memory_usable == 8 * GIB
    assert "neural_accelerator" in found.capabilities


def test_system_profiler_counts_the_cores_where_the_registry_does_not(on_a_mac: Path) -> None:
    (on_a_mac / "registry").write_bytes(registry(cores=None))
    told = {
        "SPDisplaysDataType": [{"_name": "Apple M3 Pro", "sppci_cores": "14", "sppci_device_type": "spdisplays_gpu"}]
    }
    program(on_a_mac, "system_profiler", f"print({json.dumps(told)!r})")
    assert MetalBackend().detect()[0].compute_units == 14
    program(on_a_mac, "system_profiler", "print('not json')")
    assert MetalBackend().detect()[0].compute_units is None


@pytest.mark.parametrize("source", ["import time; time.sleep(60)", "print('garbage')", "import sys; sys.exit(1)"])
def test_tools_that_fail_mean_no_device_and_a_reason(
    on_a_mac: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr(machine, "LIMIT_S", 0.5)
    program(on_a_mac, "sysctl", source)
    state = MetalBackend().availability(None)
    assert MetalBackend().detect() == [] and not state.usable and state.fix


def test_an_intel_mac_is_told_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert MetalBackend().availability(None).reason == "no Apple Silicon: this is Darwin on x86_64"


def test_a_mac_without_mlx_is_not_enough(device: Device, on_a_mac: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MetalBackend().availability(device).reason == "mlx is not installed"
    (on_a_mac / "mlx").mkdir()
    monkeypatch.syspath_prepend(on_a_mac)
    mac(on_a_mac, saving=1)
    state = MetalBackend().availability(device)
    assert state.usable
    assert {line.id: line.observed for line in state.requirements if not line.ok}["Low Power Mode"] == "on"


# ---- telemetry --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["macmon_new.json", "macmon_old.json"])
def test_both_forms_of_macmon_say_the_same(file: str) -> None:
    assert telemetry.from_macmon((DATA / "metal" / file).read_text()) == telemetry.Reading(0.97, 1338.0, 34.6, 58.25)


@pytest.mark.parametrize("line", ["[]", "{}", "", "macmon 0.8", '"x"'])
def test_what_is_no_sample_is_refused(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the reason
        telemetry.from_macmon(line)


@pytest.mark.parametrize("answer", [b"", b"garbage", b"<plist><array></plist>", registry()[:200], b"x" * 100])
def test_a_registry_that_cannot_be_read_is_unknown(answer: bytes) -> None:
    assert machine.parse_registry(answer) is None


def test_implausible_figures_of_the_registry_are_unknown_not_zero() -> None:
    gpu = machine.parse_registry(registry(util=180))
    assert gpu is not None and gpu.util is None


def test_each_process_is_known_by_the_gpu_time_that_it_used() -> None:
    before = machine.parse_registry(registry(gpu_ns={1: 5_000_000_000, 2: 100}))
    after = machine.parse_registry(registry(gpu_ns={1: 5_500_000_000, 2: 100, 3: 200_000_000}))
    shares = telemetry.shares_of(before, after, 1.0)
    assert shares == {1: 0.5, 2: 0.0, 3: 0.2}
    seen = telemetry.summarise(MACHINE, after, shares, [], {1})
    assert (seen.foreign_util, seen.foreign_pids, seen.source, seen.util) == (0.2, (3,), "ioreg", 0.97)
    assert telemetry.shares_of(None, after, 1.0) is None


def test_a_mac_is_watched_by_what_it_has(device: Device, on_a_mac: Path) -> None:
    line = (DATA / "metal" / "macmon_new.json").read_text().strip()
    program(
        on_a_mac,
        "macmon",
        f"import time\nprint('macmon 0.8', flush=True)\nwhile True:\n    print({line!r}, flush=True)\n    time.sleep(0.05)",
    )
    mac(on_a_mac, thermal=2, saving=1)
    with MetalBackend().telemetry(device, lambda: (os.getpid(),)) as samples:
        seen = [next(samples)]
        while seen[-1].source != "macmon" and len(seen) < 50:
            seen.append(next(samples))
    last = seen[-1]
    assert (last.clock_mhz, last.power_w) == (pytest.approx(1338.0), pytest.approx(34.6))
    assert (last.thermal_level, last.low_power_mode) == (2, True)


def test_the_sentinels_of_a_measurement_work_on_it(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vibeserve_tui.evaluation.sentinels.LOOK_S", 0.2)
    with watching(MetalBackend(), device) as sentinels:
        assert "nothing could be read" not in " ".join(sentinels.ready().reasons)
        assert sentinels.trusted().ok


# ---- trust ------------------------------------------------------------------------------------------------------------


def test_a_cool_mac_that_nobody_else_uses_is_ready_and_trusted() -> None:
    assert trust.ready([sample(foreign_util=0.02)]).ok
    assert trust.trusted([sample(), sample()]) == trust.trusted([sample()])


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        ({"thermal_level": 1}, "the machine is warm (thermal level 1): let it cool down"),
        ({"clock_mhz": 1000.0}, "the GPU's clock fell from 1338 to 1000 MHz"),
        ({"swap_used": 100 << 20}, "swap is growing"),
        ({"on_battery": True}, "on battery"),
        ({"low_power_mode": True}, "Low Power Mode is on"),
        ({"foreign_util": 0.4}, "other processes used 40% of the GPU"),
        ({"util": None}, "nothing could be read from the GPU"),
    ],
    ids=["heat", "clock", "swap", "battery", "low power", "others", "blind"],
)
def test_a_laptop_that_changed_voids_a_measurement(later: dict[str, object], reason: str) -> None:
    assert trust.trusted([sample(), sample(**later)]).reasons == (reason,)


def test_a_window_that_is_redrawn_is_only_worth_a_warning() -> None:
    check = trust.trusted([sample(), sample(foreign_util=0.2)])
    assert check.ok and check.warnings == ("other processes used 20% of the GPU",)
    assert not trust.ready([sample(foreign_util=0.2)]).ok


def test_an_idle_gpu_clocks_down_by_itself() -> None:
    assert trust.trusted([sample(), sample(util=0.1, clock_mhz=338.0)]).ok


def test_a_warm_mac_has_to_cool_down_first() -> None:
    assert trust.ready([sample(thermal_level=2)]).reasons == (
        "the machine is warm (thermal level 2): let it cool down",
    )
    assert not trust.trusted([sample(thermal_level=2), sample(thermal_level=2)]).ok
    assert trust.trusted([sample(thermal_level=2), sample()]).ok, "the first sample is of an earlier time"
    assert not trust.trusted([]).ok


# ---- ceilings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cores", "memory", "bandwidth", "flops"),
    [
        ("Apple M3 Pro", 18, 36 * GIB, 150e9, 6.44e12),
        ("Apple M3 Max", 30, 36 * GIB, 300e9, 10.74e12),
        ("Apple M3 Max", 40, 128 * GIB, 400e9, 14.32e12),
        ("Apple M6", 12, 16 * GIB, 153e9, None),
        ("Apple M6", 12, 32 * GIB, 170e9, None),
    ],
)
def test_a_chip_is_known_by_its_name_its_cores_and_its_memory(
    name: str, cores: int, memory: int, bandwidth: float, flops: float | None
) -> None:
    found = published(name, cores, memory)
    assert found.bandwidth is not None and found.bandwidth.value == bandwidth
    assert (found.compute["float16"].value if found.compute else None) == flops


def test_an_unknown_chip_has_no_ceiling_and_every_known_one_is_plausible(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert published("Apple M3", 18, 8 * GIB).bandwidth is None
    assert published("Apple M99", 10, 8 * GIB).bandwidth is None
    names = [name for chip in _table() for name in chip.match]
    assert len(names) == len(set(names)) == 20
    assert all(60 <= one.bandwidth_gbs <= 1300 for chip in _table() for one in chip.variants)
    monkeypatch.setattr("vibeserve_cpu.ceilings.MEASURING_S", 0.01)
    found = MetalBackend().ceilings(device, 1 << 20)
    assert found.bandwidth is not None and found.bandwidth.provenance == "datasheet"


# ---- profilers --------------------------------------------------------------------------------------------------------


def exported(folder: Path, encoders: list[tuple[int, int, str, int]], pid: int = 4242) -> Path:
    (folder / "toc.xml").write_text(contents(pid))
    (folder / "gpu.xml").write_text(metal_intervals(encoders))
    return folder


STEPS = [(at * 1_000_000, 800_000, "Compute", 4242) for at in range(30)]
OTHERS = [(at * 1_000_000, 100_000, "Fragment", 181) for at in range(30)]


def test_a_timeline_counts_our_encoders_only(tmp_path: Path) -> None:
    found = Xctrace().parse(exported(tmp_path, [*STEPS, *OTHERS]))
    assert found.samples == 30 and found.window_s == pytest.approx(0.0298)
    assert found.device_idle == pytest.approx(1 - 30 * 0.8 / 29.8, abs=1e-4)
    assert found.hints == ("sync_bound",)


@given(
    encoders=st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 10**6)), min_size=20, max_size=40, unique=True)
)
def test_busy_and_idle_are_the_window_whatever_the_order_of_rows(
    tmp_path_factory: pytest.TempPathFactory, encoders: list[tuple[int, int]]
) -> None:
    folder = exported(tmp_path_factory.mktemp("x"), [(start, took, "Compute", 4242) for start, took in encoders])
    found = Xctrace().parse(folder)
    assert found.device_idle is not None and 0 <= found.device_idle <= 1
    assert found.window_s == pytest.approx((max(a + b for a, b in encoders) - min(a for a, _ in encoders)) / 1e9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("metal-gpu-intervals", "other-table"), "not metal-gpu-intervals"),
        (("<sentinel/>", ""), "5 cells, the table 6 columns"),
        (('ref="2"', 'ref="999"'), "refers to 999"),
        (("<mnemonic>process<", "<mnemonic>other<"), "no column process"),
        (("</trace-query-result>", ""), "not an export"),
    ],
    ids=["a wrong table", "a lost cell", "a dangling ref", "a lost column", "half a file"],
)
def test_an_export_of_another_form_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    exported(tmp_path, STEPS)
    (tmp_path / "gpu.xml").write_text(metal_intervals(STEPS).replace(*change))
    with pytest.raises(ValueError, match=message):
        Xctrace().parse(tmp_path)


def test_rows_of_others_alone_are_a_failed_profile_and_not_an_idle_gpu(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only 0 of 60 rows are the server's"):
        Xctrace().parse(exported(tmp_path, [*STEPS, *OTHERS], pid=99))
    (tmp_path / "toc.xml").write_text("<trace-toc/>")
    with pytest.raises(ValueError, match="no launched process"):
        Xctrace().parse(tmp_path)


def test_xctrace_is_there_only_with_the_whole_of_xcode(tools: Path) -> None:
    program(tools, "xctrace", "")
    program(tools, "xcrun", "import sys; sys.exit('xcrun: error: unable to find utility \"xctrace\"')")
    assert "install Xcode" in Xctrace().availability().fix
    program(tools, "xcrun", "print('/Applications/Xcode.app/Contents/Developer/usr/bin/xctrace')")
    assert Xctrace().availability().usable


def test_powermetrics_tells_busyness_and_heat() -> None:
    found = powermetrics.report((DATA / "metal" / "powermetrics.txt").read_text())
    assert found.samples == 4 and found.window_s == pytest.approx(2.0)
    assert found.device_idle == pytest.approx(0.06) and found.hints == ("thermal_bound",)
    with pytest.raises(ValueError, match="only 0 samples"):
        powermetrics.report("powermetrics must be invoked as the superuser")


def test_powermetrics_is_never_run_with_sudo(tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tools, "powermetrics", "")
    monkeypatch.setattr(os, "geteuid", lambda: 501)
    state = Powermetrics().availability()
    assert not state.usable and state.fix.startswith("sudo powermetrics")
    assert "sudo" not in Powermetrics().plan(1, tmp_path, 6).argv


def test_time_between_evaluations_is_the_hosts() -> None:
    evals = tuple((at * 1.0, at + 0.6) for at in range(30))
    steps = Steps(evals=evals, peak_memory=1, active_memory=1, cache_memory=None, captured=False)
    found = report(steps)
    assert found.phases == {"model": pytest.approx(18 / 29.6, abs=1e-3), "host": pytest.approx(11.6 / 29.6, abs=1e-3)}
    assert found.hints == ("python_overhead_bound",) and found.quality is Quality.UNCALIBRATED
    assert report(steps.model_copy(update={"captured": True})).quality is Quality.PERTURBED
    with pytest.raises(ValueError, match="only 3 evaluations"):
        report(steps.model_copy(update={"evals": evals[:3]}))


def test_a_capture_is_enabled_only_when_it_was_asked_for(tmp_path: Path) -> None:
    window = Window(delay_s=1, seconds=2)
    assert "MTL_CAPTURE_ENABLED" not in MlxSteps().wrap(("serve",), tmp_path, window).env
    assert MlxCapture().wrap(("serve",), tmp_path, window).env["MTL_CAPTURE_ENABLED"] == "1"
    assert "MTL_CAPTURE_ENABLED" not in MetalBackend().candidate_env(Device.model_construct(id="metal:0")).env
    assert len(COLUMNS) == 6
