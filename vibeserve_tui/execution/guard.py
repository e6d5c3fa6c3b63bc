"""What a candidate's tree may not hold, found by looking; nothing is imported or run.

Faults here are hard: files that Python would run by itself, that hide the standard library or stand for the target's
own, code that nobody can read, and blobs that could carry answers or weights. What is written inside the source is
`evaluation.cheats`' business.
"""

from __future__ import annotations

import filecmp
import re
import stat
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

SELF_RUNNING = frozenset({"sitecustomize", "usercustomize", "conftest"})
TARGETS_OWN = frozenset({"target.toml", "objective.md", "reference", "accuracy_checker", "benchmark"})
"""A tree that brings its own may hope to be judged by it."""
COMPILED = frozenset({".pyc", ".pyo", ".so", ".pyd", ".dll", ".dylib", ".o", ".a", ".exe", ".jar", ".wasm"})
IMPORTABLE = frozenset({".py", *COMPILED})
MAX_FILE = 256 * 1024
"""A larger file is data, not source."""
MAX_TREE = 8 * 2**20
MAX_BINARY = 1024
_PACKED_RUN = re.compile(rb"[A-Za-z0-9+/_=-]{40,}|(?:\\x[0-9A-Fa-f]{2}){16,}")
_DIGITS = re.compile(rb"[0-9]")
_CAPITALS = re.compile(rb"[A-Z]")
_SMALL = re.compile(rb"[a-z]")
_HEX_DIGEST = re.compile(rb"[0-9a-f]{40,128}")
MAX_PACKED = 2048
"""Bytes of unreadable text in one file: base64 and the like. Digests and long names stay far below."""


def tree_faults(folder: Path, seed: Path) -> list[str]:
    """One line per fault, in path order; empty for a sound tree. What is in the seed like that is the user's own."""
    paths = sorted(folder.rglob("*"))
    total = sum(path.lstat().st_size for path in paths)
    too_large = [f"{total >> 20} MiB are more source than anybody can review"] if total > MAX_TREE else []
    names = [path.relative_to(folder).as_posix() for path in paths]
    return too_large + list(_twins(names)) + [fault for path in paths for fault in _faults(folder, path, seed)]


def _twins(names: Iterable[str]) -> Iterator[str]:
    """Where only one of two such files can be, nobody knows which one was reviewed."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            yield f"{name}: other systems take this for {other}"


def _faults(folder: Path, path: Path, seed: Path) -> Iterator[str]:
    name = path.relative_to(folder).as_posix()
    mode = path.lstat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        yield f"{name}: only plain files are allowed: no links, pipes or devices"
    elif not same_content(path, seed / name):
        yield from _name_faults(folder, path, name)
        if stat.S_ISREG(mode):
            yield from _content_faults(path, name)


def same_content(path: Path, other: Path) -> bool:
    """Whether both are plain files with the same bytes."""
    plain = path.is_file() and other.is_file() and not other.is_symlink()
    return plain and filecmp.cmp(path, other, shallow=False)


def _name_faults(folder: Path, path: Path, name: str) -> Iterator[str]:
    if not path.name.isprintable():
        yield f"{name!a}: a name that is not what it looks like"
    module = path.name.partition(".")[0]
    importable = path.is_dir() or path.suffix.lower() in IMPORTABLE
    if path.name.lower() in {".git", ".gitmodules"}:
        yield f"{name}: a nested repository is not allowed"
    if path.suffix == ".pth" or (module in SELF_RUNNING and importable):
        yield f"{name}: Python would run this file by itself"
    if path.parent == folder and importable and module in sys.stdlib_module_names:
        yield f"{name}: hides a module of the standard library"
    if path.parent == folder and path.name.lower() in TARGETS_OWN:
        yield f"{name}: this is the target's, which a candidate may not bring or change"
    if path.suffix.lower() in COMPILED and path.is_file():
        yield f"{name}: compiled code cannot be reviewed; compile into $BUILD_DIR"


def _content_faults(path: Path, name: str) -> Iterator[str]:
    size = path.stat().st_size
    if size > MAX_FILE:
        yield f"{name}: {size >> 10} KiB are data, not source; nothing derived from weights or answers may be stored"
        return
    content = path.read_bytes()
    if len(content) > MAX_BINARY and not _is_text(content):
        yield f"{name}: a binary file; nothing derived from weights or answers may be stored"
    elif (packed := sum(map(_packed_bytes, set(_PACKED_RUN.findall(content))))) > MAX_PACKED:
        yield f"{name}: holds {packed} bytes of packed data, which nobody can read"


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content


def _packed_bytes(run: bytes) -> int:
    """Names are used again, and are words; packed data mixes digits, capitals and small letters, or is nothing but hex."""
    if _HEX_DIGEST.fullmatch(run):
        return 0
    mixed = all(kind.search(run) for kind in (_DIGITS, _CAPITALS, _SMALL))
    return len(run) if mixed or run.startswith(b"\\x") or len(run) > 128 else 0
