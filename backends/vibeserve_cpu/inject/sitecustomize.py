"""Runs inside a server that is profiled, without the server's co-operation: has a watcher take its notes for some seconds.

Python imports this module at start when its folder is first on PYTHONPATH. It does nothing unless VIBESERVE_WATCHER names
a module with `take(out, delay_s, seconds)`, which runs in a thread beside the server; no framework is imported here.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
from pathlib import Path


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


def watch(watcher: str) -> None:
    threading.Thread(
        target=importlib.import_module(watcher).take,
        args=(
            Path(os.environ["VIBESERVE_WATCHER_OUT"]),
            float(os.environ["VIBESERVE_WATCHER_DELAY_S"]),
            float(os.environ["VIBESERVE_WATCHER_S"]),
        ),
        daemon=True,
        name=watcher,
    ).start()


run_shadowed()
if "VIBESERVE_WATCHER" in os.environ:
    watch(os.environ["VIBESERVE_WATCHER"])
