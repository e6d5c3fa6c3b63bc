"""Where a run lives: a local disk with room on it, and a folder that stays where it is.

A reserve file is kept beside the journal. When the disk is full it is given up, so that the pause itself can still be
recorded; the next engine process makes it again. Network file systems are refused: their locks and syncs promise less.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

from vibeserve_tui.errors import DiskFull, EnvironmentFault, StateDamaged
from vibeserve_tui.state import durable
from vibeserve_tui.state.run_dir import RunDir

FLOOR = 2 << 30
"""Free bytes that a round must find: candidates build and write too."""
RESERVE = 64 << 20
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "fuse.sshfs", "fuse.s3fs", "fuse.rclone"})
_MOUNTS = Path("/proc/self/mountinfo")


def require_local(run: RunDir, mounts: Path = _MOUNTS) -> None:
    """Raise EnvironmentFault for a run directory on a network file system (Linux only: elsewhere nobody says)."""
    kind = _file_system(run.path, mounts)
    if kind in REMOTE:
        raise EnvironmentFault(
            f"runs cannot live on a network file system ({kind})",
            where=str(run.path),
            fix="--runs-dir DIR on a local disk",
        )


def require_same_folder(run: RunDir, opened: int) -> None:
    """Raise StateDamaged when the path no longer leads to the folder that `opened` is a descriptor of."""
    ours = os.fstat(opened)
    try:
        there = run.path.stat()
    except OSError as error:
        raise StateDamaged("the run directory was moved or removed", where=str(run.path)) from error
    if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino):
        raise StateDamaged("another folder stands in the run directory's place", where=str(run.path))


def require_room(run: RunDir, floor: int = FLOOR) -> None:
    """Raise DiskFull when less than `floor` is free where the run lives."""
    free = shutil.disk_usage(run.path).free
    if free < floor:
        raise DiskFull(
            f"{free / 2**30:.1f} GiB are free, a round needs {floor / 2**30:.0f}",
            where=str(run.path),
            fix="make room, then vibeserve resume",
        )


def keep_reserve(run: RunDir) -> None:
    """Set the reserve aside. Raises DiskFull when there is no room for it."""
    path = _reserve(run)
    with contextlib.suppress(OSError):
        if path.stat().st_size == RESERVE:
            return
    try:
        with path.open("wb") as file:
            _allocate(file.fileno())
    except OSError as error:
        give_up_reserve(run)
        raise durable.fault_of(error, path) or error from error


def give_up_reserve(run: RunDir) -> None:
    with contextlib.suppress(OSError):
        _reserve(run).unlink(missing_ok=True)


def _reserve(run: RunDir) -> Path:
    return run.path / "reserve"


def _allocate(descriptor: int) -> None:
    """Blocks, not a hole: only what is allocated can be given back."""
    if sys.platform == "linux":
        os.posix_fallocate(descriptor, 0, RESERVE)
    else:
        for _ in range(RESERVE >> 20):
            os.write(descriptor, bytes(1 << 20))


def _file_system(path: Path, mounts: Path) -> str:
    """The type of the file system below `path`: that of the longest mount point above it."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    found, longest = "", -1
    resolved = path.resolve()
    for line in lines:
        fields = line.split()
        point = fields[4].encode().decode("unicode_escape")  # a blank is written \040
        if resolved.is_relative_to(point) and len(point) >= longest:
            found, longest = fields[fields.index("-") + 1], len(point)
    return found
