"""The few ways a run writes to disk; nothing else in `state/` opens a file for writing.

Each one ends with the data on the device, and each one announces itself to `failpoint` first, so that a test can kill
the process (or make the disk full) before, amid and after every single write. A failed sync is final: the descriptor is
not tried again, because the kernel may have dropped the pages it could not write.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import signal
import stat
import sys
from io import BufferedReader
from pathlib import Path

from vibeserve_tui.errors import DiskFull, StateDamaged
from vibeserve_tui.state import redaction

FAILPOINT_VARIABLE = "VIBESERVE_FAILPOINT"
"""`kill:N` kills this process at the N-th failpoint; `enospc:N` and `eio:N` fail there and from there on; `count:FILE`
logs the visits."""
_OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT)
_BROKEN = (errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV)


class Failpoints:
    """Counts visits; armed once from the environment, inert otherwise."""

    def __init__(self, order: str) -> None:
        self.action, _, rest = order.partition(":")
        self.log = rest if self.action == "count" else ""
        self.at = int(rest) if rest.isdigit() else 0
        self.visits = 0

    def visit(self, name: str) -> None:
        self.visits += 1
        if self.log:
            with open(self.log, "a", encoding="utf-8") as out:
                out.write(f"{name}\n")
        elif self.action == "kill":
            if self.visits == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
        elif self.visits >= self.at and not name.startswith("unlink"):  # what is full or broken can still be cleared
            raise OSError(errno.ENOSPC if self.action == "enospc" else errno.EIO, f"failpoint {name}")


_failpoints = Failpoints(os.environ.get(FAILPOINT_VARIABLE, ""))


def arm(order: str) -> Failpoints:
    """Set failpoints in this process, as the environment variable does at its start."""
    global _failpoints  # noqa: PLW0603 - one per process, like the variable
    _failpoints = Failpoints(order)
    return _failpoints


def failpoint(name: str) -> None:
    """A place where a test may end or starve this process."""
    if _failpoints.action:
        _failpoints.visit(name)


def fault_of(error: OSError, where: Path | str) -> DiskFull | StateDamaged | None:
    """What a failed write means for the run: no room pauses it, a broken disk ends it. None: it was no such failure."""
    place = str(error.filename or where)
    if error.errno in _OUT_OF_ROOM:
        return DiskFull("no room is left on the disk", where=place, fix="make room, then vibeserve resume")
    if error.errno in _BROKEN:
        return StateDamaged(f"cannot be written: {os.strerror(error.errno)}", where=place, fix="look after the disk")
    return None


def append(descriptor: int, data: bytes, name: str = "append") -> None:
    """Append all of `data`; a short write goes on, and the two halves of a line are two failpoints."""
    failpoint(f"{name}.before")
    if _failpoints.action and len(data) > 1:
        half = len(data) // 2
        _write_all(descriptor, data[:half])
        failpoint(f"{name}.amid")
        data = data[half:]
    _write_all(descriptor, data)
    failpoint(f"{name}.after")


def sync(descriptor: int, name: str = "sync") -> None:
    """Wait until the device has the data. On macOS fsync alone leaves it in the drive's cache."""
    failpoint(f"{name}.before")
    if sys.platform == "darwin":
        with contextlib.suppress(OSError):  # not every file system knows it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        os.fsync(descriptor)
    else:
        os.fdatasync(descriptor)
    failpoint(f"{name}.after")


def truncate(descriptor: int, size: int) -> None:
    """Cut a file back to `size` bytes; durable after the next sync."""
    failpoint("truncate.before")
    os.ftruncate(descriptor, size)
    failpoint("truncate.after")


def sync_directory(path: Path) -> None:
    """Make the names in a folder as durable as the files that they stand for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        failpoint("syncdir.before")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Everything below a folder that another program wrote: files first, then the folders that name them."""
    paths = sorted(root.rglob("*"), reverse=True)
    for path in paths:
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                sync(descriptor, "tree.sync")
            finally:
                os.close(descriptor)
    for folder in [path for path in paths if path.is_dir()]:
        sync_directory(folder)
    sync_directory(root)


def write_atomic(path: Path, data: bytes) -> None:
    """The file has its old content or all of the new one, whatever happens."""
    temporary = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        append(descriptor, data, "atomic.write")
        sync(descriptor, "atomic.sync")
    finally:
        os.close(descriptor)
    rename(temporary, path)


def rename(source: Path, destination: Path) -> None:
    failpoint("rename.before")
    source.replace(destination)
    failpoint("rename.after")
    sync_directory(destination.parent)


def unlink(path: Path) -> None:
    """Remove a file that may already be gone."""
    failpoint("unlink.before")
    path.unlink(missing_ok=True)
    failpoint("unlink.after")


def make_directory(path: Path) -> None:
    """The folder and those above it; each new one is known to its parent before anything is put into it."""
    if path.is_dir():
        return
    make_directory(path.parent)
    failpoint("mkdir.before")
    path.mkdir(exist_ok=True, mode=0o700)
    failpoint("mkdir.after")
    sync_directory(path.parent)


def put_blob(root: Path, data: bytes) -> str:
    """Store content under its sha256 (hex, returned); the file and its folder are synced before anyone names it."""
    data = redaction.redact_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    folder = root / digest[:2]
    path = folder / digest
    if not path.exists():
        make_directory(folder)
        write_atomic(path, data)
    return digest


def plain_file(path: Path) -> bytes:
    """Its content. Raises OSError for what is no file; a pipe in its place is not waited for."""
    with open_plain(path) as file:
        return file.read()


def open_plain(path: Path) -> BufferedReader:
    """Open for reading. Raises OSError as above."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    return open(descriptor, "rb")


def get_blob(root: Path, digest: str) -> bytes:
    """The content of a blob. Raises StateDamaged when it is missing or is not what its name says."""
    path = root / digest[:2] / digest
    try:
        data = plain_file(path)
    except OSError as error:
        raise StateDamaged(f"a recorded blob is missing: {error.strerror}", where=str(path)) from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise StateDamaged("a recorded blob has other content than its name says", where=str(path))
    return data


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
