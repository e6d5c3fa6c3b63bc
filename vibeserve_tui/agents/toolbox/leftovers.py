"""What running code leaves in a workspace: caches, which are nobody's change and would be refused in a commit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from vibeserve_tui.inputs.target_files import IGNORED_NAMES

CACHES = IGNORED_NAMES - {".git"}
"""A nested repository is no cache: it stays, to be refused."""


def remove_caches(workspace: Path) -> None:
    for folder, folders, files in os.walk(workspace):
        for name in CACHES.intersection(folders):
            path = Path(folder, name)
            if not path.is_symlink():
                shutil.rmtree(path)
            folders.remove(name)
        for name in CACHES.intersection(files):
            Path(folder, name).unlink()
