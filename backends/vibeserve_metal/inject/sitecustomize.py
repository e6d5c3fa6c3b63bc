"""Runs inside an MLX server that is profiled: times `mx.eval` for some seconds, without the server's co-operation.

Python imports this module at start when its folder is first on PYTHONPATH. It does nothing unless VIBESERVE_MLX_STEPS names
a file; it never imports MLX by itself.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

TARGET = os.environ.get("VIBESERVE_MLX_STEPS")
CAPTURE = os.environ.get("VIBESERVE_MLX_CAPTURE")
CAPTURED_S = 0.5


def run_shadowed() -> None:
    """The sitecustomize that stands behind this one on the path, if there is one."""
    here = Path(__file__).resolve()
    for folder in sys.path:
        path = Path(folder or ".", "sitecustomize.py")
        if path.is_file() and path.resolve() != here:
            spec = importlib.util.spec_from_file_location("_shadowed_sitecustomize", path)
            if spec and spec.loader:
                spec.loader.exec_module(importlib.util.module_from_spec(spec))
            return


def take(target: Path, delay_s: float, seconds: float) -> None:
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
    half = target.with_suffix(".half")
    half.write_text(json.dumps(told), "utf-8")
    half.rename(target)


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


run_shadowed()
if TARGET:
    threading.Thread(
        target=take,
        args=(Path(TARGET), float(os.environ["VIBESERVE_MLX_DELAY_S"]), float(os.environ["VIBESERVE_MLX_S"])),
        daemon=True,
        name="vibeserve-steps",
    ).start()
