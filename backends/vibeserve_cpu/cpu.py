"""What this processor is, what a candidate's environment needs on it, and whether it was quiet enough to measure."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from vibeserve_cpu.ceilings import measured
from vibeserve_cpu.host import faults, mean, trees_of
from vibeserve_cpu.py_spy import PySpy
from vibeserve_tui.backend import (
    API_VERSION,
    Availability,
    CandidateEnv,
    Ceilings,
    Device,
    GateCheck,
    Pids,
    Profiler,
    Requirement,
    Telemetry,
)

FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "neon", "asimd")
MIN_FREE = 1 << 30
PRESSURE_LIMIT = 0.20
"""PSI `some avg10` before a run. It counts waiting only, so a machine that others fill exactly shows almost none."""
FOREIGN_LIMIT = 0.25
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
SHORTEST_SAMPLE_S = 0.05
"""Processor times tick every 10 ms: a shorter interval says nothing."""


class CpuBackend:
    name = "cpu"
    api_version = API_VERSION
    skill_tags = frozenset({"cpu"})
    cpu_time_is_work = True

    def detect(self) -> Sequence[Device]:
        name, flags, cache = _processor()
        capabilities = tuple(flag for flag in FLAGS if flag in flags)
        memory, limit = psutil.virtual_memory().total, _memory_limit()
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        identity = f"{name}|{cores}|{limit >> 30}|{capabilities}|{platform.system()} {platform.release()}"
        return [
            Device(
                id="cpu:0",
                name=name,
                vendor="cpu",
                memory_total=memory,
                memory_usable=int(0.8 * limit),
                unified=True,
                compute_units=cores,
                last_level_cache=cache,
                capabilities=capabilities,
                os=platform.platform(),
                driver=None,
                runtime={"python": platform.python_version()},
                fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:12],
            )
        ]

    def availability(self, device: Device | None) -> Availability:  # noqa: ARG002 - a processor is always there
        free = psutil.virtual_memory().available
        spy = PySpy().availability()
        memory = Requirement(
            id="memory",
            ok=free >= MIN_FREE,
            severity="required",
            observed=f"{free >> 20} MiB free",
            expected=f"at least {MIN_FREE >> 20} MiB",
            fix="close other programs",
        )
        profiler = Requirement(
            id="py-spy",
            ok=spy.usable,
            severity="recommended",
            observed="found" if spy.usable else spy.reason,
            expected="py-spy, for profiles",
            fix=spy.fix,
        )
        if memory.ok:
            return Availability(usable=True, requirements=(memory, profiler))
        return Availability(usable=False, reason=memory.observed, fix=memory.fix, requirements=(memory, profiler))

    def candidate_env(self, device: Device) -> CandidateEnv:  # noqa: ARG002 - the same on every processor
        # One thread to start with: two spinning OpenMP pools on a busy box cost 6-10 times the operator time.
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        return CandidateEnv(
            env=ONE_THREAD
            | offline
            | {"TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": "0"}
        )

    def profilers(self, device: Device) -> Sequence[Profiler]:  # noqa: ARG002
        return (PySpy(),)

    @contextlib.contextmanager
    def telemetry(self, device: Device, own: Pids) -> Iterator[Iterator[Telemetry]]:  # noqa: ARG002
        yield _samples(own)

    def ready(self, device: Device, recent: Sequence[Telemetry]) -> GateCheck:  # noqa: ARG002
        reasons = _reasons(recent)
        pressure = mean(sample.pressure for sample in recent)
        if pressure is not None and pressure > PRESSURE_LIMIT:
            reasons.append(f"processes wait for the CPU {pressure:.0%} of the time, limit {PRESSURE_LIMIT:.0%}")
        return GateCheck(ok=not reasons, reasons=tuple(reasons))

    def trusted(self, device: Device, during: Sequence[Telemetry]) -> GateCheck:  # noqa: ARG002
        if not during:
            return GateCheck(ok=False, reasons=("there is no telemetry of this time",))
        reasons = _reasons(during)
        return GateCheck(ok=not reasons, reasons=tuple(reasons))

    def ceilings(self, device: Device, weight_bytes: int) -> Ceilings:
        threads = device.compute_units or 1
        one = measured("vibeserve_cpu.measure_ceilings", weight_bytes, ONE_THREAD, how="one thread")
        scaled = {"conditions": f"{threads} times what one thread gave"}
        compute = {
            dtype: ceiling.model_copy(update={"value": threads * ceiling.value, **scaled})
            for dtype, ceiling in one.compute.items()
        }
        return Ceilings(bandwidth=one.bandwidth, compute=compute)

    def lease_key(self, device: Device) -> str:
        return device.id.replace(":", "-")


def _processor() -> tuple[str, set[str], int | None]:
    """Name, feature flags and size of the last-level cache in bytes."""
    if Path("/proc/cpuinfo").exists():
        name, flags = platform.machine(), set[str]()
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
                break
        return name, flags | ({"neon"} if "asimd" in flags else set()), _last_level_cache()
    name = _sysctl("machdep.cpu.brand_string") or platform.processor() or platform.machine()
    return name, {"neon"} if platform.machine() == "arm64" else {"avx2", "fma"}, None


def _sysctl(key: str) -> str:
    try:
        done = subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _last_level_cache() -> int | None:
    sizes = []
    for size in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = size.read_text().strip()
        if text.endswith("K") and text[:-1].isdigit():
            sizes.append(int(text[:-1]) << 10)
    return max(sizes, default=None)


def _memory_limit() -> int:
    limit = psutil.virtual_memory().total
    for knob in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            limit = min(limit, int(Path(knob).read_text()))
    return limit


def _samples(own: Pids) -> Iterator[Telemetry]:
    then, before, strangers = time.monotonic(), _busy(), _strangers(own)
    while True:
        now = time.monotonic()
        room = max(now - then, 1e-9) * (psutil.cpu_count() or 1)
        used = stolen = foreign = 0.0
        fresh = now - then > SHORTEST_SAMPLE_S
        if fresh:
            seen, present = _busy(), _strangers(own)
            used, stolen = seen[0] - before[0], seen[1] - before[1]
            foreign = sum(max(0.0, cpu_s - strangers.get(who, 0.0)) for who, cpu_s in present.items())
            then, before, strangers = now, seen, present
        memory, clock = psutil.virtual_memory(), psutil.cpu_freq()
        yield Telemetry(
            t=time.time(),
            source="psutil",
            util=min(1.0, used / room) if fresh else None,
            foreign_util=min(1.0, foreign / room) if fresh else None,
            steal=max(0.0, stolen) / room if fresh else None,
            mem_used=memory.total - memory.available,
            mem_total=memory.total,
            swap_used=psutil.swap_memory().used,
            clock_mhz=getattr(clock, "current", None),  # psutil gives none at all on many virtual machines
            pressure=_pressure(),
            on_battery=_on_battery(),
        )


def _busy() -> tuple[float, float]:
    """CPU seconds of the whole machine: in use, and stolen by the hypervisor."""
    times = psutil.cpu_times()
    steal = getattr(times, "steal", 0.0)
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "guest", 0.0)
    return sum(times) - idle - steal, steal


def _strangers(own: Pids) -> dict[tuple[int, float], float]:
    """CPU seconds of every process outside our own trees, by pid and start time.

    Others are summed rather than ours subtracted from the whole: what our killed servers used would else pass for
    foreign, because nobody waits for the processes of a killed box.
    """
    ours = trees_of(own())
    found: dict[tuple[int, float], float] = {}
    for process in psutil.process_iter():
        if process.pid not in ours:
            with contextlib.suppress(psutil.Error):
                used = process.cpu_times()
                found[process.pid, process.create_time()] = used.user + used.system
    return found


def _pressure() -> float | None:
    try:
        return float(Path("/proc/pressure/cpu").read_text().split("avg10=")[1].split()[0]) / 100
    except (OSError, IndexError, ValueError):
        return None


def _on_battery() -> bool | None:
    battery = psutil.sensors_battery()
    return None if battery is None else not battery.power_plugged


def _reasons(series: Sequence[Telemetry]) -> list[str]:
    foreign = mean(sample.foreign_util for sample in series)
    if foreign is None or foreign <= FOREIGN_LIMIT:
        return faults(series)
    return [f"other processes use {foreign:.0%} of the CPU, limit {FOREIGN_LIMIT:.0%}", *faults(series)]
