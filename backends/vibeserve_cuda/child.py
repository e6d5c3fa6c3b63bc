"""How this plugin starts its own programs: with what finds the driver and our modules, and nothing of the operator's."""

from __future__ import annotations

import os
import sys

KEPT = ("PATH", "LD_LIBRARY_PATH")
"""The driver's library lies beside the usual places in containers and under WSL."""


def command(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-B", "-m", module, *arguments)


def environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
