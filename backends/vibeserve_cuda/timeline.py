"""What kernels, copies and calls of a window say about a GPU server: shares, idleness, and hints. Pure.

Times are nanoseconds. A timeline orders suspects; the limits for hints are design choices, to be calibrated on hardware.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vibeserve_tui.profile_report import TOP, ProfileReport, covered, shares

MIN_KERNELS = 20
IDLE = 0.20
SYNCHRONISING = 0.10
COPYING = 0.10

# The first match wins: an attention kernel's name often holds "gemm" or "softmax" too.
_CLASSES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (phase, re.compile(pattern, re.IGNORECASE))
    for phase, pattern in (
        ("communicate", r"nccl"),
        ("attention", r"flash|fmha|attention|sdpa|paged"),
        ("model", r"gemm|gemv|cutlass|cublas|nvjet|wgmma|splitk|matmul|_mm_|xmma"),
        ("sample", r"topk|top_k|radixsort|bitonic|argmax|multinomial|sampl"),
        ("numerics", r"norm|elementwise|reduce|silu|gelu|rope|rotary|softmax|act_and_mul|triton"),
        ("copy", r"memcpy|memset|copy|catarray|index_select|gather|scatter"),
    )
)


@dataclass(frozen=True, slots=True)
class Work:
    """One kernel, copy or call."""

    name: str
    start: float
    end: float

    @property
    def took(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Timeline:
    """A window of one device and of the host that fed it."""

    kernels: Sequence[Work]
    copies: Sequence[Work]
    calls: Sequence[Work]
    """Of the CUDA runtime and driver, on the host."""


def report(tool: str, line: Timeline) -> ProfileReport:
    """Raises ValueError when there are too few kernels to say anything."""
    if len(line.kernels) < MIN_KERNELS:
        raise ValueError(f"only {len(line.kernels)} kernels, {MIN_KERNELS} are needed")
    work = [*line.kernels, *line.copies]
    window, spent = max(one.end for one in work) - min(one.start for one in work), sum(one.took for one in work)
    if window <= 0:
        raise ValueError("the kernels took no time")
    idle = 1 - covered((one.start, one.end) for one in work) / window
    return ProfileReport(
        tool=tool,
        window_s=window / 1e9,
        samples=len(line.kernels),
        phases=shares((phase_of(one.name), one.took) for one in work),
        operations=shares(((short(one.name), one.took) for one in work), TOP),
        hints=tuple(_hints(line, idle, window, spent)),
        device_idle=round(idle, 4),
    )


def phase_of(kernel: str) -> str:
    return next((phase for phase, pattern in _CLASSES if pattern.search(kernel)), "other")


def short(kernel: str) -> str:
    """`void at::native::reduce_kernel<512, MeanOps>(T3)` is `reduce_kernel`."""
    bare = re.sub(r"<.*|\(.*", "", kernel.removeprefix("void ")).strip()
    return bare.rsplit("::", 1)[-1] or kernel


def _hints(line: Timeline, idle: float, window: float, spent: float) -> Iterator[str]:
    if idle > IDLE:
        launches = [call.took for call in line.calls if "LaunchKernel" in call.name]
        launch = sum(launches) / len(launches) if launches else 0.0
        kernel = sum(one.took for one in line.kernels) / len(line.kernels)
        yield "cpu_launch_bound" if launch > kernel else "python_overhead_bound"
        waiting = sum(call.took for call in line.calls if "Synchronize" in call.name)
        if waiting > SYNCHRONISING * window:
            yield "sync_bound"
    if sum(one.took for one in line.copies) > COPYING * spent:
        yield "memcpy_bound"
    if any(phase_of(one.name) == "communicate" for one in line.kernels):
        yield "comm_bound"
