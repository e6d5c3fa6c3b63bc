"""Attempts to get out of a box: one function an attempt, an OSError is a refusal.

Needs nothing but the standard library and itself: a box is shown this folder and runs `run.py`.
"""

from __future__ import annotations

from . import disturb, files, ipc, kernel, neighbours, network, processes
from .kit import attempts, harmless

__all__ = ["attempts", "disturb", "files", "harmless", "ipc", "kernel", "neighbours", "network", "processes"]
