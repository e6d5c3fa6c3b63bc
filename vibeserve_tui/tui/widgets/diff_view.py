"""A diff as one widget: unified or split, code coloured, changed words and hits of a search marked, jumps.

Only lines that are visible are drawn, and only hunks of which something is visible are read as code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import overload

from rich.cells import cell_len

from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import Ink, Line, Span, cut, line, width_of
from vibeserve_tui.tui.widgets.diff_text import DiffLine, Kind, parse_diff
from vibeserve_tui.tui.widgets.syntax import Run, runs_of

NUMBER_CELLS = 4
SPLIT_FROM = 60
"""Cells below which a split view would show nothing but margins."""
INKS = {Kind.ADDED: (Ink.ADDED, Ink.ADDED_WORD), Kind.REMOVED: (Ink.REMOVED, Ink.REMOVED_WORD)}
SIGNS = {Kind.ADDED: "+", Kind.REMOVED: "−", Kind.CONTEXT: " "}


@dataclass(frozen=True, slots=True)
class Row:
    """One screen row: a line, or a pair of lines side by side; `part` counts the rows of a wrapped line."""

    left: DiffLine | None
    right: DiffLine | None = None
    part: int = 0
    wrapped: bool = False


@dataclass(frozen=True, slots=True)
class DiffStyle:
    split: bool = False
    wrap: bool = False
    find: str = ""
    """Marked wherever it stands, in letters of either case."""


class Diff:
    """A parsed diff laid out for one width and style."""

    def __init__(self, text: str = "") -> None:
        self.lines = parse_diff(text)
        self._place = {id(entry): index for index, entry in enumerate(self.lines)}
        self._runs: dict[int, Sequence[Run]] = {}

    def runs(self, entry: DiffLine) -> Sequence[Run]:
        """The line as code; its whole hunk is read the first time."""
        if id(entry) not in self._runs:
            self._read_hunk(self._place[id(entry)])
        return self._runs[id(entry)]

    def _read_hunk(self, place: int) -> None:
        """Old and new side are two texts: lines that both have are taken from the new one."""
        start, end, lines = place, place, self.lines
        while start and lines[start - 1].kind not in (Kind.FILE, Kind.HUNK):
            start -= 1
        while end < len(lines) and lines[end].kind not in (Kind.FILE, Kind.HUNK):
            end += 1
        path = next((entry.text for entry in reversed(lines[:start]) if entry.kind is Kind.FILE), "").partition(" (")[0]
        for left_out in (Kind.ADDED, Kind.REMOVED):
            side = [entry for entry in lines[start:end] if entry.kind is not left_out]
            texts = [entry.text for entry in side]
            for entry, runs in zip(side, runs_of(texts, path), strict=True):
                self._runs[id(entry)] = runs

    @property
    def files(self) -> list[DiffLine]:
        return [entry for entry in self.lines if entry.kind is Kind.FILE]

    @property
    def counts(self) -> str:
        """`+41 −6`."""
        return f"+{sum(entry.added for entry in self.files)} −{sum(entry.removed for entry in self.files)}"

    @property
    def summary(self) -> str:
        """`2 files +41 −6`."""
        count = len(self.files)
        return f"{count} file{'' if count == 1 else 's'} {self.counts}"

    def rows(self, style: DiffStyle, width: int) -> DiffRows:
        split = style.split and width >= SPLIT_FROM
        rows = _split_rows(self.lines) if split else [Row(entry) for entry in self.lines]
        if style.wrap and not split:
            rows = _wrapped(rows, width)
        return DiffRows(self, rows, width, style, split=split)


class DiffRows(Sequence[Line]):
    """The rows as lines, each drawn only when it is shown."""

    def __init__(self, diff: Diff, rows: list[Row], width: int, style: DiffStyle, *, split: bool) -> None:
        self._diff, self._rows, self._width, self._style, self._split = diff, rows, width, style, split

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Line]: ...
    def __getitem__(self, index: int | slice) -> Line | Sequence[Line]:
        if isinstance(index, slice):
            return [self._draw(row) for row in self._rows[index]]
        return self._draw(self._rows[index])

    def starts(self, kind: Kind) -> list[int]:
        """Row numbers where a file or hunk begins."""
        return [index for index, row in enumerate(self._rows) if row.left and row.left.kind is kind and not row.part]

    def hits(self) -> list[int]:
        """Row numbers in which the style's search text stands."""
        wanted = self._style.find.lower()
        sides = ((index, (row.left, row.right)) for index, row in enumerate(self._rows) if not row.part)
        return [index for index, pair in sides if wanted and any(e and wanted in e.text.lower() for e in pair)]

    def _draw(self, row: Row) -> Line:
        head = row.left
        if head and head.kind is Kind.FILE:
            counts = f"+{head.added} −{head.removed}" if head.added or head.removed else ""
            gap = max(1, self._width - cell_len(head.text) - len(counts))
            return cut((Span(head.text + " " * gap + counts, Ink.FILE),), self._width)
        if head and head.kind is Kind.HUNK:
            return line((f"{' ' * NUMBER_CELLS}{glyphs.FOLD} {head.text}"[: self._width], Ink.MUTED))
        if self._split:
            half = (self._width - 1) // 2
            left = self._half(row.left, half, old=True)
            right = self._half(row.right, self._width - half - 1, old=False)
            return (*left, Span("│", Ink.MUTED), *right)
        return self._unified(row)

    def _unified(self, row: Row) -> Line:
        entry = row.left
        assert entry is not None
        ink = INKS.get(entry.kind, (Ink.PLAIN, Ink.PLAIN))[0]
        numbers = f"{entry.old or '':>{NUMBER_CELLS}} {entry.new or '':>{NUMBER_CELLS}} {SIGNS[entry.kind]} "
        if row.part:
            numbers = " " * len(numbers)
        room = max(0, self._width - len(numbers))
        body = self._body(entry)
        body = _slice(body, row.part * room, room) if row.wrapped else cut(body, room)
        return _padded((Span(numbers, ink if ink is not Ink.PLAIN else Ink.MUTED), *body), self._width, ink)

    def _half(self, entry: DiffLine | None, width: int, *, old: bool) -> Line:
        if entry is None:
            return (Span(" " * width, Ink.MUTED),)
        ink = INKS.get(entry.kind, (Ink.PLAIN, Ink.PLAIN))[0]
        number = entry.old if old else entry.new
        head = f"{number or '':>{NUMBER_CELLS}} {SIGNS[entry.kind]} "
        body = cut(self._body(entry), max(0, width - len(head)))
        return _padded((Span(head, ink if ink is not Ink.PLAIN else Ink.MUTED), *body), width, ink)

    def _body(self, entry: DiffLine) -> Line:
        """The text cut where its look changes: code by its grammar, over the ground of what changed, hits over all."""
        ink, word = INKS.get(entry.kind, (Ink.PLAIN, Ink.PLAIN))
        runs, hits = self._diff.runs(entry), _places(entry.text, self._style.find)
        ranges = [*((start, end) for start, end, _ in runs), *entry.changed, *hits]
        edges = {0, len(entry.text)}.union(*ranges)
        spans: list[Span] = []
        for start, end in pairwise(sorted(edges)):
            ground = word if _holds(entry.changed, start) else ink
            code = next((kind for a, b, kind in runs if a <= start < b), None)
            text = entry.text[start:end]
            if _holds(hits, start):
                spans.append(Span(text, Ink.HIT))
            elif code is None or ground is Ink.PLAIN:
                spans.append(Span(text, code or ground))
            else:
                spans.append(Span(text, code, ground))
        return tuple(spans)


def _places(text: str, wanted: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(re.escape(wanted), text, re.IGNORECASE)] if wanted else []


def _holds(ranges: Sequence[tuple[int, int]], place: int) -> bool:
    return any(start <= place < end for start, end in ranges)


def _padded(spans: Line, width: int, ink: Ink) -> Line:
    """Filled to the width in the line's own ink, so that its ground reaches the edge."""
    return (*spans, Span(" " * max(0, width - width_of(spans)), ink))


def _slice(spans: Line, start: int, length: int) -> Line:
    """Characters start..start+length over the spans."""
    parts: list[Span] = []
    at = 0
    for span in spans:
        text = span.text[max(0, start - at) : max(0, start + length - at)]
        at += len(span.text)
        if text:
            parts.append(span._replace(text=text))
    return tuple(parts)


def _split_rows(lines: list[DiffLine]) -> list[Row]:
    """Removed lines beside the added lines that replace them."""
    rows: list[Row] = []
    removed: list[DiffLine] = []
    added: list[DiffLine] = []

    def flush() -> None:
        rows.extend(Row(left, right) for left, right in zip_longest(removed, added))
        removed.clear()
        added.clear()

    for entry in lines:
        if entry.kind is Kind.REMOVED:
            if added:
                flush()
            removed.append(entry)
        elif entry.kind is Kind.ADDED:
            added.append(entry)
        else:
            flush()
            rows.append(Row(entry, entry))
    flush()
    return rows


def _wrapped(rows: list[Row], width: int) -> list[Row]:
    room = max(1, width - 2 * NUMBER_CELLS - 4)
    wrapped: list[Row] = []
    for row in rows:
        long = row.left is not None and row.left.kind not in (Kind.FILE, Kind.HUNK)
        parts = 1 + (cell_len(row.left.text) - 1) // room if long and row.left and row.left.text else 1
        wrapped += [Row(row.left, row.right, part, wrapped=True) for part in range(parts)]
    return wrapped
