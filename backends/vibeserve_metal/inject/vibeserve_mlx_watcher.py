"""Times `mx.eval` for some seconds inside an MLX server that is profiled; the start-up hook of `vibeserve_cpu` begins it.

It never imports MLX by itself.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

CAPTURE = os.environ.get("VIBESERVE_MLX_CAPTURE")
CAPTURED_S = 0.5


def take(out: Path, delay_s: float, seconds: float) -> None:
    """Wait for MLX and for the delay after it, then watch and write at once."""
    while not hasattr(sys.modules.get("mlx.core"), "eval"):
        time.sleep(0.05)
    time.sleep(delay_s)
    from mlx import core

    evals: list[tuple[float, float]] = []
    plain = core.eval
    core.eval = _timed(plain, evals)
    if CAPTURE:
        core.metal.start_capture(CAPTURE)
        time.sleep(CAPTURED_S)
        core.metal.stop_capture()
    time.sleep(seconds)
    core.eval = plain
    told = {"evals": evals, "captured": bool(CAPTURE)} | {
        f"{name}_memory": _memory(core, f"get_{name}_memory") for name in ("peak", "active", "cache")
    }
    half = out.with_suffix(".half")
    half.write_text(json.dumps(told), "utf-8")
    half.rename(out)


def _timed(plain: Callable[..., object], evals: list[tuple[float, float]]) -> Callable[..., object]:
    def timed(*arrays: object) -> object:
        started = time.perf_counter()
        try:
            return plain(*arrays)
        finally:
            evals.append((started, time.perf_counter()))

    return timed


def _memory(core: ModuleType, counter: str) -> int | None:
    """Older versions keep the counters in `mx.metal`."""
    read = getattr(core, counter, None)
    return int(read()) if read is not None else None
