"""The folder in which a server finds its weights: one of its own for every start, alike whichever weights it holds.

Shown where they lie, the judge's other weights could be told from the target's by their path. Who reads them can still
tell them apart: they are other weights.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from vibeserve_tui import foreign_trees

_COPYING = threading.Lock()
"""Two servers may be started at once."""


def lay_out(model_dir: Path, folder: Path, copies: Path) -> None:
    """Make `folder`, which must not exist, hold the files of `model_dir`: by links, which take neither time nor room.

    Where no link can be made to them (another file system, another user's files) they are copied below `copies`, once.
    """
    folder.mkdir(parents=True, mode=0o700)
    files = sorted(path for path in model_dir.iterdir() if path.is_file())
    try:
        _link(files, folder)
    except OSError:
        foreign_trees.remove(folder)
        folder.mkdir(mode=0o700)
        _link(sorted(_copied(files, copies / model_dir.name).iterdir()), folder)


def _link(files: Iterable[Path], folder: Path) -> None:
    for file in files:
        os.link(file.resolve(), folder / file.name)


def _copied(files: Iterable[Path], copy: Path) -> Path:
    """A copy under that name is a whole one."""
    with _COPYING:
        if not copy.exists():
            fresh = copy.with_name(f"{copy.name}.new")
            foreign_trees.remove(fresh)
            fresh.mkdir(parents=True, mode=0o700)
            for file in files:
                shutil.copy2(file, fresh / file.name)
            fresh.rename(copy)
    return copy
