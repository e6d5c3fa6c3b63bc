"""The workspace as it was handed in; what is done to it later does not count."""

from __future__ import annotations

import shutil
from pathlib import Path

from vibeserve_tui import foreign_trees


class HandedIn:
    def __init__(self, workspace: Path, folder: Path) -> None:
        self._workspace = workspace
        self._copy = folder / "handed-in"

    def keep(self) -> None:
        """Links stay links; they may lead anywhere."""
        foreign_trees.remove(self._copy)
        foreign_trees.copy(self._workspace, self._copy)

    def restore(self) -> None:
        """Once nothing runs there any more; does nothing if nothing was handed in."""
        if self._copy.exists():
            foreign_trees.remove(self._workspace)
            shutil.move(self._copy, self._workspace)
