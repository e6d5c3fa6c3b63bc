"""Regions: the replaceable parts of a candidate's source, marked by comments.

    # region: kv            (or // in C++)
    ...
    # endregion: kv

They do not nest and a name occurs once in a file. Only the text between the markers is ever touched.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from vibeserve_tui.errors import WorkspaceError

_MARKER = re.compile(r"^[ \t]*(?:#|//)[ \t]*(?P<end>end)?region:[ \t]*(?P<name>[a-z][a-z0-9_.-]*)[ \t]*\r?$")


@dataclass(frozen=True, slots=True)
class Region:
    """Lines `first` to `last` (exclusive, counted from 0) between two markers."""

    name: str
    first: int
    last: int
    text: str


def regions(text: str) -> Mapping[str, Region]:
    """All regions of a file by name. Raises WorkspaceError when the markers make no sense."""
    # Not splitlines(): a form feed or U+2028 inside a string must not count as a line.
    lines = text.split("\n")
    found: dict[str, Region] = {}
    opened: tuple[str, int] | None = None
    for number, line in enumerate(lines):
        marker = _MARKER.match(line)
        if marker is None:
            continue
        name, ends, where = marker["name"], marker["end"] is not None, f"line {number + 1}"
        if opened is None and not ends:
            if name in found:
                raise WorkspaceError(f"region {name!r} occurs twice", where=where, fix="give each region its own name")
            opened = (name, number + 1)
        elif opened is not None and ends and opened[0] == name:
            body = "".join(f"{line}\n" for line in lines[opened[1] : number])
            found[name] = Region(name, opened[1], number, body)
            opened = None
        elif ends:
            raise WorkspaceError(f"region {name!r} ends but did not begin", where=where, fix="restore its first marker")
        else:
            raise WorkspaceError(f"region {name!r} begins inside another", where=where, fix="regions do not nest")
    if opened is not None:
        raise WorkspaceError(
            f"region {opened[0]!r} does not end", where=f"line {opened[1]}", fix="restore its end marker"
        )
    return found


def replaced(text: str, region: Region, body: str) -> str:
    """The file with another text in that region."""
    lines = text.split("\n")
    return "\n".join([*lines[: region.first], *whole_lines(body).split("\n")[:-1], *lines[region.last :]])


def whole_lines(text: str) -> str:
    """The text ending in a line break, unless it is empty."""
    return text if not text or text.endswith("\n") else f"{text}\n"


def digest(text: str) -> str:
    """What `expects` holds: sha256 of the exact text between the markers."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
