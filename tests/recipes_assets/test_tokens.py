"""The streaming detokeniser and the memory of encodings, without a server."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from tokenizers import Tokenizer

from tests.recipes_assets.candidates import MODEL

Package = Callable[[str], ModuleType]
TEXTS = ["plain words", "naïve café – 漢字 🙂🙂", "tabs\tand\nlines\n", "\u2603" * 5]


@pytest.fixture(scope="module")
def tokens(package: Package) -> Any:
    return package("tokens").Tokens(MODEL)


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_add_up_to_the_text_and_never_show_half_a_character(tokens: Any, text: str) -> None:
    stream = tokens.stream([])
    ids = tokens.encode(text)
    pieces = [stream.push([token], last=index == len(ids) - 1) for index, token in enumerate(ids)]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)


def test_any_ids_give_the_text_that_the_tokenizer_gives(tokens: Any) -> None:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    for first in range(0, 1000, 37):
        ids = [(first * 31 + step * 101) % 1024 for step in range(40)]
        stream = tokens.stream([])
        text = "".join(stream.push([token]) for token in ids) + stream.push([], last=True)
        assert text == tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("pieces", "stops", "shown"),
    [
        (["ab", "cd", "ef"], ["cde"], "ab"),
        (["ab", "cd", "xx"], ["cde"], "abcdxx"),
        (["aaab"], ["aab"], "a"),
        (["a", "a", "a", "b", "c"], ["aab"], "a"),
        (["one two"], ["two", "one"], ""),
        (["ab", "c"], ["cd"], "abc"),
    ],
)
def test_text_ends_before_the_first_stop_string(
    package: Package, pieces: list[str], stops: list[str], shown: str
) -> None:
    stream = package("tokens").TextStream([piece.encode() for piece in pieces], stops)
    text = "".join(stream.push([index], last=index == len(pieces) - 1) for index in range(len(pieces)))
    assert text == shown
    assert stream.stopped == any(stop in "".join(pieces) for stop in stops)


def test_encodings_are_kept_up_to_a_number_and_the_least_used_goes_first(package: Package) -> None:
    asked: list[str] = []

    def encode(text: str, *, add_special_tokens: bool) -> str:
        asked.append(text)
        return f"{text} {add_special_tokens}"

    encodings = package("encodings").Encodings(encode, entries=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        assert encodings(text) == f"{text} True"
    assert asked == ["a", "b", "c", "b"]
    assert encodings("b", add_special_tokens=False) == "b False"
