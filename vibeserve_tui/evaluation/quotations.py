"""Does a tree quote the benchmark: eight words, or eight token ids, in the order in which the corpus has them?

Prompts are drawn from the corpus in private, so whoever quotes it is preparing for its questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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
Place = tuple[str, int]
"""File and line."""
T = TypeVar("T")


class Quotations:
    """Gathers what a tree says, then looks all of it up at once."""

    def __init__(self) -> None:
        self._words: dict[str, Place] = {}
        self._ids: dict[tuple[int, ...], Place] = {}

    def add(self, text: str, path: str, line: int) -> None:
        """`line` is that of the text's first character."""
        words = [(match.group().lower(), match.start()) for match in _WORD.finditer(text)]
        for gram in _grams(words):
            place = (path, line + text.count("\n", 0, gram[0][1]))
            self._words.setdefault(" ".join(word for word, _ in gram), place)
        for run in _number_runs(text):
            for ids in _grams(run):
                place = (path, line + text.count("\n", 0, ids[0][1]))
                self._ids.setdefault(tuple(number for number, _ in ids), place)

    def found(self, corpus: Corpus) -> Iterator[tuple[Place, str]]:
        """Each place that quotes, once."""
        places: set[Place] = set()
        for place, quoted in (*self._found_words(corpus), *self._found_ids(corpus)):
            if place not in places:
                places.add(place)
                yield place, quoted

    def _found_words(self, corpus: Corpus) -> Iterator[tuple[Place, str]]:
        words = [match.group().lower() for match in _WORD.finditer(corpus.text(corpus.stream))]
        for gram in map(" ".join, _grams(words)):
            if gram in self._words and sum(map(str.isalpha, gram)) >= LEAST_LETTERS:
                yield self._words[gram], gram

    def _found_ids(self, corpus: Corpus) -> Iterator[tuple[Place, str]]:
        if self._ids:
            for ids in _grams(corpus.stream):
                if ids in self._ids and len(set(ids)) >= LEAST_DISTINCT:
                    yield self._ids[ids], f"token ids {', '.join(map(str, ids))}"


def _grams(items: Sequence[T]) -> Iterator[tuple[T, ...]]:
    return (tuple(items[i : i + GRAM]) for i in range(len(items) - GRAM + 1))


def _number_runs(text: str) -> Iterator[list[tuple[int, int]]]:
    """Numbers, with their places, that nothing but list punctuation stands between."""
    run: list[tuple[int, int]] = []
    end = 0
    for match in _NUMBER.finditer(text):
        if run and not _LISTED.fullmatch(text, end, match.start()):
            yield run
            run = []
        run.append((int(match.group()[:18]), match.start()))
        end = match.end()
    yield run
