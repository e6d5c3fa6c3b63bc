"""A diff as one widget: unified or split, words marked, jumps by hunk and file; only visible lines are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import overload

from rich.cells import cell_len

from vibeserve_tui.safe_text import clean_line
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import Ink, Line, Span, cut, line, width_of
from vibeserve_tui.tui.widgets.diff_text import DiffLine, Kind, parse_diff

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


class Diff:
    """A parsed diff laid out for one width and style."""

    def __init__(self, text: str = "") -> None:
        self.lines = parse_diff(text)

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
        return DiffRows(rows, width, split=split)


class DiffRows(Sequence[Line]):
    """The rows as lines, each drawn only when it is shown."""

    def __init__(self, rows: list[Row], width: int, *, split: bool) -> None:
        self._rows, self._width, self._split = rows, width, split

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

    def _draw(self, row: Row) -> Line:
        head = row.left
        if head and head.kind is Kind.FILE:
            counts = f"+{head.added} −{head.removed}" if head.added or head.removed else ""
            name = clean_line(head.text)
            gap = max(1, self._width - cell_len(name) - len(counts))
            return cut((Span(name + " " * gap + counts, Ink.FILE),), self._width)
        if head and head.kind is Kind.HUNK:
            return line((f"{' ' * NUMBER_CELLS}{glyphs.FOLD} {clean_line(head.text)}"[: self._width], Ink.MUTED))
        if self._split:
            half = (self._width - 1) // 2
            left = _half(row.left, half, old=True)
            right = _half(row.right, self._width - half - 1, old=False)
            return (*left, Span("│", Ink.MUTED), *right)
        return _unified(row, self._width)


def _unified(row: Row, width: int) -> Line:
    entry = row.left
    assert entry is not None
    ink, word = INKS.get(entry.kind, (Ink.PLAIN, Ink.PLAIN))
    numbers = f"{entry.old or '':>{NUMBER_CELLS}} {entry.new or '':>{NUMBER_CELLS}} {SIGNS[entry.kind]} "
    if row.part:
        numbers = " " * len(numbers)
    room = max(0, width - len(numbers))
    body = _marked(entry, ink, word)
    body = _slice(body, row.part * room, room) if row.wrapped else cut(body, room)
    return _padded((Span(numbers, ink if ink is not Ink.PLAIN else Ink.MUTED), *body), width, ink)


def _half(entry: DiffLine | None, width: int, *, old: bool) -> Line:
    if entry is None:
        return (Span(" " * width, Ink.MUTED),)
    ink, word = INKS.get(entry.kind, (Ink.PLAIN, Ink.PLAIN))
    number = entry.old if old else entry.new
    head = f"{number or '':>{NUMBER_CELLS}} {SIGNS[entry.kind]} "
    body = cut(_marked(entry, ink, word), max(0, width - len(head)))
    return _padded((Span(head, ink if ink is not Ink.PLAIN else Ink.MUTED), *body), width, ink)


def _marked(entry: DiffLine, ink: Ink, word: Ink) -> Line:
    """The text in runs: plain ones and the words that changed."""
    spans: list[Span] = []
    at = 0
    for start, end in entry.changed:
        spans.append(Span(entry.text[at:start], ink))
        spans.append(Span(entry.text[start:end], word))
        at = end
    spans.append(Span(entry.text[at:], ink))
    return tuple(Span(clean_line(span.text.expandtabs(4)), span.ink) for span in spans if span.text)


def _padded(spans: Line, width: int, ink: Ink) -> Line:
    """Filled to the width in the line's own ink, so that its ground reaches the edge."""
    return (*spans, Span(" " * max(0, width - width_of(spans)), ink))


def _cells(text: str) -> int:
    return cell_len(text.expandtabs(4))


def _slice(spans: Line, start: int, length: int) -> Line:
    """Characters start..start+length over the spans."""
    parts: list[Span] = []
    at = 0
    for span in spans:
        text = span.text[max(0, start - at) : max(0, start + length - at)]
        at += len(span.text)
        if text:
            parts.append(Span(text, span.ink))
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
        parts = 1 + (_cells(row.left.text) - 1) // room if long and row.left and row.left.text else 1
        wrapped += [Row(row.left, row.right, part, wrapped=True) for part in range(parts)]
    return wrapped
