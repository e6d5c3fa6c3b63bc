"""What this NVIDIA GPU is, what a candidate's environment needs on it, and whether it was left alone while we measured.

It asks nvidia-smi and never changes a clock, a power limit or MIG, never resets a GPU and never falls back to another
device. Written from NVIDIA's documentation, tested with a stand-in for nvidia-smi and NVML and with written samples of
their output: it was not run on a GPU yet.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import psutil

from vibeserve_cpu.py_spy import PySpy
from vibeserve_cuda import telemetry, trust
from vibeserve_cuda.ceilings import ceilings
from vibeserve_cuda.ncu import Ncu
from vibeserve_cuda.nsys import Nsys
from vibeserve_cuda.nvidia_smi import Gpu, list_gpus
from vibeserve_cuda.torch_trace import TorchTrace
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
from vibeserve_tui.errors import BackendError

MIN_FREE = 1 << 30
SINCE = {"cuda_graphs": (7, 0), "bf16": (8, 0), "fp8": (8, 9), "fp4": (10, 0)}
"""Capability to the compute capability that has it natively."""
SHARED_NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "dxg")
WHY = {
    "NVML": "nvidia-ml-py, to tell processes on the GPU apart by load",
    "nsys": "nsys, for timelines of kernels",
    "ncu": "ncu, for single kernels",
}


class CudaBackend:
    name = "cuda"
    api_version = API_VERSION
    skill_tags = frozenset({"cuda"})
    cpu_time_is_work = False

    def detect(self) -> Sequence[Device]:
        try:
            return [_device(gpu) for gpu in list_gpus()]
        except BackendError:
            return []

    def availability(self, device: Device | None) -> Availability:
        try:
            gpus = list_gpus()
        except BackendError as error:
            return Availability(usable=False, reason=error.what, fix=error.fix)
        gpu = next((gpu for gpu in gpus if device is None or gpu.uuid == _uuid(device)), None)
        if gpu is None:
            return Availability(usable=False, reason="this GPU is gone", fix="look at the output of nvidia-smi")
        lines = tuple(_requirements(gpu))
        fault = next((line for line in lines if line.severity == "required" and not line.ok), None)
        if fault is None:
            return Availability(usable=True, requirements=lines)
        return Availability(usable=False, reason=fault.observed, fix=fault.fix, requirements=lines)

    def candidate_env(self, device: Device) -> CandidateEnv:
        return CandidateEnv(
            env={
                # By UUID: an index means another card as soon as one is added or hidden.
                "CUDA_VISIBLE_DEVICES": _uuid(device),
                "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
                "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
                # With the default workspaces cuBLAS may choose another algorithm, and other roundings, on another stream.
                "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
                "HF_HUB_OFFLINE": "1",
                "TRANSFORMERS_OFFLINE": "1",
                "TOKENIZERS_PARALLELISM": "false",
                "PYTHONHASHSEED": "0",
                "OMP_NUM_THREADS": "1",
            },
            devices=tuple(str(node) for node in device_nodes(_uuid(device))),
        )

    def profilers(self, device: Device) -> Sequence[Profiler]:  # noqa: ARG002 - the host's side of any GPU
        return (PySpy(),)

    def launch_profilers(self, device: Device) -> Sequence[LaunchProfiler]:  # noqa: ARG002
        return (TorchTrace(), Nsys(), Ncu())

    @contextlib.contextmanager
    def telemetry(self, device: Device, own: Pids) -> Iterator[Iterator[Telemetry]]:
        with telemetry.samples(device, _uuid(device), own) as samples:
            yield samples

    def ceilings(self, device: Device, weight_bytes: int) -> Ceilings:
        return ceilings(device.name, _uuid(device), weight_bytes)

    def ready(self, device: Device, recent: Sequence[Telemetry]) -> GateCheck:  # noqa: ARG002
        return trust.ready(recent)

    def trusted(self, device: Device, during: Sequence[Telemetry]) -> GateCheck:  # noqa: ARG002
        return trust.trusted(during)

    def lease_key(self, device: Device) -> str:
        return f"cuda-{_uuid(device)}"


def device_nodes(uuid: str, dev: Path = Path("/dev"), gpus: Path = Path("/proc/driver/nvidia/gpus")) -> list[Path]:
    """What CUDA opens for this GPU alone. Under WSL there is one node for all; without the driver's files, all of them."""
    own = "nvidia[0-9]*"
    for file in gpus.glob("*/information"):
        told = dict(re.findall(r"^([^:\n]+):[ \t]*(.+)$", file.read_text("utf-8", "replace"), re.MULTILINE))
        if told.get("GPU UUID", "").strip() == uuid and (minor := told.get("Device Minor", "").strip()).isdigit():
            own = f"nvidia{minor}"
    return sorted(path for name in (own, *SHARED_NODES) for path in dev.glob(name))


def _uuid(device: Device) -> str:
    return device.id.removeprefix("cuda:")


def _device(gpu: Gpu) -> Device:
    major, minor = gpu.compute_capability
    capabilities = (f"sm_{major}{minor}", *(name for name, since in SINCE.items() if (major, minor) >= since))
    # A card without memory of its own (GB10) says N/A and shares the host's.
    total = gpu.memory_total or psutil.virtual_memory().total
    identity = f"{gpu.name}|{total >> 20}|{capabilities}|{gpu.driver}|{platform.system()} {platform.release()}"
    return Device(
        id=f"cuda:{gpu.uuid}",
        name=gpu.name,
        vendor="nvidia",
        memory_total=total,
        memory_usable=max(0, total - (gpu.memory_used or 0)),
        unified=gpu.memory_total is None,
        compute_units=None,
        capabilities=capabilities,
        os=platform.platform(),
        driver=gpu.driver,
        runtime={"python": platform.python_version(), **({"torch_cuda": cuda} if (cuda := _torch_cuda()) else {})},
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:12],
    )


def _requirements(gpu: Gpu) -> Iterator[Requirement]:
    if gpu.is_split:
        yield Requirement(
            id="MIG", ok=False, severity="required", observed="the GPU is split (MIG): load and clocks of a part cannot be told",
            expected="a whole GPU", fix=f"sudo nvidia-smi -i {gpu.index} -mig 0, when nobody uses its parts",
        )  # fmt: skip
    cuda = _torch_cuda()
    yield Requirement(
        id="torch", ok=cuda is not None, severity="required",
        observed=f"built for CUDA {cuda}" if cuda else "no torch that was built for CUDA",
        expected="a CUDA build of torch", fix="pip install 'vibeserve-tui[cuda]' --index-url https://download.pytorch.org/whl/cu128",
    )  # fmt: skip
    if gpu.memory_total is not None:
        free = gpu.memory_total - (gpu.memory_used or 0)
        yield Requirement(
            id="GPU memory", ok=free >= MIN_FREE, severity="required", observed=f"{free >> 20} MiB free on the GPU",
            expected=f"at least {MIN_FREE >> 20} MiB", fix="end other programs on the GPU",
        )  # fmt: skip
    yield _found("NVML", importlib.util.find_spec("pynvml") is not None, "recommended", "pip install nvidia-ml-py")
    if gpu.is_persistent is not None:
        yield Requirement(
            id="persistence mode", ok=gpu.is_persistent, severity="info", observed="on" if gpu.is_persistent else "off",
            expected="on: clocks and driver state survive between servers", fix=f"sudo nvidia-smi -i {gpu.index} -pm 1",
        )  # fmt: skip
    yield _found("nsys", shutil.which("nsys") is not None, "info", "install NVIDIA Nsight Systems")
    yield _found("ncu", shutil.which("ncu") is not None, "info", "install NVIDIA Nsight Compute")


def _found(name: str, ok: bool, severity: Literal["recommended", "info"], fix: str) -> Requirement:
    return Requirement(
        id=name, ok=ok, severity=severity, observed="found" if ok else "not found", expected=WHY[name], fix=fix
    )


def _torch_cuda() -> str | None:
    """The CUDA version that torch was built for, read from its version file: importing torch takes seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text("utf-8")
    except OSError:
        return None
    found = re.search(r"^cuda\b[^=]*=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return found[1] if found else None
