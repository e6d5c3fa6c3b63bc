"""A workspace as the recipes see it: text files below one folder, changed in memory and written at once.

No path ever leaves the folder: every component is opened without following links, so that a link made by a
candidate's code cannot redirect an edit. Nothing is written before `write_changes`, and then all or nothing.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vibeserve_tui.errors import WorkspaceError

MAX_FILE_BYTES = 10 << 20


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file before and after; None means that it does not exist."""

    path: str
    before: str | None
    after: str | None


class Tree:
    """The files of a workspace with edits on top that exist only in memory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._before: dict[str, str | None] = {}
        self._after: dict[str, str | None] = {}

    def read(self, path: str) -> str | None:
        """The text as edited so far, or None when there is no such file."""
        if path not in self._after:
            self._before[path] = self._after[path] = read_text(self.root, path)
        return self._after[path]

    def write(self, path: str, text: str | None) -> None:
        """Set a file's text; None deletes it."""
        self.read(path)
        self._after[path] = text

    def changes(self) -> tuple[FileChange, ...]:
        changed = (path for path in sorted(self._after) if self._after[path] != self._before[path])
        return tuple(FileChange(path, self._before[path], self._after[path]) for path in changed)


def unified_diff(changes: Sequence[FileChange]) -> str:
    """The changes as git would print them, without its index lines."""
    parts: list[str] = []
    for change in changes:
        old = "/dev/null" if change.before is None else f"a/{change.path}"
        new = "/dev/null" if change.after is None else f"b/{change.path}"
        lines = difflib.unified_diff(_lines(change.before), _lines(change.after), old, new, lineterm="")
        parts.extend(f"{line}\n" for line in lines)
    return "".join(parts)


def _lines(text: str | None) -> list[str]:
    if not text:
        return []
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else [*lines[:-1], f"{lines[-1]}\n\\ No newline at end of file"]


def read_text(root: Path, path: str) -> str | None:
    """The text of a regular file below `root`, or None. Raises WorkspaceError for links, devices and binary files."""
    with _folder_of(root, path, create=False) as (folder, name):
        if folder is None:
            return None
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreachable(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise WorkspaceError("is not a regular file", where=path, fix="remove it from the workspace")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise WorkspaceError(f"is larger than {MAX_FILE_BYTES:,} bytes", where=path, fix="keep such files out of it")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise WorkspaceError("is not UTF-8 text", where=path, fix="recipes change text only") from error


def write_changes(root: Path, changes: Sequence[FileChange]) -> None:
    """Write all changes, or none when one of them fails."""
    done: list[FileChange] = []
    try:
        for change in changes:
            _put(root, change.path, change.after)
            done.append(change)
    except OSError as error:
        for change in reversed(done):
            _put(root, change.path, change.before)
        raise WorkspaceError(
            f"cannot be written: {error.strerror}", where=change.path, fix="nothing was changed"
        ) from error


def _put(root: Path, path: str, text: str | None) -> None:
    with _folder_of(root, path, create=text is not None) as (folder, name):
        if folder is None:
            return
        if text is None:
            os.unlink(name, dir_fd=folder)
            return
        mode = 0o644
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        temporary = f".{name}.new"
        with suppress(FileNotFoundError):  # a pipe left there would be waited for
            os.unlink(temporary, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, mode, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode())
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise


@contextmanager
def _folder_of(root: Path, path: str, *, create: bool) -> Iterator[tuple[int | None, str]]:
    """A descriptor of the folder that holds `path` (None when it is absent) and the file's name in it."""
    folders, name = _parts(path)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            inner = _enter(descriptor, folder, path, create=create)
            os.close(descriptor)
            descriptor = -1
            if inner is None:
                yield None, name
                return
            descriptor = inner
        yield descriptor, name
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _parts(path: str) -> tuple[list[str], str]:
    """Each is a name in the folder before: an absolute path would be opened where it says, whatever it is opened in."""
    *folders, name = PurePosixPath(path).parts or ("",)
    if path.startswith("/") or ".." in (*folders, name) or not name or "\0" in path:
        raise WorkspaceError("leads out of the workspace", where=ascii(path), fix="name a file below it")
    return folders, name


def _enter(parent: int, folder: str, path: str, *, create: bool) -> int | None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    if create:
        with suppress(FileExistsError):
            os.mkdir(folder, dir_fd=parent)
    try:
        return os.open(folder, flags, dir_fd=parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreachable(path, error) from error


def _unreachable(path: str, error: OSError) -> WorkspaceError:
    return WorkspaceError(f"cannot be reached: {error.strerror}", where=path, fix="a workspace holds no links")
