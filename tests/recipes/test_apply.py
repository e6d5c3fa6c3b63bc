from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.recipes.workshop import (
    FACTS,
    KV,
    STEP,
    contents,
    make_recipe,
    make_seed,
    recipe_text,
    replace_kv,
    replace_step,
)
from vibeserve_tui.recipes.apply import Applied, Conflict, Failed, NotApplicable, apply, edit
from vibeserve_tui.recipes.recipe import Recipe
from vibeserve_tui.recipes.tree import Tree
from vibeserve_tui.recipes.tree_record import RECORD_PATH, read_record

STATIC_KV = '    def cache(self):\n        return "static"\n'


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make_seed(tmp_path / "workspace")


@pytest.fixture
def skills(tmp_path: Path) -> Path:
    return tmp_path / "skills"


@pytest.fixture
def static_kv(skills: Path) -> Recipe:
    capabilities = 'needs = ["engine.loop"], provides = ["engine.kv.static"], supersedes = ["engine.kv.dynamic"]'
    text = recipe_text(
        "static-kv", apply=replace_kv(more='base = "assets/kv.base.py"'), capabilities=capabilities,
        tail='[verify]\nstatic = ["py_compile", "import server.engine"]',
    )  # fmt: skip
    return make_recipe(skills / "static-kv", text, {"kv.py": STATIC_KV, "kv.base.py": KV})


def test_a_region_is_replaced_and_the_rest_of_the_file_stays(workspace: Path, static_kv: Recipe) -> None:
    before = contents(workspace)["server/engine.py"]
    result = apply(static_kv, {}, workspace, FACTS)
    assert isinstance(result, Applied)
    assert contents(workspace)["server/engine.py"] == before.replace(KV, STATIC_KV)
    assert '-        return "dynamic"\n' in result.diff
    assert '+        return "static"\n' in result.diff
    assert result.capabilities == {"engine.loop", "engine.kv.static", "http.sse"}
    assert [check.argv for check in result.checks] == [("{python}", "-c", "import server.engine")]


def test_the_tree_records_what_it_provides_and_how_it_came_about(workspace: Path, static_kv: Recipe) -> None:
    apply(static_kv, {}, workspace, FACTS)
    record = read_record(Tree(workspace))
    assert record.capabilities == ("engine.kv.static", "engine.loop", "http.sse")
    (entry,) = record.applied
    assert (entry.recipe, entry.version, list(entry.parts)) == ("static-kv", "1.0", ["server/engine.py#kv"])


def test_applying_twice_changes_nothing_the_second_time(workspace: Path, static_kv: Recipe) -> None:
    apply(static_kv, {}, workspace, FACTS)
    once = contents(workspace)
    again = apply(static_kv, {}, workspace, FACTS)
    assert isinstance(again, Applied)
    assert again.changes == ()
    assert contents(workspace) == once


def test_edit_computes_the_diff_and_writes_nothing(workspace: Path, static_kv: Recipe) -> None:
    before = contents(workspace)
    assert isinstance(edit(static_kv, {}, workspace, FACTS), Applied)
    assert contents(workspace) == before


def test_a_change_elsewhere_in_the_region_is_merged_and_marked(workspace: Path, skills: Path) -> None:
    theirs = STEP.replace("first = 1", "first = 10")
    recipe = make_recipe(
        skills / "step", recipe_text("step", apply=replace_step(more='base = "assets/base.py"')),
        {"step.py": theirs, "base.py": STEP},
    )  # fmt: skip
    engine = workspace / "server/engine.py"
    engine.write_text(engine.read_text().replace("third = 3", "third = 30"))
    result = apply(recipe, {}, workspace, FACTS)
    assert isinstance(result, Applied)
    assert result.merged == ("server/engine.py#schedule.step",)
    assert "first = 10" in engine.read_text()
    assert "third = 30" in engine.read_text()


def test_a_change_of_the_same_lines_is_a_conflict_with_three_texts_and_no_edit(
    workspace: Path, static_kv: Recipe
) -> None:
    engine = workspace / "server/engine.py"
    engine.write_text(engine.read_text().replace('"dynamic"', '"mine"'))
    before = contents(workspace)
    result = apply(static_kv, {}, workspace, FACTS)
    assert isinstance(result, Conflict)
    (part,) = result.parts
    assert part.part == "server/engine.py#kv"
    assert (part.base, part.theirs) == (KV, STATIC_KV)
    assert '"mine"' in part.ours
    assert contents(workspace) == before


def test_without_a_copy_of_the_expected_text_a_changed_region_is_a_conflict(workspace: Path, skills: Path) -> None:
    recipe = make_recipe(skills / "kv", recipe_text("kv", apply=replace_kv(expects="else")), {"kv.py": STATIC_KV})
    result = apply(recipe, {}, workspace, FACTS)
    assert isinstance(result, Conflict)
    assert result.parts[0].base == ""


PARAMS = """
[params]
window = { type = "int", choices = [2, 4, 8], default = 4 }
"""


def test_other_parameters_replace_the_recipes_own_text(workspace: Path, skills: Path) -> None:
    recipe = make_recipe(
        skills / "window", recipe_text("window", apply=replace_kv("kv.py.j2"), tail=PARAMS),
        {"kv.py.j2": "    WINDOW = {{ params.window }}\n"},
    )  # fmt: skip
    apply(recipe, {}, workspace, FACTS)
    assert "WINDOW = 4" in contents(workspace)["server/engine.py"]
    assert isinstance(apply(recipe, {"window": 8}, workspace, FACTS), Applied)
    assert "WINDOW = 8" in contents(workspace)["server/engine.py"]
    (entry,) = read_record(Tree(workspace)).applied
    assert entry.params == {"window": 8}


def test_other_parameters_merge_with_an_edit_made_since(workspace: Path, skills: Path) -> None:
    asset = "    WINDOW = {{ params.window }}\n    A = 1\n    B = 2\n    C = 3\n"
    text = recipe_text("window", apply=replace_kv("kv.py.j2"), tail=PARAMS)
    recipe = make_recipe(skills / "window", text, {"kv.py.j2": asset})
    apply(recipe, {}, workspace, FACTS)
    engine = workspace / "server/engine.py"
    engine.write_text(engine.read_text().replace("C = 3", "C = 33"))
    result = apply(recipe, {"window": 8}, workspace, FACTS)
    assert isinstance(result, Applied)
    assert result.merged
    assert "WINDOW = 8" in engine.read_text()
    assert "C = 33" in engine.read_text()


def test_new_parameters_do_not_bring_back_what_a_later_recipe_superseded(workspace: Path, skills: Path) -> None:
    base = make_recipe(
        skills / "base",
        recipe_text("base", apply=SET_THREADS, capabilities='provides = ["engine.kv.static"]', tail=THREADS), {},
    )  # fmt: skip
    above = make_recipe(
        skills / "above",
        recipe_text("above", apply=replace_kv(), capabilities='supersedes = ["engine.kv.static"]'), {"kv.py": STATIC_KV},
    )  # fmt: skip
    apply(base, {}, workspace, FACTS)
    apply(above, {}, workspace, FACTS)
    result = apply(base, {"threads": 3}, workspace, FACTS)
    assert isinstance(result, Applied)
    assert "engine.kv.static" not in result.capabilities


def test_applied_again_a_recipe_sees_the_tree_as_it_was_below_it(workspace: Path, skills: Path) -> None:
    alone = SET_THREADS + "when = \"not provides('x.z') and not provides('x.y')\"\n"
    capabilities = 'provides = ["x.y"], supersedes = ["x.z"]'
    text = recipe_text("base", apply=alone, capabilities=capabilities, tail=THREADS)
    recipe = make_recipe(skills / "base", text, {})
    apply(recipe, {}, workspace, FACTS)
    apply(recipe, {"threads": 3}, workspace, FACTS)
    assert json.loads((workspace / "server/config.json").read_text())["threads"] == 3


SET_THREADS = """
[[apply]]
op = "set_config"
target = { file = "server/config.json", key = "threads" }
value = "params.threads"
"""
THREADS = """
[params]
threads = { type = "int", range = [1, "hw.cores"], default = 2 }
"""


def test_a_config_key_is_set_and_the_others_keep_their_order(workspace: Path, skills: Path) -> None:
    recipe = make_recipe(skills / "threads", recipe_text("threads", apply=SET_THREADS, tail=THREADS), {})
    apply(recipe, {"threads": 3}, workspace, FACTS)
    config = json.loads((workspace / "server/config.json").read_text())
    assert list(config.items()) == [("threads", 3), ("ratio", 0.5), ("mode", "plain")]


def set_key(key: str, value: str) -> str:
    return f'[[apply]]\nop = "set_config"\ntarget = {{ file = "server/config.json", key = "{key}" }}\nvalue = {value}\n'


@pytest.mark.parametrize(
    ("key", "value", "fits"),
    [("ratio", "1", True), ("ratio", "0.25", True), ("threads", "1.5", False), ("threads", "true", False),
     ("mode", "\"'fast'\"", True), ("mode", "3", False), ("fresh", "true", True)],
)  # fmt: skip
def test_an_existing_key_keeps_its_type(workspace: Path, skills: Path, key: str, value: str, fits: bool) -> None:
    recipe = make_recipe(skills / "key", recipe_text("key", apply=set_key(key, value)), {})
    result = apply(recipe, {}, workspace, FACTS)
    assert isinstance(result, Applied if fits else Failed)
    assert (key in json.loads((workspace / "server/config.json").read_text())) is (fits or key != "fresh")


def test_files_are_added_and_deleted(workspace: Path, skills: Path) -> None:
    text = """
[[apply]]
op = "add_file"
target = { file = "server/native/kernel.cpp" }
asset = "assets/kernel.cpp"
[[apply]]
op = "delete_file"
target = { file = "server/old.py" }
"""
    recipe = make_recipe(skills / "native", recipe_text("native", apply=text), {"kernel.cpp": "int x[2] = {{1, 2}};\n"})
    result = apply(recipe, {}, workspace, FACTS)
    assert isinstance(result, Applied)
    files = contents(workspace)
    assert files["server/native/kernel.cpp"] == "int x[2] = {{1, 2}};\n"
    assert "server/old.py" not in files
    assert "+++ /dev/null" in result.diff


def test_a_file_that_somebody_else_wrote_is_not_overwritten(workspace: Path, skills: Path) -> None:
    text = '[[apply]]\nop = "add_file"\ntarget = { file = "server/old.py" }\nasset = "assets/new.py"\n'
    recipe = make_recipe(skills / "new", recipe_text("new", apply=text), {"new.py": "y = 2\n"})
    assert isinstance(apply(recipe, {}, workspace, FACTS), Conflict)
    assert contents(workspace)["server/old.py"] == "x = 1\n"


def test_an_operation_adapts_to_what_the_tree_provides(workspace: Path, skills: Path) -> None:
    def variant(asset: str, when: str) -> str:
        return replace_kv(asset, more=f'when = "{when}"')

    text = recipe_text(
        "drafts",
        apply=variant("a.py", "provides('engine.batching')") + variant("b.py", "not provides('engine.batching')"),
    )
    recipe = make_recipe(skills / "drafts", text, {"a.py": "    BATCHED = True\n", "b.py": "    BATCHED = False\n"})
    assert recipe.prefers_after == {"engine.batching"}
    apply(recipe, {}, workspace, FACTS)
    assert "BATCHED = False" in contents(workspace)["server/engine.py"]


@pytest.mark.parametrize(
    ("capabilities", "reason"),
    [('needs = ["engine.runner"]', "needs engine.runner"), ('conflicts = ["http.sse"]', "conflicts with http.sse")],
)
def test_needs_and_conflicts_are_asked_of_the_tree(
    workspace: Path, skills: Path, capabilities: str, reason: str
) -> None:
    recipe = make_recipe(
        skills / "r", recipe_text("r", apply=replace_kv(), capabilities=capabilities), {"kv.py": STATIC_KV}
    )
    assert apply(recipe, {}, workspace, FACTS) == NotApplicable(reason)


@pytest.mark.parametrize(
    ("requires", "reason"),
    [
        ("backends = ['cuda']", "is for cuda, not cpu"),
        ("backends = ['cpu']\ntools = ['fortran']", "needs a working fortran"),
        ("backends = ['cpu']\ndevice = \"has('neon')\"", "does not hold here: has('neon')"),
        ("backends = ['cpu']\nmodel = \"model.attention == 'full'\"", "unknown (model.attention)"),
    ],
)
def test_a_recipe_that_does_not_fit_the_machine_says_why(
    workspace: Path, skills: Path, requires: str, reason: str
) -> None:
    text = recipe_text("r", apply=replace_kv()).replace('backends = ["cpu"]', requires)
    result = apply(make_recipe(skills / "r", text, {"kv.py": STATIC_KV}), {}, workspace, FACTS)
    assert isinstance(result, NotApplicable)
    assert reason in result.reason


def test_a_file_that_does_not_compile_fails_before_anything_is_written(workspace: Path, skills: Path) -> None:
    recipe = make_recipe(skills / "r", recipe_text("r", apply=replace_kv()), {"kv.py": "    def cache(self:\n"})
    before = contents(workspace)
    result = apply(recipe, {}, workspace, FACTS)
    assert isinstance(result, Failed)
    assert (result.step, result.output[:20]) == ("py_compile", "server/engine.py:5: ")
    assert contents(workspace) == before


def test_protected_files_are_refused(workspace: Path, static_kv: Recipe) -> None:
    result = apply(static_kv, {}, workspace, FACTS, protected=["server/eng*"])
    assert isinstance(result, Failed)
    assert "protected" in result.output


@pytest.mark.parametrize("params", [{"windw": 4}, {"window": 5}, {"window": True}, {"window": 4.0}])
def test_illegal_parameters_are_refused(workspace: Path, skills: Path, params: dict[str, float]) -> None:
    text = recipe_text("r", apply=replace_kv(), tail=PARAMS)
    result = apply(make_recipe(skills / "r", text, {"kv.py": STATIC_KV}), params, workspace, FACTS)
    assert isinstance(result, Failed)


def _link_the_file(workspace: Path, outside: Path) -> None:
    (workspace / "server/engine.py").unlink()
    (workspace / "server/engine.py").symlink_to(outside / "engine.py")


def _link_the_folder(workspace: Path, outside: Path) -> None:
    (workspace / "server").rename(workspace / "elsewhere")
    (workspace / "server").symlink_to(outside)


def _put_a_pipe_there(workspace: Path, _: Path) -> None:
    (workspace / "server/engine.py").unlink()
    os.mkfifo(workspace / "server/engine.py")


@pytest.mark.parametrize("trap", [_link_the_file, _link_the_folder, _put_a_pipe_there])
def test_links_and_pipes_in_the_workspace_are_not_followed(
    tmp_path: Path, workspace: Path, static_kv: Recipe, trap: Callable[[Path, Path], None]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "engine.py").write_text((workspace / "server/engine.py").read_text())
    trap(workspace, outside)
    before = (outside / "engine.py").read_text()
    assert isinstance(apply(static_kv, {}, workspace, FACTS), Failed)
    assert (outside / "engine.py").read_text() == before


def test_when_one_file_cannot_be_written_the_others_are_put_back(workspace: Path, skills: Path) -> None:
    added = '[[apply]]\nop = "add_file"\ntarget = { file = "server/z/new.py" }\nasset = "assets/new.py"\n'
    recipe = make_recipe(
        skills / "r", recipe_text("r", apply=replace_kv() + added), {"kv.py": STATIC_KV, "new.py": "y = 2\n"}
    )
    (workspace / "server/z").mkdir()
    (workspace / "server/z/.new.py.new").mkdir()  # where the new text would be written first
    before = contents(workspace)
    result = apply(recipe, {}, workspace, FACTS)
    assert isinstance(result, Failed)
    assert result.step == "write"
    assert contents(workspace) == before


@pytest.mark.parametrize("text", ["{", '{"schema": 2}', '{"schema": 1, "extra": 1}', "\x00"])
def test_a_damaged_record_stops_the_recipe(workspace: Path, static_kv: Recipe, text: str) -> None:
    (workspace / RECORD_PATH).parent.mkdir()
    (workspace / RECORD_PATH).write_text(text)
    result = apply(static_kv, {}, workspace, FACTS)
    assert isinstance(result, Failed)
    assert "is damaged" in result.output


@pytest.mark.parametrize(
    ("asset", "says"),
    [
        ("    A = {{ params.absent }}\n", "absent"),
        ("    A = {{ model.layers }}\n", "layers"),
        ("    A = {{ ''.__class__.__mro__ }}\n", "cannot be rendered"),
        ("{% set a = 1 %}", "is not used in assets"),
        ("{% include 'x' %}", "is not used in assets"),
        ("    A = {{ 9 ** 9 ** 9 }}\n", "is not used in assets"),
        ("{% for i in range(3) %}x{% endfor %}", "cannot be rendered"),
        ("{% if %}", "cannot be rendered"),
        ("    A = {{ has('avx2') and provides('engine.runner', 1) }}\n", "cannot be rendered"),
    ],
)
def test_an_asset_that_reads_what_is_not_known_is_an_error_not_an_empty_text(
    workspace: Path, skills: Path, asset: str, says: str
) -> None:
    recipe = make_recipe(skills / "r", recipe_text("r", apply=replace_kv("kv.py.j2")), {"kv.py.j2": asset})
    result = apply(recipe, {}, workspace, FACTS)
    assert isinstance(result, Failed)
    assert says in result.output


def test_an_asset_may_ask_about_the_machine_and_the_tree(workspace: Path, skills: Path) -> None:
    asset = (
        "{% if has('avx2') and not provides('engine.runner') %}\n    CORES = {{ hw.cores }}\n{% endif %}\n"
        '    BACKEND = "{{ backend }}"\n'
    )
    recipe = make_recipe(skills / "r", recipe_text("r", apply=replace_kv("kv.py.j2")), {"kv.py.j2": asset})
    assert isinstance(apply(recipe, {}, workspace, FACTS), Applied)
    assert '    CORES = 4\n    BACKEND = "cpu"\n' in contents(workspace)["server/engine.py"]


def test_an_unknown_fact_behind_a_condition_makes_the_recipe_inapplicable(workspace: Path, skills: Path) -> None:
    apply_ = replace_kv(more="when = \"has('avx2')\"")
    recipe = make_recipe(skills / "r", recipe_text("r", apply=apply_), {"kv.py": STATIC_KV})
    result = apply(recipe, {}, workspace, replace(FACTS, device=replace(FACTS.device, capabilities=None)))
    assert isinstance(result, NotApplicable)
    assert "has('avx2')" in result.reason


@pytest.mark.parametrize(
    "markers",
    [
        "# region: kv\n# region: kv\n# endregion: kv\n",
        "# region: kv\n",
        "# endregion: kv\n",
        "# region: kv\n# endregion: other\n",
        "# region: kv\n# endregion: kv\n# region: kv\n# endregion: kv\n",
        "no marker at all\n",
    ],
)
def test_broken_markers_stop_the_recipe(workspace: Path, static_kv: Recipe, markers: str) -> None:
    (workspace / "server/engine.py").write_text(markers)
    assert isinstance(apply(static_kv, {}, workspace, FACTS), Failed)
    assert (workspace / "server/engine.py").read_text() == markers
