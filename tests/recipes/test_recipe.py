from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.recipes.landscape import spec_of
from tests.recipes.workshop import make_recipe, recipe_text, replace_kv
from vibeserve_tui.errors import SkillError
from vibeserve_tui.metrics import Direction, Role
from vibeserve_tui.recipes.facts import METRIC_NAMES
from vibeserve_tui.recipes.recipe import RecipeBook, load_recipe
from vibeserve_tui.recipes.recipe_spec import Guard

TEXT = recipe_text(
    "kv",
    apply=replace_kv(more="when = \"params.mode == 'fast'\""),
    capabilities='needs = ["engine.loop"], provides = ["engine.kv.static"]',
    head="[[evidence]]\nexpr = \"share('kv_concat') > 0.05\"\nbound = \"share('kv_concat')\"",
    tail="""
[params]
threads = { type = "int", range = [1, "hw.cores"], default = 1, log = true }
mode = { type = "enum", choices = ["fast", "safe"], default = "fast" }
[verify]
static = ["py_compile", "import server.engine"]
activation = "counter('steps') > 0"
[effects]
guards = ["peak_rss_mib <= 1.5 * champion"]
""",
)


def test_a_recipe_is_read_with_its_expressions_and_guards(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path / "kv", TEXT, {"kv.py": "x\n"})
    assert recipe.needs == {"engine.loop"}
    assert str(recipe.spec.evidence[0].expr) == "share('kv_concat') > 0.05"
    (guard,) = recipe.spec.effects.guards
    assert (guard.metric, guard.sign, guard.factor) == ("peak_rss_mib", "<=", 1.5)
    assert recipe.asset("assets/kv.py") == "x\n"


def test_a_guard_is_held_at_the_level_of_the_headline_or_over_the_whole_process() -> None:
    memory = Guard.parse("peak_rss_mib <= 1.5 * champion").spec("c16")
    assert (memory.key, memory.direction, memory.role) == ("peak_rss_mib", Direction.MIN, Role.GUARD)
    assert memory.tolerated == pytest.approx(math.log(1.5))
    speed = Guard.parse("request_throughput >= 0.8 * champion").spec("c16")
    assert (speed.key, speed.direction) == ("request_throughput@c16", Direction.MAX)
    assert speed.tolerated == pytest.approx(math.log(1 / 0.8))


@pytest.mark.parametrize("metric", sorted(METRIC_NAMES))
def test_each_metric_that_a_recipe_may_name_can_be_guarded(metric: str) -> None:
    better = ">=" if "throughput" in metric or "goodput" in metric else "<="
    assert Guard.parse(f"{metric} {better} 1.0 * champion").spec("c1").tolerated == 0


@pytest.mark.parametrize(
    ("old", "new", "where", "says"),
    [
        ('layer = "kv"', 'layer = "kvv"', "layer", "did you mean 'kv'"),
        ("provides =", "provide =", "capabilities.provide", "did you mean 'provides'"),
        ("hw.cores", "hw.cors", "params.threads.range[1]", "did you mean 'cores'"),
        ('"replace_region"', '"replace_regio"', "apply[0].op", "did you mean 'replace_region'"),
        ("peak_rss_mib <=", "peak_rs_mib <=", "effects.guards[0]", "did you mean 'peak_rss_mib'"),
        ("1.5 * champion", "1.5 * baseline", "effects.guards[0]", "is not a guard"),
        ("peak_rss_mib <=", "peak_rss_mib >=", "effects.guards[0]", "less of peak_rss_mib is better"),
        ("1.5 * champion", "0.9 * champion", "effects.guards[0]", "asks for a gain"),
        ("params.mode", "params.mod", "apply[0]", "did you mean 'mode'"),
        ('default = "fast"', 'default = "fats"', "params.mode.default", "did you mean 'fast'"),
        ("sha256:", "md5:", "apply[0].expects", "should match"),
        ("server/engine.py", "../engine.py", "apply[0].target.file", "inside the folder"),
        ("server/engine.py", ".git/hooks/x", "apply[0].target.file", "kept by the engine"),
        ("server/engine.py", ".vibeserve/capabilities.json", "apply[0].target.file", "kept by the engine"),
        ("assets/kv.py", "/etc/passwd", "apply[0].asset", "inside the folder"),
        ("assets/kv.py", "assets/other.py", "apply[0].asset", "there is no file"),
        ("share('kv_concat') > 0.05", "params.threads > 1", "evidence[0]", "not known yet"),
        ("share('kv_concat') > 0.05", "counter('x') > 1", "evidence[0]", "not known yet"),
        ('["engine.loop"]', '["engine.kv.static"]', "capabilities", "under provides and needs"),
        ("import server.engine", "import os; x", "verify.static[1]", "should match"),
        ("range = [1, ", "choices = [1], range = [1, ", "params.threads", "either range or choices"),
        ('id = "kv"', 'id = "vk"', "id", "not the name of its folder"),
        ("sd = 0.1", "sd = 0", "prior.sd", "greater than 0"),
        ("schema = 1", "schema = 2", "schema", "not known here"),
        ('expr = "share', 'expr = "shar', "evidence[0].expr", "did you mean 'share'"),
    ],
)
def test_a_fault_is_named_with_file_and_field(tmp_path: Path, old: str, new: str, where: str, says: str) -> None:
    assert old in TEXT
    with pytest.raises(SkillError) as caught:
        make_recipe(tmp_path / "kv", TEXT.replace(old, new, 1), {"kv.py": "x\n"})
    assert f"recipe.toml: {where}" in caught.value.where
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["", "schema = ", "schema = [[[[", "\x00", "a = 2020-01-01"])
def test_a_file_that_is_no_recipe_is_a_skill_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(SkillError):
        load_recipe(tmp_path / "recipe.toml")


def book(**relations: dict[str, list[str]]) -> RecipeBook:
    return RecipeBook(spec_of(name, capabilities=capabilities) for name, capabilities in relations.items())


def order(found: RecipeBook) -> list[str]:
    return [recipe.id for recipe in found.in_order(found)]


def test_recipes_come_after_what_they_need() -> None:
    assert order(book(a={"needs": ["x.b"]}, b={"provides": ["x.b"], "needs": ["x.c"]}, c={"provides": ["x.c"]})) == [
        "c", "b", "a",
    ]  # fmt: skip


def test_recipes_come_before_those_that_take_away_what_they_need() -> None:
    assert order(book(a={"supersedes": ["x.s"]}, b={"needs": ["x.s"]})) == ["b", "a"]


def test_what_is_superseded_is_there_first() -> None:
    assert order(book(a={"supersedes": ["x.s"]}, b={"provides": ["x.s"]})) == ["b", "a"]


def test_needs_in_a_circle_are_refused() -> None:
    circle = book(a={"provides": ["x.a"], "needs": ["x.b"]}, b={"provides": ["x.b"], "needs": ["x.a"]})
    with pytest.raises(SkillError, match="need each other: a, b"):
        circle.in_order(circle)


def test_a_recipe_that_adapts_to_another_comes_after_it_even_if_they_adapt_to_each_other() -> None:
    def adapting(name: str, to: str) -> object:
        op = {"op": "delete_file", "target": {"file": "x.py"}, "when": f"provides('x.{to}')"}
        return spec_of(name, capabilities={"provides": [f"x.{name}"]}, apply=[op])

    one_way = RecipeBook([adapting("a", "b"), spec_of("b", capabilities={"provides": ["x.b"]})])  # type: ignore[list-item]
    assert order(one_way) == ["b", "a"]
    both_ways = RecipeBook([adapting("a", "b"), adapting("b", "a")])  # type: ignore[list-item]
    assert order(both_ways) == ["a", "b"]


def test_a_conflict_holds_both_ways_whoever_declares_it() -> None:
    found = book(
        a={"provides": ["x.a", "x.common"], "conflicts": ["x.b"]},
        b={"provides": ["x.b"]},
        c={"provides": ["x.common"]},
    )
    assert found["b"].conflicts == {"x.a"}
    assert found["c"].conflicts == frozenset()


def test_what_a_recipe_supersedes_does_not_keep_it_out() -> None:
    found = book(a={"provides": ["x.a"], "supersedes": ["x.b"]}, b={"provides": ["x.b"], "conflicts": ["x.a"]})
    assert found["a"].conflicts == frozenset()
