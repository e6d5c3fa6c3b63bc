"""The Mac watched while something is measured: GPU load, clock, heat, power, and who else uses the GPU.

Figures that Apple keeps private (clock, watts) come from the user's own `macmon` where it is installed: this project ships
no code against private libraries, and never asks for root. Without it the registry still tells load, memory and the GPU
time of every process. The registry's counters cover the whole time between two looks; heat is the highest level seen.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vibeserve_cpu.cpu import CpuBackend
from vibeserve_cpu.host import Tail, mean, trees_of
from vibeserve_metal import machine
from vibeserve_tui.backend import Device, Pids, Telemetry

INTERVAL_MS = 500
FOREIGN_SHARE = 0.10


@dataclass(frozen=True, slots=True)
class Reading:
    """One line of macmon."""

    util: float | None
    clock_mhz: float | None
    power_w: float | None
    temp_c: float | None


def from_macmon(line: str) -> Reading:
    """Of version 0.8, or of one before it, where `gpu_usage` holds MHz and ratio. Raises ValueError for anything else."""
    match json.loads(line):
        case {"memory": _, **told}:
            pass
        case _:
            raise ValueError("not a sample of macmon")
    old = told.get("gpu_usage")
    clock, util = old if isinstance(old, list) and len(old) == 2 else (None, None)
    heat = told.get("temp")
    return Reading(
        util=_number(told.get("gpu_active_ratio", util)),
        clock_mhz=_number(told.get("gpu_freq_mhz", clock)),
        power_w=_number(told.get("sys_power", told.get("all_power"))),
        temp_c=_number(heat.get("gpu_temp_avg")) if isinstance(heat, dict) else None,
    )


@dataclass(slots=True)
class Macmon:
    """macmon at work: it writes lines into a file, `take` gives the readings that are new."""

    output: Tail

    def take(self) -> list[Reading]:
        found = []
        for line in self.output.lines():
            # Its first words may be about itself.
            with contextlib.suppress(ValueError):
                found.append(from_macmon(line))
        return found


@contextlib.contextmanager
def macmon() -> Iterator[Macmon | None]:
    if shutil.which("macmon") is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="vibeserve-gpu-") as folder:
        path = Path(folder, "readings")
        command, quiet = ("macmon", "pipe", "-i", str(INTERVAL_MS)), subprocess.DEVNULL
        with path.open("wb") as file:
            process = subprocess.Popen(command, stdin=quiet, stdout=file, stderr=quiet)
        try:
            yield Macmon(Tail(path))
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def samples(device: Device, own: Pids) -> Iterator[Iterator[Telemetry]]:
    """Telemetry of one Mac, without end."""
    with CpuBackend().telemetry(device, own) as host, macmon() as monitor:
        yield _looks(host, monitor, own)


def _looks(host: Iterator[Telemetry], monitor: Macmon | None, own: Pids) -> Iterator[Telemetry]:
    then, before = time.monotonic(), machine.read_gpu()
    while True:
        sample, now, gpu = next(host), time.monotonic(), machine.read_gpu()
        shares = shares_of(before, gpu, now - then)
        readings = monitor.take() if monitor else []
        yield summarise(sample, gpu, shares, readings, trees_of(own())).model_copy(
            update={"thermal_level": machine.thermal_level(), "low_power_mode": machine.low_power_mode()}
        )
        then, before = now, gpu


def shares_of(before: machine.Gpu | None, after: machine.Gpu | None, elapsed_s: float) -> dict[int, float] | None:
    """Share of the GPU that each process used between two looks; None when one of them saw nothing."""
    if before is None or after is None or elapsed_s <= 0:
        return None
    return {pid: max(0, spent - before.gpu_ns.get(pid, 0)) / 1e9 / elapsed_s for pid, spent in after.gpu_ns.items()}


def summarise(
    sample: Telemetry,
    gpu: machine.Gpu | None,
    shares: Mapping[int, float] | None,
    readings: Sequence[Reading],
    ours: Collection[int],
) -> Telemetry:
    foreign = None if shares is None else {pid: share for pid, share in shares.items() if pid not in ours}
    watched = mean(reading.util for reading in readings)
    return sample.model_copy(
        update={
            "source": "macmon" if readings else "ioreg" if gpu else "none",
            "util": watched if watched is not None else gpu and gpu.util,
            "clock_mhz": mean(reading.clock_mhz for reading in readings),
            "power_w": mean(reading.power_w for reading in readings),
            "temp_c": max((reading.temp_c for reading in readings if reading.temp_c is not None), default=None),
            "foreign_util": None if foreign is None else min(1.0, sum(foreign.values())),
            "foreign_pids": None
            if foreign is None
            else tuple(sorted(pid for pid, share in foreign.items() if share > FOREIGN_SHARE)),
        }
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
