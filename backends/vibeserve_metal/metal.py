"""What this Apple Silicon GPU is, what a candidate's environment needs on it, and whether it was left alone and cool.

It reads what macOS tells without root, and never changes a setting: not the wired limit, not the power mode. Written from
public descriptions, tested with stand-ins for the tools of macOS and with written samples of their output: no part of it
was run on a Mac yet.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import platform
import re
import shutil
from collections.abc import Iterator, Sequence

import psutil

from vibeserve_cpu.py_spy import PySpy
from vibeserve_metal import telemetry, trust
from vibeserve_metal.ceilings import ceilings
from vibeserve_metal.machine import Mac, low_power_mode, read_mac
from vibeserve_metal.mlx_steps import MlxCapture, MlxSteps
from vibeserve_metal.powermetrics import Powermetrics
from vibeserve_metal.xctrace import Xctrace
from vibeserve_tui.backend import (
    API_VERSION,
    Availability,
    CandidateEnv,
    Ceilings,
    Device,
    GateCheck,
    LaunchProfiler,
    Pids,
    Profiler,
    Requirement,
    Telemetry,
)

MIN_FREE = 2 << 30
SMALL = 32 << 30
"""Up to here macOS lets the GPU have two thirds of the memory, beyond it three quarters."""
SINCE = {"bf16": 2, "neural_accelerator": 5}
"""Capability to the generation of the chip that has it."""


class MetalBackend:
    name = "metal"
    api_version = API_VERSION
    skill_tags = frozenset({"metal"})
    cpu_time_is_work = False

    def detect(self) -> Sequence[Device]:
        mac = read_mac() if _is_apple_silicon() else None
        return [] if mac is None else [_device(mac)]

    def availability(self, device: Device | None) -> Availability:
        if not _is_apple_silicon():
            seen = f"{platform.system()} on {platform.machine()}"
            return Availability(
                usable=False, reason=f"no Apple Silicon: this is {seen}", fix="run it on a Mac with an M chip"
            )
        if device is None and not self.detect():
            return Availability(usable=False, reason="sysctl does not name the chip", fix="run sysctl hw by hand")
        lines = tuple(_requirements())
        fault = next((line for line in lines if line.severity == "required" and not line.ok), None)
        if fault is None:
            return Availability(usable=True, requirements=lines)
        return Availability(usable=False, reason=fault.observed, fix=fault.fix, requirements=lines)

    def candidate_env(self, device: Device) -> CandidateEnv:  # noqa: ARG002 - the same on every Mac
        return CandidateEnv(
            env={
                # An operator that Metal lacks runs on the processor instead of ending the server; /health must count it.
                "PYTORCH_ENABLE_MPS_FALLBACK": "1",
                "HF_HUB_OFFLINE": "1",
                "TRANSFORMERS_OFFLINE": "1",
                "TOKENIZERS_PARALLELISM": "false",
                "PYTHONHASHSEED": "0",
            }
        )

    def profilers(self, device: Device) -> Sequence[Profiler]:  # noqa: ARG002
        return (PySpy(), Powermetrics())

    def launch_profilers(self, device: Device) -> Sequence[LaunchProfiler]:  # noqa: ARG002
        return (MlxSteps(), MlxCapture(), Xctrace())

    @contextlib.contextmanager
    def telemetry(self, device: Device, own: Pids) -> Iterator[Iterator[Telemetry]]:
        with telemetry.samples(device, own) as samples:
            yield samples

    def ceilings(self, device: Device, weight_bytes: int) -> Ceilings:
        return ceilings(device.name, device.compute_units, device.memory_total, weight_bytes)

    def ready(self, device: Device, recent: Sequence[Telemetry]) -> GateCheck:  # noqa: ARG002
        return trust.ready(recent)

    def trusted(self, device: Device, during: Sequence[Telemetry]) -> GateCheck:  # noqa: ARG002
        return trust.trusted(during)

    def lease_key(self, device: Device) -> str:
        return device.id.replace(":", "-")


def _is_apple_silicon() -> bool:
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def _device(mac: Mac) -> Device:
    generation = re.match(r"Apple M(\d+)", mac.chip)
    number = int(generation[1]) if generation else 0
    capabilities = ("metal", *(name for name, since in SINCE.items() if number >= since))
    usable = mac.wired_limit or int(mac.memory * (2 / 3 if mac.memory <= SMALL else 3 / 4))
    system = platform.mac_ver()[0]
    identity = f"{mac.chip}|{mac.model}|{mac.gpu_cores}|{mac.memory >> 30}|{capabilities}|{system}"
    return Device(
        id="metal:0",
        name=mac.chip,
        vendor="apple",
        memory_total=mac.memory,
        memory_usable=usable,
        unified=True,
        compute_units=mac.gpu_cores,
        capabilities=capabilities,
        os=platform.platform(),
        driver=None,
        runtime={"python": platform.python_version(), "model": mac.model},
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:12],
    )


def _requirements() -> Iterator[Requirement]:
    mlx = importlib.util.find_spec("mlx") is not None
    yield Requirement(
        id="mlx", ok=mlx, severity="required", observed="found" if mlx else "mlx is not installed", expected="MLX",
        fix="pip install 'vibeserve-tui[metal]'",
    )  # fmt: skip
    free = psutil.virtual_memory().available
    yield Requirement(
        id="memory", ok=free >= MIN_FREE, severity="required", observed=f"{free >> 20} MiB free",
        expected=f"at least {MIN_FREE >> 20} MiB", fix="close other programs",
    )  # fmt: skip
    battery = psutil.sensors_battery()
    plugged = battery is None or battery.power_plugged is not False
    yield Requirement(
        id="power", ok=plugged, severity="recommended", observed="plugged in" if plugged else "on battery",
        expected="plugged in: nothing is measured on battery", fix="plug it in",
    )  # fmt: skip
    saving = low_power_mode()
    yield Requirement(
        id="Low Power Mode", ok=not saving, severity="recommended", observed="on" if saving else "off",
        expected="off: it costs up to half of the speed", fix="sudo pmset -a lowpowermode 0",
    )  # fmt: skip
    macmon = shutil.which("macmon") is not None
    yield Requirement(
        id="macmon", ok=macmon, severity="recommended", observed="found" if macmon else "not found",
        expected="macmon, for clock, watts and temperature of the GPU", fix="brew install macmon",
    )  # fmt: skip
    tools = Xctrace().availability()
    yield Requirement(
        id="xctrace", ok=tools.usable, severity="info", observed="found" if tools.usable else tools.reason,
        expected="xctrace, for the GPU's timeline", fix=tools.fix,
    )  # fmt: skip
