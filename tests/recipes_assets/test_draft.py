"""Following a draft: where it stands after differences, and how little a useless one may cost."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Package = Callable[[str], ModuleType]


def follow(package: Package, draft: list[int], answer: list[int], window: int = 16) -> tuple[int, int, int]:
    """Verifications, plain steps and useless verifications until the answer is complete; checks the answer."""
    guess: Any = package("draft").Draft(draft, answer[:1], window)
    said, verified, plain, useless = answer[:1], 0, 0, 0
    while len(said) < len(answer):
        proposed = guess.propose(said, len(answer) - len(said) - 1)
        if not proposed:
            said, plain = answer[: len(said) + 1], plain + 1
            continue
        assert len(proposed) <= min(window, len(answer) - len(said) - 1)
        rest = answer[len(said) :]
        accepted = next((i for i, (a, b) in enumerate(zip(proposed, rest, strict=False)) if a != b), len(proposed))
        guess.judge(len(proposed), accepted, rest[accepted])
        said = answer[: len(said) + accepted + 1]
        verified, useless = verified + 1, useless + (accepted == 0)
    return verified, plain, useless


def words(seed: int, count: int) -> list[int]:
    return random.Random(seed).choices(range(1000), k=count)


def test_a_perfect_draft_needs_one_pass_per_window(package: Package) -> None:
    answer = words(1, 160)
    verified, plain, useless = follow(package, answer, answer)
    assert (plain, useless) == (0, 0)
    assert verified <= 4 + 160 // 16


@pytest.mark.parametrize("change", ["replaced", "inserted", "missing"])
def test_a_draft_is_followed_beyond_a_difference(package: Package, change: str) -> None:
    answer = words(2, 200)
    draft = list(answer)
    for place in (150, 100, 50):
        draft[place : place + (change != "inserted")] = [] if change == "missing" else [1001]
    verified, plain, _ = follow(package, draft, answer)
    assert verified + plain < 50


def test_a_whole_line_inserted_by_the_model_is_overcome(package: Package) -> None:
    answer = words(3, 200)
    verified, plain, _ = follow(package, answer[:60] + answer[90:], answer)
    assert verified + plain < 30 + 30


@pytest.mark.parametrize("draft", [[], [7], words(9, 300), [5] * 300], ids=["empty", "short", "foreign", "constant"])
def test_a_useless_draft_wastes_at_most_one_verification(package: Package, draft: list[int]) -> None:
    _, _, useless = follow(package, draft, words(4, 200))
    assert useless <= 1


def test_a_draft_given_up_stays_silent(package: Package) -> None:
    answer = words(5, 50)
    guess: Any = package("draft").Draft(answer, answer[:1], 16)
    assert guess.propose(answer[:1], 40)
    guess.give_up()
    assert guess.propose(answer[:5], 40) == []
