"""Takes a torch trace of some seconds inside a server that is profiled; the start-up hook of `vibeserve_cpu` begins it.

It never imports torch by itself, because that would distort a server that does so later.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path


def take(out: Path, delay_s: float, seconds: float) -> None:
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
    half = out.with_suffix(".half")
    recorded.export_chrome_trace(str(half))
    half.rename(out)
