from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.recipes.landscape import KINDS, Landscape, Search, random_subsets, search
from vibeserve_tui.recipes.chain import fits_together

WORLDS = [Landscape(seed) for seed in range(12)]


def mean_gain(choose: Callable[[Landscape], set[str]]) -> float:
    return sum(world.truth(choose(world)) for world in WORLDS) / len(WORLDS)


@pytest.mark.parametrize("runs", [12, 20])
def test_the_planner_beats_random_subsets_in_the_mean_of_many_worlds(runs: int) -> None:
    planned = mean_gain(lambda world: search(world, runs).champion)
    drawn = mean_gain(lambda world: random_subsets(world, runs))
    assert planned > drawn + 0.2


@pytest.fixture(scope="module")
def searches() -> list[Search]:
    return [search(world, 40) for world in WORLDS]


def test_every_champion_can_be_built_and_holds_nothing_harmful(searches: list[Search]) -> None:
    harmful = {f"r{i}" for i in KINDS["harmful"]}
    for found in searches:
        assert fits_together(found.world.book, found.champion) == ""
        assert not found.champion & harmful


def test_useful_recipes_come_before_the_dead_ends(searches: list[Search]) -> None:
    early = late = 0.0
    for found in searches:
        gains = [found.world.gains[plan.recipe] for plan in found.plans]
        half = len(gains) // 2
        early += sum(gains[:half]) / len(searches)
        late += sum(gains[half:]) / len(searches)
    assert early > 0.5 > late


def test_the_search_ends_by_itself_and_says_why(searches: list[Search]) -> None:
    assert {found.stop for found in searches} == {"no recipe left is likely to gain more than 1 %"}
    assert max(len(found.plans) for found in searches) < 40
