"""What a device gives at best, as a program of its backend measures it: for the processor and for whatever stands beside it.

The program gets what finds its modules and the driver, and nothing of the operator's environment. Where its framework or
its device is missing there is no ceiling, and a backend may have a table to fall back on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from vibeserve_tui.backend import Ceiling, Ceilings

MEASURING_S = 60.0


def measured(
    module: str, weight_bytes: int, env: Mapping[str, str] | None = None, *, how: str = "best of several tries"
) -> Ceilings:
    """Ceilings as `python -m MODULE WEIGHT_BYTES` prints them: {"bandwidth": B/s, "compute": {dtype: FLOP/s}}."""
    argv = (sys.executable, "-P", "-B", "-m", module, str(weight_bytes))
    least = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            argv, env={**least, **(env or {})}, capture_output=True, text=True, timeout=MEASURING_S, check=True
        )
        told = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return Ceilings()
    size = f"{how}, {weight_bytes / 1e6:.1f} MB read again and again"
    return Ceilings(
        bandwidth=Ceiling(value=told["bandwidth"], unit="B/s", provenance="measured", conditions=size),
        compute={
            dtype: Ceiling(value=value, unit="FLOP/s", provenance="measured", conditions=how)
            for dtype, value in told["compute"].items()
        },
    )
