"""`git diff` text as lines with numbers, hunks, files and the words that changed within a line. Nothing is drawn here.

Text is cleaned and its tabs are spread as it is read, so that every position in a line is a cell's or a character's.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from vibeserve_tui.safe_text import clean_line

HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)")
WORD = re.compile(r"\w+|\s+|[^\w\s]")
SIMILAR = 0.4
"""Pairs of lines less alike than this are shown as a deletion and an addition, without marked words."""
LONGEST_COMPARED = 400


class Kind(StrEnum):
    FILE = "file"
    HUNK = "hunk"
    CONTEXT = " "
    ADDED = "+"
    REMOVED = "-"


@dataclass(frozen=True, slots=True)
class DiffLine:
    kind: Kind
    text: str
    old: int | None = None
    new: int | None = None
    changed: tuple[tuple[int, int], ...] = ()
    """Ranges of characters that differ from this line's partner."""
    added: int = 0
    removed: int = 0
    """Counts of a whole file, on its FILE line."""


@dataclass(slots=True)
class _Reader:
    """Where in the diff the parser is: old and new line numbers, and how many of each the hunk still holds."""

    old: int = 0
    new: int = 0
    left_old: int = 0
    left_new: int = 0

    @property
    def in_hunk(self) -> bool:
        return self.left_old > 0 or self.left_new > 0

    def enter(self, match: re.Match[str]) -> None:
        self.old, self.new = int(match[1]), int(match[3])
        self.left_old = 1 if match[2] is None else int(match[2])
        self.left_new = 1 if match[4] is None else int(match[4])

    def take(self, raw: str) -> DiffLine | None:
        mark, body = raw[:1], raw[1:]
        if mark == "\\":  # "\ No newline at end of file"
            return None
        kind = {"+": Kind.ADDED, "-": Kind.REMOVED}.get(mark, Kind.CONTEXT)
        old = None if kind is Kind.ADDED else self.old
        new = None if kind is Kind.REMOVED else self.new
        if kind is not Kind.ADDED:
            self.old, self.left_old = self.old + 1, self.left_old - 1
        if kind is not Kind.REMOVED:
            self.new, self.left_new = self.new + 1, self.left_new - 1
        return DiffLine(kind, clean_line(body), old, new)


def parse_diff(text: str) -> list[DiffLine]:
    """Unified diff to lines. Header lines count only outside a hunk, so that `--- x` in code survives."""
    lines: list[DiffLine] = []
    reader = _Reader()
    for raw in text.split("\n"):
        if reader.in_hunk:
            if taken := reader.take(raw):
                lines.append(taken)
        elif raw.startswith("diff --git "):
            lines.append(DiffLine(Kind.FILE, clean_line(_path(raw))))
        elif raw.startswith(("new file", "deleted file")) and lines and lines[-1].kind is Kind.FILE:
            lines[-1] = replace(lines[-1], text=f"{lines[-1].text} ({raw.split()[0]})")
        elif raw.startswith("rename to ") and lines and lines[-1].kind is Kind.FILE:
            lines[-1] = replace(lines[-1], text=f"{lines[-1].text} (renamed)")
        elif raw.startswith("Binary files ") and lines and lines[-1].kind is Kind.FILE:
            lines.append(DiffLine(Kind.HUNK, "binary file"))
        elif match := HUNK.match(raw):
            reader.enter(match)
            lines.append(DiffLine(Kind.HUNK, clean_line(match[5])))
    return _with_words(_with_counts(_code_first(lines)))


def _code_first(lines: list[DiffLine]) -> list[DiffLine]:
    """Files of dotted folders keep books for programs; a person reads them last."""
    starts = [at for at, entry in enumerate(lines) if entry.kind is Kind.FILE]
    files = [lines[start:end] for start, end in pairwise([*starts, len(lines)])]
    return [entry for file in sorted(files, key=lambda file: file[0].text.startswith(".")) for entry in file]


def _path(header: str) -> str:
    """The new path of `diff --git a/x b/x`; git writes both alike unless it is a rename."""
    return header.rpartition(" b/")[2].strip('"') or header


def _with_counts(lines: list[DiffLine]) -> list[DiffLine]:
    counted, at = list(lines), -1
    for index, entry in enumerate(lines):
        if entry.kind is Kind.FILE:
            at = index
        elif at >= 0 and entry.kind is Kind.ADDED:
            counted[at] = replace(counted[at], added=counted[at].added + 1)
        elif at >= 0 and entry.kind is Kind.REMOVED:
            counted[at] = replace(counted[at], removed=counted[at].removed + 1)
    return counted


def _with_words(lines: list[DiffLine]) -> list[DiffLine]:
    """Mark changed words where removed lines are followed by added ones, pair by pair as far as both go."""
    marked = list(lines)
    index = 0
    while index < len(lines):
        if lines[index].kind is not Kind.REMOVED:
            index += 1
            continue
        middle = _run_end(lines, index, Kind.REMOVED)
        end = _run_end(lines, middle, Kind.ADDED)
        for removed, added in zip(range(index, middle), range(middle, end), strict=False):
            _mark_pair(marked, removed, added)
        index = end
    return marked


def _run_end(lines: list[DiffLine], start: int, kind: Kind) -> int:
    while start < len(lines) and lines[start].kind is kind:
        start += 1
    return start


def _mark_pair(lines: list[DiffLine], removed: int, added: int) -> None:
    before, after = WORD.findall(lines[removed].text), WORD.findall(lines[added].text)
    if max(len(lines[removed].text), len(lines[added].text)) > LONGEST_COMPARED:
        return
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < SIMILAR:
        return
    old: list[tuple[int, int]] = []
    new: list[tuple[int, int]] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            continue
        if i2 > i1:
            old.append((_offset(before, i1), _offset(before, i2)))
        if j2 > j1:
            new.append((_offset(after, j1), _offset(after, j2)))
    lines[removed] = replace(lines[removed], changed=tuple(old))
    lines[added] = replace(lines[added], changed=tuple(new))


def _offset(words: list[str], index: int) -> int:
    return sum(len(word) for word in words[:index])
