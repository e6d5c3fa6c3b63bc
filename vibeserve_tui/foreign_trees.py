"""Folders in which code that nobody wrote by hand could do as it liked: copied, searched, removed, read and written in.

Such a folder may be closed to its owner (`chmod 000`), so deep that its paths are longer than the system takes and that
recursive walks fail, or change while it is read: a file that was looked at may be a link to somebody's key by the time
it is opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MAX_DEPTH = 64
"""Of folders in one another; compilers' caches have four."""
MOST = 8 << 30
"""Bytes of one copy: more than any box may write."""
REMOVED = ".removed"
_PIECE = 1 << 20
_LEAST = 4096
"""Of an entry: an empty file costs an inode."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True)
class Room:
    """What a copy may take; whoever is at work in the source could fill the disk with it."""

    left: int

    def take(self, size: int) -> None:
        self.left -= max(size, _LEAST)
        if self.left < 0:
            raise OSError(errno.EFBIG, "it is more than may be copied")


def copy(source: Path, destination: Path, *, most: int = MOST) -> None:
    """Make `destination`, which must not exist, what `source` is. Nothing outside of `source` is ever read.

    Links stay links. Raises OSError for what is neither file, folder nor link, cannot be read, lies too deep, or takes
    more than `most` bytes of disk.
    """
    _copy_folder(os.open(source, _READ | os.O_DIRECTORY), destination, 0, Room(most))


def _copy_folder(folder: int, made: Path, depth: int, room: Room) -> None:
    """Closes `folder`."""
    try:
        if depth > MAX_DEPTH:
            raise OSError(errno.ELOOP, f"more than {MAX_DEPTH} folders are in one another", str(made))
        made.mkdir(mode=0o700)
        for name in _names(folder):
            _copy_entry(folder, name, made / name, depth, room)
    finally:
        os.close(folder)


def _copy_entry(folder: int, name: str, made: Path, depth: int, room: Room) -> None:
    """What was opened is looked at, not what has that name now."""
    room.take(0)
    try:
        opened = os.open(name, _READ, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise OSError(error.errno, os.strerror(error.errno or 0), name) from error
        made.symlink_to(os.readlink(name, dir_fd=folder))
        return
    details = os.fstat(opened)
    if stat.S_ISDIR(details.st_mode):
        _copy_folder(opened, made, depth + 1, room)
        return
    with open(opened, "rb") as file:
        if not stat.S_ISREG(details.st_mode):
            raise OSError(errno.EINVAL, "only plain files, folders and links can be copied", name)
        room.take(details.st_blocks * 512)
        with made.open("xb") as copied:
            _copy_content(file.fileno(), copied.fileno(), details.st_size)
    made.chmod(details.st_mode & 0o777)
    os.utime(made, ns=(details.st_atime_ns, details.st_mtime_ns))


def _copy_content(source: int, target: int, size: int) -> None:
    """Holes stay holes: what takes no room there, and so under no limit, takes none here."""
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # there is nothing but a hole any more
                raise
            break
        end = min(size, os.lseek(source, at, os.SEEK_HOLE))
        while at < end and (piece := os.pread(source, min(_PIECE, end - at), at)):
            at += os.pwrite(target, piece, at)
        if at < end:  # it was cut meanwhile
            break
    os.ftruncate(target, size)


def read(root: Path, path: str, *, most: int) -> bytes | None:
    """The first `most` bytes of the plain file `path` below `root`; None where there is none, or a link on the way."""
    *folders, name = PurePosixPath(path).parts
    with contextlib.suppress(OSError):
        folder = _folder(root, folders)
        try:
            with open(os.open(name, _READ, dir_fd=folder), "rb") as file:
                return file.read(most) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
        finally:
            os.close(folder)
    return None


def write(root: Path, path: str, content: bytes) -> None:
    """A new file in the place of whatever has that name. Raises OSError where a folder on the way is none, or a link."""
    *folders, name = PurePosixPath(path).parts
    folder = _folder(root, folders, create=True)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        fresh = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        with open(fresh, "wb") as file:
            file.write(content)
    finally:
        os.close(folder)


def _folder(root: Path, names: Sequence[str], *, create: bool = False) -> int:
    """An open folder below `root`, each one on the way opened in the one before."""
    folder = os.open(root, _READ | os.O_DIRECTORY)
    for name in names:
        try:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=folder)
            inner = os.open(name, _READ | os.O_DIRECTORY, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder


def files(root: Path, *, largest: int) -> Iterator[tuple[str, int, bytes | str]]:
    """Path below `root`, mode, and content or where it leads, of every file and link.

    Left out are files of more than `largest` bytes, what is neither, lies too deep or cannot be read, and what is called
    or leads to something that is no text.
    """
    yield from _files(os.open(root, _READ | os.O_DIRECTORY), "", 0, largest)


def _files(folder: int, above: str, depth: int, largest: int) -> Iterator[tuple[str, int, bytes | str]]:
    """Closes `folder`."""
    try:
        for name in sorted(filter(_is_text, _names(folder))):
            with contextlib.suppress(OSError):
                mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
                if stat.S_ISLNK(mode) and _is_text(leads_to := os.readlink(name, dir_fd=folder)):
                    yield above + name, mode, leads_to
                elif stat.S_ISDIR(mode) and depth < MAX_DEPTH:
                    inside = os.open(name, _READ | os.O_DIRECTORY, dir_fd=folder)
                    yield from _files(inside, f"{above}{name}/", depth + 1, largest)
                elif stat.S_ISREG(mode) and (content := _content(folder, name, largest)) is not None:
                    yield above + name, mode, content
    finally:
        os.close(folder)


def _content(folder: int, name: str, largest: int) -> bytes | None:
    with open(os.open(name, _READ, dir_fd=folder), "rb") as file:
        details = os.fstat(file.fileno())
        if not stat.S_ISREG(details.st_mode) or details.st_size > largest:
            return None
        return file.read(details.st_size)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def remove(root: Path) -> None:
    """All of it; nothing happens if it is not there. Only once nothing runs there any more.

    It gets another name at once; what a crash leaves of that is hidden and ends with REMOVED.
    """
    if root.is_symlink() or not root.is_dir():
        root.unlink(missing_ok=True)
        return
    going = root.with_name(f".{root.name}-{secrets.token_hex(4)}{REMOVED}")
    root.rename(going)
    pending = [going]
    # Each folder is moved up before it is emptied, so that no path grows long.
    for folder in pending:  # grows while it is walked
        folder.chmod(0o700)
        for entry in _entries(folder):
            if entry.is_dir(follow_symlinks=False):
                Path(entry.path).chmod(0o700)
                pending.append(going / f"{going.name}-{len(pending)}")
                Path(entry.path).rename(pending[-1])
            else:
                Path(entry.path).unlink()
    for folder in reversed(pending):
        folder.rmdir()


def remove_named(root: Path, names: frozenset[str]) -> None:
    """Files and folders of these names, wherever they are; links stay, and so does what cannot be read or lies too deep."""
    with contextlib.suppress(OSError):
        _remove_named(os.open(root, _READ | os.O_DIRECTORY), names, 0)


def _remove_named(folder: int, names: frozenset[str], depth: int) -> None:
    """Closes `folder`."""
    try:
        for name in _names(folder) if depth <= MAX_DEPTH else ():
            with contextlib.suppress(OSError, RecursionError):
                mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
                if name in names and stat.S_ISDIR(mode):
                    shutil.rmtree(name, dir_fd=folder)
                elif name in names and not stat.S_ISLNK(mode):
                    os.unlink(name, dir_fd=folder)
                elif stat.S_ISDIR(mode):
                    _remove_named(os.open(name, _READ | os.O_DIRECTORY, dir_fd=folder), names, depth + 1)
    finally:
        os.close(folder)


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)
