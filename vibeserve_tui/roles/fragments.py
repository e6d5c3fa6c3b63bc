"""What a backend tells agents about its hardware: Markdown files in `prompts/` beside the plugin's code.

Every backend must bring all of them, and must say what does not apply to it: advice for another platform is wrong work.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from vibeserve_tui.agents.protocol import Role
from vibeserve_tui.backend import Backend
from vibeserve_tui.errors import BackendError

TITLES = {
    "device_dtype": "Device and arithmetic",
    "floor": "Where the floor is",
    "profiling": "How it is profiled",
    "judge_device": "How to see that the work is done there",
    "pitfalls": "Pitfalls",
}
"""File name to the heading in a prompt; all are required."""
NOT_HERE = "## What does not apply here"
FOR_ROLE: Mapping[Role, tuple[str, ...]] = {
    Role.ORCHESTRATOR: ("device_dtype", "floor", "pitfalls"),
    Role.IMPLEMENTER: ("device_dtype", "floor", "pitfalls"),
    Role.MUTATOR: ("device_dtype", "floor", "pitfalls"),
    Role.JUDGE: ("device_dtype", "judge_device", "pitfalls"),
    Role.EVALUATOR: ("device_dtype", "floor", "profiling", "pitfalls"),
    Role.ANALYST: ("device_dtype", "floor"),
}


def fragments_of(backend: Backend) -> dict[str, str]:
    """All fragments by file name. Raises BackendError for the first that is missing, empty or incomplete."""
    folder = _folder(backend)
    found: dict[str, str] = {}
    for name in TITLES:
        path = folder / f"{name}.md"
        text = path.read_text("utf-8").strip() if path.is_file() else ""
        if not text:
            raise BackendError(
                f"backend {backend.name} brings no prompt fragment {path.name}", where=str(folder), fix="add it"
            )
        found[name] = text
    _head, _, not_here = found["pitfalls"].partition(NOT_HERE)
    if not not_here.strip():
        raise BackendError(
            "does not say what does not apply to this backend",
            where=str(folder / "pitfalls.md"),
            fix=f"add a section `{NOT_HERE}`",
        )
    return found


def _folder(backend: Backend) -> Path:
    """`prompts/` beside the module that the backend's class comes from."""
    file = sys.modules[type(backend).__module__].__file__
    assert file is not None, "a backend is a file of its plugin"
    return Path(file).with_name("prompts")
