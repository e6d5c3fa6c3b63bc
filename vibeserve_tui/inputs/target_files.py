"""The files of a target: walked without following links, hashed, copied into a run.

What is hashed is exactly what is copied and what is later run: caches and version control
beside the files are in neither, so a stale bytecode file can never stand in for its source.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui.errors import TargetError

IGNORED_NAMES = frozenset(
    {".git", "__pycache__", ".DS_Store", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache"}
)
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class TreeRules:
    """How large and how odd a folder may be."""

    max_files: int
    max_bytes: int
    max_depth: int
    file_links: bool
    """Whether links to files are read through, as a hub's cache has them; links to folders never are."""


TARGET_TREE = TreeRules(max_files=10_000, max_bytes=1 << 30, max_depth=16, file_links=False)
MODEL_TREE = TreeRules(max_files=10_000, max_bytes=1 << 42, max_depth=4, file_links=True)


def tree_digest(root: Path, rules: TreeRules = TARGET_TREE) -> str:
    """SHA-256 over the sorted lines `path NUL mode NUL size NUL sha256` of all regular files.

    The mode is 755 or 644, as in git: everything else depends on the umask of whoever made the copy.
    """
    return _digest(root, rules, copy_to=None)


def copy_tree(root: Path, destination: Path, rules: TreeRules = TARGET_TREE) -> str:
    """Copy the folder's files, read-only, into the new folder `destination`; the digest of what was copied."""
    destination.mkdir(parents=True)
    return _digest(root, rules, copy_to=destination)


def require_plain(root: Path, rules: TreeRules = TARGET_TREE) -> None:
    """Raise TargetError for a folder with anything in it but folders and files, or odd names; no content is read."""
    for path, name, folder in _files(root, rules):
        _opened(root / path, name, folder, rules).close()


def _digest(root: Path, rules: TreeRules, copy_to: Path | None) -> str:
    lines: list[tuple[str, str]] = []
    total_bytes = 0
    for path, name, folder in _files(root, rules):
        with _opened(root / path, name, folder, rules) as file:
            status = os.fstat(file.fileno())
            total_bytes += status.st_size
            if len(lines) >= rules.max_files or total_bytes > rules.max_bytes:
                raise TargetError(
                    f"holds more than {rules.max_files:,} files or {rules.max_bytes >> 20:,} MiB",
                    where=str(root),
                    fix="keep large weights outside it: model.source local or hub",
                )
            mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            content, size = _hash(file, None if copy_to is None else _created(copy_to / path, mode & 0o555))
        lines.append((path, f"{mode:o}\0{size}\0{content}"))
    digest = hashlib.sha256()
    for path, line in sorted(lines):
        digest.update(f"{path}\0{line}\n".encode())
    return digest.hexdigest()


def _files(root: Path, rules: TreeRules) -> Iterator[tuple[str, str, int]]:
    """Path, name and open folder of each file; folders that are links, too deep or oddly named are refused."""
    if not root.is_dir():
        raise TargetError("is not a folder", where=str(root), fix="give the folder that holds target.toml")
    for folder, folders, names, descriptor in os.fwalk(root, follow_symlinks=False):
        folders[:] = sorted(set(folders) - IGNORED_NAMES)
        relative = os.path.relpath(folder, root)
        prefix = "" if relative == "." else f"{relative}/"
        for name in (*folders, *names):
            if not name.isprintable() or "\\" in name:  # also what is not UTF-8: it decodes to lone surrogates
                raise TargetError(f"the name {name!a} is refused", where=str(root), fix="rename it to plain text")
        for name in folders:
            if stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                raise TargetError("is a link to a folder", where=str(root / prefix / name), fix="copy the folder here")
        if folders and prefix.count("/") >= rules.max_depth:
            raise TargetError(f"is deeper than {rules.max_depth} folders", where=folder, fix="flatten the folder")
        for name in sorted(set(names) - IGNORED_NAMES):
            yield prefix + name, name, descriptor


def _opened(path: Path, name: str, folder: int, rules: TreeRules) -> io.BufferedReader:
    """A regular file, opened by name within its open folder: checking first and opening later could be raced."""
    follow = 0 if rules.file_links else os.O_NOFOLLOW
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | follow, dir_fd=folder)
    except OSError as problem:
        what = "is a link" if problem.errno == errno.ELOOP else f"cannot be read: {problem.strerror}"
        raise TargetError(what, where=str(path), fix="put a regular file in its place") from None
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise TargetError("is not a regular file", where=str(path), fix="remove it")
    return file


def _created(path: Path, mode: int) -> io.BufferedWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb")


def _hash(file: io.BufferedReader, copy: io.BufferedWriter | None) -> tuple[str, int]:
    content = hashlib.sha256()
    size = 0
    with copy or contextlib.nullcontext():
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            content.update(chunk)
            if copy is not None:
                copy.write(chunk)
    return content.hexdigest(), size
