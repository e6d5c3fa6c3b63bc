"""What running code leaves in a workspace: caches, which are nobody's change and would be refused in a commit."""

from __future__ import annotations

from pathlib import Path

from vibeserve_tui import foreign_trees
from vibeserve_tui.inputs.target_files import IGNORED_NAMES

CACHES = IGNORED_NAMES - {".git"}
"""A nested repository is no cache: it stays, to be refused."""


def remove_caches(workspace: Path) -> None:
    foreign_trees.remove_named(workspace, CACHES)
