"""Which targets may run programs on this machine: shipped ones, and those a person has looked at and said yes to.

A target brings code (reference, checker, seed server). The first time a foreign one is used, its trust hash has to be
given; it is remembered in the user's data folder. Any change of any file gives another hash, and asks again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import platformdirs

from vibeserve_tui.errors import TargetError
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.resources import shipped_targets


def trust_file() -> Path:
    return platformdirs.user_data_path("vibeserve") / "trusted-targets.json"


def require_trust(target: LoadedTarget, given: str = "") -> None:
    """Raise TargetError unless the target is shipped, known, or `given` is its hash (which is then remembered)."""
    if any(path.resolve() == target.root.resolve() for path in shipped_targets().values()):
        return
    known = _read()
    if known.get(target.digest) is not None:
        return
    if given == target.digest:
        _remember(known | {target.digest: str(target.root)})
        return
    what = "is not the target's hash" if given else "is a foreign target: it brings programs that would run here"
    raise TargetError(what, where=str(target.root), fix=f"look at its files, then add --trust {target.digest}")


def _read() -> dict[str, str]:
    try:
        stored = json.loads(trust_file().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in stored.items()} if isinstance(stored, dict) else {}


def _remember(known: dict[str, str]) -> None:
    path = trust_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(known, indent=1), "utf-8")
    os.replace(temporary, path)  # noqa: PTH105 - the one atomic step
