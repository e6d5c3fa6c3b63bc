"""Does a text quote the benchmark: eight words or ids in the order of the corpus?

Prompts are drawn from the corpus in private, so whoever quotes it is preparing for its questions.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TypeVar

from vibeserve_tui.evaluation.corpus import Corpus

GRAM = 8
LEAST_LETTERS = 24
"""Of the eight words together. Shorter ones, such as a list of digits, meet by chance."""
LEAST_DISTINCT = 6
"""Ids among the eight: 0, 0, 0, … is in everything."""
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d+")
_LISTED = re.compile(r"[\s,;\[\]()]+")
T = TypeVar("T")


class Quotations:
    """What a corpus says, for looking texts up in it."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def found(self, text: str) -> Iterator[tuple[int, str]]:
        """(line, what is quoted), each line once; the text's first line is 0."""
        line_ends = [place for place, character in enumerate(text) if character == "\n"]
        seen: set[int] = set()
        for place, quoted in (*self._quoted_words(text), *self._quoted_ids(text)):
            line = bisect_right(line_ends, place)
            if line not in seen:
                seen.add(line)
                yield line, quoted

    def _quoted_words(self, text: str) -> Iterator[tuple[int, str]]:
        for words in _grams([(match.group().lower(), match.start()) for match in _WORD.finditer(text)]):
            gram = " ".join(word for word, _ in words)
            if gram in self._words:
                yield words[0][1], repr(gram)

    def _quoted_ids(self, text: str) -> Iterator[tuple[int, str]]:
        for run in _number_runs(text):
            for numbers in _grams(run):
                ids = tuple(number for number, _ in numbers)
                if ids in self._ids:
                    yield numbers[0][1], f"token ids {', '.join(map(str, ids))}"

    @cached_property
    def _words(self) -> frozenset[str]:
        said = self._corpus.text(self._corpus.stream)
        grams = map(" ".join, _grams([match.group().lower() for match in _WORD.finditer(said)]))
        return frozenset(gram for gram in grams if sum(map(str.isalpha, gram)) >= LEAST_LETTERS)

    @cached_property
    def _ids(self) -> frozenset[tuple[int, ...]]:
        return frozenset(ids for ids in _grams(self._corpus.stream) if len(set(ids)) >= LEAST_DISTINCT)


def _grams(items: Sequence[T]) -> Iterator[tuple[T, ...]]:
    return (tuple(items[i : i + GRAM]) for i in range(len(items) - GRAM + 1))


def _number_runs(text: str) -> Iterator[list[tuple[int, int]]]:
    """Eight or more numbers, with their places, that nothing but list punctuation stands between."""
    run: list[tuple[int, int]] = []
    end = 0
    for match in _NUMBER.finditer(text):
        if run and not _LISTED.fullmatch(text, end, match.start()):
            if len(run) >= GRAM:
                yield run
            run = []
        run.append((int(match.group()[:18]), match.start()))
        end = match.end()
    if len(run) >= GRAM:
        yield run
