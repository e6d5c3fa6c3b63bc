"""Which Mac this is: chip, memory, GPU cores, heat and power, from the tools that every macOS has. Needs no root.

What a tool does not answer in time is None, never 0. The readers were written from public descriptions and samples of the
tools' output (macOS 26), and tested with stand-ins on PATH: no Mac was at hand.
"""

from __future__ import annotations

import json
import plistlib
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.parsers.expat import ExpatError

LIMIT_S = 1.5
SYSCTLS = (
    "machdep.cpu.brand_string", "hw.memsize", "hw.model", "iogpu.wired_limit_mb", "hw.perflevel0.physicalcpu",
    "hw.perflevel1.physicalcpu",
)  # fmt: skip
THERMAL = "com.apple.system.thermalpressurelevel"
MAX_REGISTRY = 16 << 20


@dataclass(frozen=True, slots=True)
class Mac:
    """What does not change while a run lasts. Memory in bytes."""

    chip: str
    """As macOS reports it: `Apple M3 Pro`."""
    model: str
    memory: int
    wired_limit: int | None
    """What the user let the GPU wire; None when macOS decides."""
    gpu_cores: int | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """What the GPU's driver tells at one moment."""

    util: float | None
    mem_used: int | None
    cores: int | None
    gpu_ns: Mapping[int, int]
    """GPU time so far by process; a process that ended is gone from it."""


def read_mac() -> Mac | None:
    """None when the tools of macOS do not answer."""
    told = _sysctl()
    chip, memory = told.get("machdep.cpu.brand_string", ""), told.get("hw.memsize", "")
    if not chip or not memory.isdigit():
        return None
    wired = told.get("iogpu.wired_limit_mb", "")
    return Mac(
        chip=chip,
        model=told.get("hw.model", ""),
        memory=int(memory),
        wired_limit=int(wired) << 20 if wired.isdigit() and int(wired) else None,
        gpu_cores=_gpu_cores(),
    )


def read_gpu() -> Gpu | None:
    """The accelerator's entry in the registry, with its clients."""
    answer = ask("ioreg", "-r", "-d", "2", "-w", "0", "-c", "IOAccelerator", "-a")
    return None if answer is None else parse_registry(answer)


def parse_registry(answer: bytes) -> Gpu | None:
    """`ioreg -a` is a property list; an entry without statistics is not the GPU."""
    if len(answer) > MAX_REGISTRY:
        return None
    try:
        entries = plistlib.loads(answer)
    except (plistlib.InvalidFileException, ExpatError, ValueError):
        return None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(statistics := entry.get("PerformanceStatistics"), dict):
            busy, held = statistics.get("Device Utilization %"), statistics.get("In use system memory")
            cores = entry.get("gpu-core-count")
            return Gpu(
                util=busy / 100 if isinstance(busy, int) and 0 <= busy <= 100 else None,
                mem_used=held if isinstance(held, int) and 0 <= held < 1 << 53 else None,
                cores=cores if isinstance(cores, int) else None,
                gpu_ns=dict(_clients(entry.get("IORegistryEntryChildren"))),
            )
    return None


def _clients(children: object) -> Iterator[tuple[int, int]]:
    times: dict[int, int] = {}
    for client in children if isinstance(children, list) else ():
        if not isinstance(client, dict):
            continue
        creator, usage = re.match(r"pid (\d+)", str(client.get("IOUserClientCreator", ""))), client.get("AppUsage")
        if creator and isinstance(usage, list):
            spent = (one.get("accumulatedGPUTime") for one in usage if isinstance(one, dict))
            total = sum(time for time in spent if isinstance(time, int))
            times[int(creator[1])] = times.get(int(creator[1]), 0) + total
    yield from times.items()


def thermal_level() -> int | None:
    """0 is nominal; more is warmer."""
    answer = ask("notifyutil", "-g", THERMAL)
    found = re.search(rf"{re.escape(THERMAL)}\s+(\d+)", (answer or b"").decode("utf-8", "replace"))
    return int(found[1]) if found else None


def low_power_mode() -> bool | None:
    answer = ask("pmset", "-g")
    found = re.search(
        r"^\s*(?:lowpowermode|powermode)\s+(\d+)", (answer or b"").decode("utf-8", "replace"), re.MULTILINE
    )
    return found[1] == "1" if found else None


def ask(*command: str) -> bytes | None:
    """Whatever the tool printed; None when it is not there or hangs. Its exit code says little: sysctl fails for one of many."""
    try:
        return subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None


def _sysctl() -> dict[str, str]:
    lines = (ask("sysctl", *SYSCTLS) or b"").decode("utf-8", "replace").splitlines()
    return {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}


def _gpu_cores() -> int | None:
    """From the registry; from system_profiler, which takes ten times as long, where that does not tell."""
    gpu = read_gpu()
    if gpu and gpu.cores:
        return gpu.cores
    try:
        told = json.loads(ask("system_profiler", "SPDisplaysDataType", "-json") or b"{}")
        cores = [entry.get("sppci_cores", "") for entry in told.get("SPDisplaysDataType", ())]
    except (ValueError, AttributeError):
        return None
    return next((int(count) for count in cores if str(count).isdigit()), None)
