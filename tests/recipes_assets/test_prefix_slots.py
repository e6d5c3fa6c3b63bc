"""The prefix cache against a model that only remembers which ids each slot was filled with."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from types import ModuleType
from typing import Any

import pytest

Package = Callable[[str], ModuleType]


class Memory:
    """Instead of keys and values a slot holds the ids they would have been computed from."""

    eos = 2

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.held: list[list[int]] = [[] for _ in range(slots)]

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        assert len(self.held[source]) >= length
        self.held[target][:length] = self.held[source][:length]

    def fill(self, slot: int, ids: list[int], start: int) -> None:
        self.held[slot][start:] = ids


class Settings:
    def __init__(self, **knobs: int) -> None:
        self._knobs = knobs

    def integer(self, name: str) -> int:
        return self._knobs[name]


class Desk:
    """Serves prompts through the slots and checks that every reused state is the right one."""

    def __init__(self, package: Package, max_batch: int, spare: int) -> None:
        self.model = Memory(max_batch + spare)
        self.slots: Any = package("slots").Slots(self.model, Settings(max_batch=max_batch, prefix_min_tokens=4))
        self._package = package
        self.reused = 0

    def admit(self, prompt: list[int]) -> Any:
        request = self._package("protocol").GenerationRequest(prompt, 5, 0.0, None, False, [])
        sequence = self.slots.acquire(self._package("ticket").Ticket(request, lambda ids, finish: None))
        assert sequence.filled < len(prompt)
        assert self.model.held[sequence.slot][: sequence.filled] == prompt[: sequence.filled]
        self.reused = int(sequence.filled)
        self.model.fill(sequence.slot, prompt[sequence.filled :], sequence.filled)
        sequence.filled = len(prompt)
        return sequence

    def serve(self, prompt: list[int]) -> int:
        self.slots.release(self.admit(prompt))
        return self.reused


A, B = list(range(10, 30)), list(range(50, 80))


def test_a_repeated_prompt_is_reused_but_for_its_last_token(package: Package) -> None:
    desk = Desk(package, 1, 0)
    assert [desk.serve(A), desk.serve(A)] == [0, len(A) - 1]


def test_a_prefix_is_taken_from_a_slot_that_is_still_running(package: Package) -> None:
    desk = Desk(package, 2, 0)
    desk.admit([*A, 1])
    desk.admit([*A, 3])
    assert desk.reused == len(A)


def test_prompts_that_share_less_than_the_minimum_reuse_nothing(package: Package) -> None:
    desk = Desk(package, 1, 0)
    desk.serve(A)
    assert desk.serve([*A[:3], *B]) == 0


def test_two_prefixes_in_turn_are_both_kept_where_there_is_room(package: Package) -> None:
    desk = Desk(package, 1, 2)
    assert [desk.serve([*p, n]) for n, p in enumerate((A, B, A, B))] == [0, 0, len(A), len(B)]
    desk = Desk(package, 1, 0)
    assert [desk.serve([*p, n]) for n, p in enumerate((A, B, A, B))] == [0, 0, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_and_goes_reused_state_is_that_of_the_prompt(package: Package, seed: int) -> None:
    rng = Random(seed)
    batch = rng.randrange(1, 4)
    desk = Desk(package, batch, spare=rng.randrange(3))
    stems = [[rng.randrange(9) for _ in range(rng.randrange(2, 30))] for _ in range(4)]
    running: list[Any] = []
    for _ in range(200):
        if running and (rng.random() < 0.5 or len(running) == batch):
            desk.slots.release(running.pop(rng.randrange(len(running))))
        else:
            stem = rng.choice(stems)
            running.append(desk.admit([*stem[: rng.randrange(1, len(stem) + 1)], rng.randrange(9), rng.randrange(9)]))
