"""Has a watcher run inside a server that somebody starts: `inject/sitecustomize.py`, told which one by the environment."""

from __future__ import annotations

import os
from pathlib import Path

from vibeserve_tui.backend import Window

HOOK = Path(__file__).with_name("inject")


def watched_by(watcher: Path, out: Path, window: Window) -> dict[str, str]:
    """Environment of a server in which the module at `watcher` takes its notes and leaves them in the file `out`."""
    search = (str(HOOK), str(watcher.parent), os.environ.get("PYTHONPATH", ""))
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, search)),
        "VIBESERVE_WATCHER": watcher.stem,
        "VIBESERVE_WATCHER_OUT": str(out),
        "VIBESERVE_WATCHER_DELAY_S": f"{window.delay_s:g}",
        "VIBESERVE_WATCHER_S": f"{window.seconds:g}",
    }
