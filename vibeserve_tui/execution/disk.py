"""How much a box wrote, and whether the disk below can bear it."""

from __future__ import annotations

import contextlib
import os

_BLOCK = 4096
_FREE_FLOOR = 256 << 20
"""A box that leaves less on a disk that it writes to is killed before others notice."""


def exceeds(folders: list[str], limit: int) -> bool:
    """Whether files take more than `limit` bytes; links are not followed, what vanishes counts nothing.

    A folder that is closed to us, or too deep to be named, could hold anything: that is too much.
    """
    total = 0
    pending = list(folders)
    for folder in pending:  # grows while it is walked
        try:
            for entry in list(os.scandir(folder)):
                with contextlib.suppress(FileNotFoundError):
                    # An empty file costs an inode, and us the walk: it counts as one block.
                    total += max(_BLOCK, entry.stat(follow_symlinks=False).st_blocks * 512)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return True
        if total > limit:
            return True
    return False


def is_nearly_full(path: str) -> bool:
    try:
        state = os.statvfs(path)
    except OSError:  # the folder was removed from outside
        return False
    return state.f_bavail * state.f_frsize < _FREE_FLOOR
