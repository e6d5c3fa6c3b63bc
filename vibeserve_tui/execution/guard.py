"""What a candidate's tree may not hold, found by looking at its files; nothing is imported or run.

Faults here are hard: names that Python would run by itself or that hide the standard library, and large blobs that could
carry answers or weights. What merely looks odd is for reviewers, not for this module.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

SELF_RUNNING = frozenset({"sitecustomize.py", "usercustomize.py", "conftest.py"})
MAX_LITERAL = 256 * 1024
"""A quoted literal of this many bytes is data, not code."""
MAX_BINARY = 64 * 1024
_LITERAL = re.compile(rb"""(?s)(?:"{3}.*?"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""")


def tree_faults(folder: Path) -> list[str]:
    """One line per fault, in path order; empty for a sound tree."""
    return [fault for path in sorted(folder.rglob("*")) for fault in _faults(folder, path)]


def _faults(folder: Path, path: Path) -> Iterator[str]:
    name = path.relative_to(folder).as_posix()
    if path.is_symlink():
        yield f"{name}: links are not allowed"
        return
    if path.name.lower() == ".git":
        yield f"{name}: a nested repository is not allowed"
    if path.is_dir():
        if path.parent == folder and path.name in sys.stdlib_module_names:
            yield f"{name}/: hides a module of the standard library"
        return
    if path.name in SELF_RUNNING or path.suffix == ".pth":
        yield f"{name}: Python would run this file by itself"
    if path.parent == folder and path.suffix == ".py" and path.stem in sys.stdlib_module_names:
        yield f"{name}: hides a module of the standard library"
    data = path.read_bytes()
    if b"\0" in data[:8192] and len(data) > MAX_BINARY:
        yield f"{name}: a binary file of {len(data) >> 10} KiB; nothing derived from weights or answers may be stored"
    elif any(len(match.group()) > MAX_LITERAL for match in _LITERAL.finditer(data)):
        yield f"{name}: holds a literal of more than {MAX_LITERAL >> 10} KiB"
