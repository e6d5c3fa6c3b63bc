"""The GPU watched while something is measured: a reader that runs beside us, and one summary per look.

A look covers the time since the one before, so the reader writes into a file twice a second and each look takes what is
new: a GPU that throttled in the middle of a block is seen, although nobody looked then. Swap, battery and steal are the
host's, and come from the cpu backend's telemetry.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from vibeserve_cpu.cpu import CpuBackend
from vibeserve_cpu.host import Tail, mean, trees_of
from vibeserve_cuda import child, nvidia_smi
from vibeserve_tui.backend import Device, Pids, Telemetry
from vibeserve_tui.errors import BackendError

INTERVAL_S = 0.5
FIRST_LINE_S = 3.0
"""How long the reader may take to begin."""
FOREIGN_MEMORY = 256 << 20
FOREIGN_SHARE = 0.10
REASONS = {
    0x1: "idle", 0x2: "application clocks", 0x4: "power cap", 0x8: "hardware slowdown", 0x10: "sync boost",
    0x20: "software thermal slowdown", 0x40: "hardware thermal slowdown", 0x80: "power brake", 0x100: "display clocks",
}  # fmt: skip
"""NVML's clock event reasons."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One line of the reader. Shares are 0..1, memory in bytes; what the driver does not tell is None."""

    util: float | None = None
    mem_used: int | None = None
    mem_total: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temp_c: float | None = None
    clock_mhz: float | None = None
    reasons: int | None = None
    processes: Mapping[int, tuple[int, float]] | None = None
    """Memory and share of the GPU by pid; None where the reader cannot tell."""


def from_smi(row: nvidia_smi.Row) -> Reading:
    util = nvidia_smi.number(row.get("utilization.gpu"))
    mask = row.get("clocks_event_reasons.active", row.get("clocks_throttle_reasons.active", ""))
    return Reading(
        util=None if util is None else util / 100,
        mem_used=nvidia_smi.mebibytes(row.get("memory.used")),
        mem_total=nvidia_smi.mebibytes(row.get("memory.total")),
        power_w=nvidia_smi.number(row.get("power.draw")),
        power_limit_w=nvidia_smi.number(row.get("power.limit")),
        temp_c=nvidia_smi.number(row.get("temperature.gpu")),
        clock_mhz=nvidia_smi.number(row.get("clocks.sm")),
        reasons=int(mask, 16) if mask.startswith("0x") else None,
    )


def from_nvml(line: str) -> Reading:
    """One line of `nvml_watch`."""
    told = json.loads(line)
    users = told.pop("processes", None)
    seen = None if users is None else {one["pid"]: (one["mem"], one["util"]) for one in users}
    return Reading(processes=seen, **told)


@dataclass(slots=True)
class Watch:
    """A reader that writes lines into a file; `take` gives the readings that are new."""

    source: str
    process: subprocess.Popen[bytes]
    output: Tail
    _header: str = ""

    def take(self, wait_s: float = 0.0) -> list[Reading]:
        deadline = time.monotonic() + wait_s
        while not (found := self._new()) and time.monotonic() < deadline and self.process.poll() is None:
            time.sleep(0.05)
        return found

    def _new(self) -> list[Reading]:
        lines = self.output.lines()
        if self.source == "nvml":
            return [from_nvml(line) for line in lines]
        if lines and not self._header:
            self._header = lines.pop(0)
        return [from_smi(row) for row in nvidia_smi.rows("\n".join([self._header, *lines]))]


@contextlib.contextmanager
def watching(uuid: str) -> Iterator[Watch | None]:
    """NVML where its binding is installed, else nvidia-smi; None when the driver answers neither."""
    try:
        source, command = _reader(uuid)
    except BackendError:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="vibeserve-gpu-") as folder:
        path = Path(folder, "readings")
        with path.open("wb") as file:
            quiet = subprocess.DEVNULL
            process = subprocess.Popen(command, stdin=quiet, stdout=file, stderr=quiet, env=child.environment())
        try:
            yield Watch(source, process, Tail(path))
        finally:
            process.kill()
            process.wait()


def _reader(uuid: str) -> tuple[str, tuple[str, ...]]:
    if importlib.util.find_spec("pynvml"):
        return "nvml", child.command("vibeserve_cuda.nvml_watch", uuid, str(INTERVAL_S))
    return "nvidia-smi", nvidia_smi.watch_command(uuid, INTERVAL_S)


@contextlib.contextmanager
def samples(device: Device, uuid: str, own: Pids) -> Iterator[Iterator[Telemetry]]:
    """Telemetry of one GPU and its host, without end."""
    with CpuBackend().telemetry(device, own) as host, watching(uuid) as watch:
        yield _looks(host, watch, uuid, own)


def _looks(host: Iterator[Telemetry], watch: Watch | None, uuid: str, own: Pids) -> Iterator[Telemetry]:
    wait_s = FIRST_LINE_S
    while True:
        machine = next(host)
        readings = watch.take(wait_s) if watch else []
        wait_s = INTERVAL_S
        users = _users(readings, uuid)
        yield summarise(machine, readings, users, trees_of(own()), watch.source if watch else "none")


def summarise(
    machine: Telemetry,
    readings: Sequence[Reading],
    users: Mapping[int, tuple[int, float]] | None,
    ours: Collection[int],
    source: str,
) -> Telemetry:
    """One look: means of shares and rates, the last of what is a level, and every reason to slow down that was seen."""
    last = readings[-1] if readings else Reading()
    masks = [reading.reasons for reading in readings if reading.reasons is not None]
    foreign = None if users is None else {pid: use for pid, use in users.items() if pid not in ours}
    return machine.model_copy(
        update={
            "source": source,
            "util": mean(reading.util for reading in readings),
            "clock_mhz": mean(reading.clock_mhz for reading in readings),
            "power_w": mean(reading.power_w for reading in readings),
            "power_limit_w": last.power_limit_w,
            "temp_c": max((reading.temp_c for reading in readings if reading.temp_c is not None), default=None),
            "mem_used": last.mem_used,
            "mem_total": last.mem_total,
            "throttle": tuple(name for bit, name in REASONS.items() if any(mask & bit for mask in masks))
            if masks
            else None,
            "foreign_util": None if foreign is None else min(1.0, sum(share for _, share in foreign.values())),
            "foreign_pids": None
            if foreign is None
            else tuple(sorted(pid for pid, (held, share) in foreign.items() if _in_earnest(held, share))),
        }
    )


def _in_earnest(held: int, share: float) -> bool:
    return held > FOREIGN_MEMORY or share > FOREIGN_SHARE


def _users(readings: Sequence[Reading], uuid: str) -> dict[int, tuple[int, float]] | None:
    """Who computed on the GPU during a look, with the most that they took of it.

    A pid that does not exist here belongs to another namespace: whether it is ours cannot be told, so it is left out.
    nvidia-smi knows no share by process; there memory has to tell.
    """
    told = [reading.processes for reading in readings if reading.processes is not None]
    if not told:
        try:
            told = [{pid: (held or 0, 0.0) for pid, held in nvidia_smi.compute_processes(uuid).items()}]
        except BackendError:
            return None
    found: dict[int, tuple[int, float]] = {}
    for seen in told:
        for pid, (held, share) in seen.items():
            before = found.get(pid, (0, 0.0))
            found[pid] = max(before[0], held), max(before[1], share)
    return {pid: use for pid, use in found.items() if psutil.pid_exists(pid)}
