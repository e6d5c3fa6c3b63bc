"""The workspace as it was handed in; what is done to it later does not count."""

from __future__ import annotations

import shutil
from pathlib import Path


class HandedIn:
    def __init__(self, workspace: Path, folder: Path) -> None:
        self._workspace = workspace
        self._copy = folder / "handed-in"

    def keep(self) -> None:
        """Links stay links; they may lead anywhere."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._workspace, self._copy, symlinks=True)

    def restore(self) -> None:
        """Once nothing runs there any more; does nothing if nothing was handed in."""
        if self._copy.exists():
            shutil.rmtree(self._workspace)
            shutil.move(self._copy, self._workspace)
