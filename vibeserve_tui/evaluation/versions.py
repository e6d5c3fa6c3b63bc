"""Versions that a figure depends on: Python's, and of the packages that shipped seeds and recipes import.

Read from what is installed; nothing is imported.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform

IMPORTED_BY_SERVERS = (
    "torch", "transformers", "numpy", "tokenizers", "safetensors", "jinja2", "fastapi", "starlette", "uvicorn",
)  # fmt: skip
"""An export pins what the run used, not what is installed later."""


def versions() -> dict[str, str]:
    """By package; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in IMPORTED_BY_SERVERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
