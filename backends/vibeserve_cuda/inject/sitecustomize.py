"""Runs inside a server that is profiled: takes a torch trace of some seconds, without the server's co-operation.

Python imports this module at start when its folder is first on PYTHONPATH. It does nothing unless VIBESERVE_TRACE names a
file; it never imports torch by itself, because that would distort a server that does so later.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
from pathlib import Path

TARGET = os.environ.get("VIBESERVE_TRACE")


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
    """Wait for torch and for the delay after it, then record and write at once."""
    while "torch" not in sys.modules or not hasattr(sys.modules["torch"], "compile"):
        time.sleep(0.05)
    time.sleep(delay_s)
    import torch
    from torch.profiler import ProfilerActivity, profile

    try:
        # Private, but without it only this thread is recorded: 0 operators of a server's engine instead of 49,135.
        from torch._C._profiler import _ExperimentalConfig

        every_thread = _ExperimentalConfig(profile_all_threads=True)
    except (ImportError, TypeError):
        every_thread = None
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(activities=kinds, experimental_config=every_thread) as recorded:
        time.sleep(seconds)
    half = target.with_suffix(".half")
    recorded.export_chrome_trace(str(half))
    half.rename(target)


run_shadowed()
if TARGET:
    threading.Thread(
        target=take,
        args=(Path(TARGET), float(os.environ["VIBESERVE_TRACE_DELAY_S"]), float(os.environ["VIBESERVE_TRACE_S"])),
        daemon=True,
        name="vibeserve-trace",
    ).start()
