"""A unified diff by file and line: which lines of which new files it shows."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HUNK = re.compile(r"^@@ -\d+(?:,(?P<old>\d+))? \+(?P<first>\d+)(?:,(?P<new>\d+))? @@")
_NAME = re.compile(r"^(?:\+\+\+ b/|--- a/|rename to )(?P<path>.*?)\t?$")


def changed_lines(diff: str) -> dict[str, list[range]]:
    """Path to the lines of each hunk in the new file, context included; a deleted file has none."""
    found: dict[str, list[range]] = {}
    path, old, new = "", 0, 0
    for line in diff.split("\n"):
        if old > 0 or new > 0:  # inside a hunk nothing is a header, whatever it looks like
            old -= line[:1] in ("-", " ", "")
            new -= line[:1] in ("+", " ", "")
        elif hunk := _HUNK.match(line):
            first, old, new = int(hunk["first"]), int(hunk["old"] or 1), int(hunk["new"] or 1)
            found.setdefault(path, []).append(range(first, first + new))
        elif name := _NAME.match(line):
            path = name["path"]
            found.setdefault(path, [])
    return found


def shows(diff: dict[str, list[range]], path: str, lines: Sequence[int]) -> bool:
    """Whether the diff has that file, and a hunk that touches those lines (first and last)."""
    first, last = min(lines), max(lines)
    return any(first < hunk.stop and last >= hunk.start for hunk in diff.get(path.removeprefix("b/"), ()))
