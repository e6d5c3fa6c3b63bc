"""Watches one GPU through NVML, as a program of its own: one JSON line per half second until it is killed.

    python -P -m vibeserve_cuda.nvml_watch UUID [INTERVAL_S]

It needs nvidia-ml-py. Besides what nvidia-smi tells it knows the share of the GPU that each process uses. What a driver
does not support is left out of the line. Checked against a stand-in for the library; not yet against a GPU.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import pynvml

T = TypeVar("T")


def line(handle: object, since_us: int) -> dict[str, object]:
    """One sample; `since_us` is the moment of the one before, for what is counted per process."""
    memory = _known(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    rates = _known(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
    found = {
        "util": rates and rates.gpu / 100,
        "mem_used": memory and memory.used,
        "mem_total": memory and memory.total,
        "power_w": _scaled(lambda: pynvml.nvmlDeviceGetPowerUsage(handle)),
        "power_limit_w": _scaled(lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle)),
        "temp_c": _known(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
        "clock_mhz": _known(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)),
        "reasons": _known(lambda: _reasons(handle)),
        "processes": processes(handle, since_us),
    }
    return {key: value for key, value in found.items() if value is not None}


def processes(handle: object, since_us: int) -> list[dict[str, float]] | None:
    """Memory and share of the GPU of everybody who computes on it."""
    running = _known(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle))
    if running is None:
        return None
    used = _known(lambda: pynvml.nvmlDeviceGetProcessUtilization(handle, since_us)) or ()
    shares = {sample.pid: sample.smUtil / 100 for sample in used}
    return [{"pid": one.pid, "mem": one.usedGpuMemory or 0, "util": shares.get(one.pid, 0.0)} for one in running]


def _reasons(handle: object) -> int:
    """The bits of why the clocks are what they are; the call was renamed with driver 535."""
    try:
        return int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except AttributeError:
        return int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def _scaled(read: Callable[[], float]) -> float | None:
    milliwatts = _known(read)
    return None if milliwatts is None else milliwatts / 1000


def _known(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except pynvml.NVMLError:
        return None


def main(uuid: str, interval_s: float) -> None:
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid.encode())
    since_us = int(time.time() * 1e6)
    while True:
        now_us = int(time.time() * 1e6)
        sys.stdout.write(json.dumps(line(handle, since_us)) + "\n")
        sys.stdout.flush()
        since_us = now_us
        time.sleep(interval_s)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 0.5)
