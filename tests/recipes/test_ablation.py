from __future__ import annotations

from dataclasses import replace

import pytest

from tests.recipes.landscape import compose, spec_of
from vibeserve_tui.events import Outcome
from vibeserve_tui.recipes.ablation import still_good, variants
from vibeserve_tui.recipes.facts import Facts
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Choice, Situation
from vibeserve_tui.recipes.trials import Trial

BOOK = RecipeBook(
    [
        spec_of("base", capabilities={"provides": ["x.base"]}),
        spec_of("above", capabilities={"provides": ["x.above"], "needs": ["x.base"]}),
        spec_of("aside", capabilities={"provides": ["x.aside"]}),
    ]
)
CHAMPION = compose(BOOK, {"base", "above", "aside"}, 5)


def kept(name: str, ratio: float) -> Trial:
    return Trial(name, "1.0", {}, frozenset(), Outcome.KEPT, ratio)


def test_each_recipe_that_nothing_builds_on_is_dropped_once_the_weakest_first() -> None:
    trials = (kept("base", 1.1), kept("above", 1.5), kept("aside", 1.2))
    found = variants(BOOK, Situation(Facts(), champion=CHAMPION, trials=trials))
    assert [(v.dropped, [c.recipe for c in v.recipes]) for v in found] == [
        ("aside", ["base", "above"]),
        ("above", ["aside", "base"]),
    ]


def test_the_rest_keeps_its_parameters() -> None:
    tuned = tuple(replace(choice, params={"n": 3}) for choice in CHAMPION.recipes)
    found = variants(BOOK, Situation(Facts(), champion=replace(CHAMPION, recipes=tuned)))
    assert all(choice == Choice(choice.recipe, {"n": 3}) for variant in found for choice in variant.recipes)


def test_a_tree_with_a_recipe_that_is_no_longer_installed_is_not_rebuilt() -> None:
    foreign = replace(CHAMPION, recipes=(*CHAMPION.recipes, Choice("gone", {})))
    assert [v.dropped for v in variants(BOOK, Situation(Facts(), champion=foreign))] == ["gone"]


@pytest.mark.parametrize(
    ("ratio", "high", "good"), [(1.0, 1.01, True), (1.02, 1.3, True), (0.97, 1.04, False), (0.985, 0.995, False)]
)
def test_simpler_code_replaces_a_proved_gain_only_where_nothing_seems_to_be_lost(
    ratio: float, high: float, good: bool
) -> None:
    assert still_good(ratio, high) is good
