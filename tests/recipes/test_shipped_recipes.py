from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.recipes.applicability import why_not_on
from vibeserve_tui.recipes.apply import Applied, edit
from vibeserve_tui.recipes.chain import explain
from vibeserve_tui.recipes.facts import DeviceFacts
from vibeserve_tui.recipes.lint import SPECIMEN, lint
from vibeserve_tui.recipes.planner import decide
from vibeserve_tui.recipes.plans import Plan
from vibeserve_tui.recipes.recipe import SEED_CAPABILITIES, RecipeBook, load_recipe
from vibeserve_tui.recipes.situation import Situation
from vibeserve_tui.recipes.tree import write_changes
from vibeserve_tui.resources import Shipped, shipped_folder, shipped_targets

SKILLS = shipped_folder(Shipped.SKILLS)
SEED = shipped_targets()["tiny-llama-chat"] / "seed"


@pytest.fixture(scope="module")
def book() -> RecipeBook:
    return RecipeBook(load_recipe(path) for path in sorted(SKILLS.glob("*/recipe.toml")))


def test_the_shipped_library_has_no_faults() -> None:
    assert lint(SkillLibrary.load([SKILLS]), SEED) == []


@pytest.mark.parametrize("walk", range(8))
def test_recipes_go_onto_the_seed_in_any_order_that_their_capabilities_allow(
    book: RecipeBook, tmp_path: Path, walk: int
) -> None:
    rng, provided, done = Random(walk), SEED_CAPABILITIES, list[str]()
    tree = shutil.copytree(SEED, tmp_path / "tree", ignore=shutil.ignore_patterns("__pycache__"))
    while possible := [r for r in book.values() if r.id not in done and not why_not_on(r, provided)]:
        recipe = rng.choice(possible)
        result = edit(recipe, {}, tree, SPECIMEN)
        assert isinstance(result, Applied), f"{recipe.id} after {done}: {explain(result)}"
        write_changes(tree, result.changes)
        provided = recipe.after(provided)
        done.append(recipe.id)
        assert edit(recipe, {}, tree, SPECIMEN) == replace(result, changes=(), diff="", merged=(), checks=())


def test_a_library_keeps_a_real_search(book: RecipeBook) -> None:
    conflicts = {
        frozenset((a.id, b.id)) for a in book.values() for b in book.values() if a.clashes_with(b) and a is not b
    }
    tunable = [name for recipe in book.values() for name in recipe.spec.params]
    builds_on = [recipe for recipe in book.values() if recipe.needs - SEED_CAPABILITIES]
    assert len([r for r in book.values() if r.spec.prior.log_gain <= 0.02]) >= 3
    assert len(conflicts) >= 2
    assert len(builds_on) >= 3
    assert len(tunable) >= 6


def test_the_first_plan_for_the_default_target_leads_to_the_large_gains(book: RecipeBook) -> None:
    device = DeviceFacts(capabilities=frozenset({"avx2", "avx512f"}))
    plan = decide(book, Situation(replace(SPECIMEN, device=device)))
    assert isinstance(plan, Plan)
    assert plan.recipe == "kv-cache-preallocate"
    assert {row.what: row.value for row in plan.why}["makes possible"] == "native-cpu-kernel"
