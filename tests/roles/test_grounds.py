"""What agents refer to: fragments of backends, evidence by id, plans that fit their run, lines of a diff."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.fakes import measured, open_run
from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import Role
from vibeserve_tui.agents.replies import JudgeReport, PerfReport, RoundPlan, checked
from vibeserve_tui.backend import Backend, discover, load_backend
from vibeserve_tui.errors import BackendError
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.recipes.lint import SPECIMEN
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Situation
from vibeserve_tui.resources import Shipped, shipped_folder
from vibeserve_tui.roles.diff_lines import changed_lines, shows
from vibeserve_tui.roles.evidence import evidence_of
from vibeserve_tui.roles.fragments import FOR_ROLE, NOT_HERE, TITLES, fragments_of
from vibeserve_tui.roles.plan_check import Grounds
from vibeserve_tui.state.run import Run

LIBRARY = SkillLibrary.load([shipped_folder(Shipped.SKILLS)])
CLAIM = {"claim": "faster", "falsifier": "below ×1.02", "expected_low": 1.0, "expected_high": 1.5}
TASK = {
    "action": "task", "title": "Batch", "task": "batch the requests", "family": "schedule", "hypothesis": CLAIM,
    "pass_criteria": ["answers stay"],
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = open_run(tmp_path)
    task = ev.TaskPlan(title="own loop", skill="kv-cache-preallocate", family="kv")
    record = ev.RoundRecord(
        number=1, task=task, outcome="kept", reason="", commit=run.state.champion_commit, measured=measured(ratio=1.5)
    )
    profile = ev.ProfileTaken(
        round=1,
        tool="py-spy",
        quality="usable",
        phases={"model": 0.7},
        operations={"step (engine.py)": 0.31},
        hints=("x_bound",),
    )
    run.emit(ev.RoundFinished(record=record), ev.ChampionMoved(round=1, commit=run.state.champion_commit), profile)
    return run


# ---- fragments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [found.name for found in discover().values() if found.backend])
def test_every_installed_backend_tells_agents_all_that_they_need(name: str) -> None:
    found = fragments_of(load_backend(name))
    assert found.keys() == TITLES.keys()
    assert all(len(text) > 80 for text in found.values())
    assert NOT_HERE in found["pitfalls"]


def test_every_role_gets_fragments_that_exist() -> None:
    assert set(FOR_ROLE) == set(Role)
    assert {name for names in FOR_ROLE.values() for name in names} == TITLES.keys()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("floor.md", None, "brings no prompt fragment floor.md"),
        ("floor.md", " \n", "brings no prompt fragment floor.md"),
        ("pitfalls.md", "- beware\n", "does not say what does not apply"),
        ("pitfalls.md", f"- beware\n{NOT_HERE}\n\n", "does not say what does not apply"),
    ],
)
def test_an_incomplete_backend_is_refused(tmp_path: Path, name: str, text: str | None, says: str) -> None:
    source = Path(sys.modules[type(load_backend("cpu")).__module__].__file__ or "").with_name("prompts")
    (tmp_path / "prompts").mkdir()
    for path in source.glob("*.md"):
        (tmp_path / "prompts" / path.name).write_text(path.read_text())
    if text is None:
        (tmp_path / "prompts" / name).unlink()
    else:
        (tmp_path / "prompts" / name).write_text(text)
    with pytest.raises(BackendError, match=says):
        fragments_of(_backend_in(tmp_path))


def _backend_in(folder: Path) -> Backend:
    module = types.ModuleType("a_plugin")
    module.__file__ = str(folder / "plugin.py")
    sys.modules["a_plugin"] = module
    copy = type("Copy", (type(load_backend("cpu")),), {"__module__": "a_plugin"})
    plugin: Backend = copy()
    return plugin


# ---- evidence -----------------------------------------------------------------------------------------------------


def test_measured_facts_have_ids_and_fill_in_a_text(run: Run) -> None:
    evidence = evidence_of(run.state)
    said = evidence.filled("At m:output_throughput@c16, model takes p:model. It was r:1, not m:made_up@c1.")
    assert said == (
        "At 150.0 tok/s (m:output_throughput@c16), model takes 70% (p:model). It was ×1.500 [1.455, 1.545] (r:1), "
        "not not measured (m:made_up@c1)."
    )
    assert evidence.unknown(["b:output_throughput@c16", "o:1", "h:x_bound", "p:http"]) == ["p:http"]


def test_a_ratio_or_a_time_of_day_is_no_id(run: Run) -> None:
    assert evidence_of(run.state).filled("at 10:30 in a/b:c, http://x") == "at 10:30 in a/b:c, http://x"


# ---- plans --------------------------------------------------------------------------------------------------------


def grounds(run: Run, *, writes: bool = True) -> Grounds:
    offers = LIBRARY.for_backend({"cpu"}, "text_generation", ("avx2",))
    return Grounds(run.state, RecipeBook.load(LIBRARY), Situation(SPECIMEN), offers, evidence_of(run.state), writes)


def test_a_plan_that_fits_is_taken(run: Run) -> None:
    schema = checked(RoundPlan, grounds(run).faults)
    plan = schema.model_validate(
        TASK | {"skills": ["http-path"], "base": 0, "hypothesis": CLAIM | {"evidence": ["p:model"]}}
    )
    assert isinstance(plan, RoundPlan)
    assert schema.__name__ == "RoundPlan"
    assert schema.model_json_schema()["properties"].keys() == RoundPlan.model_json_schema()["properties"].keys()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"skills": ["htp-path"]}, "skill 'htp-path' is not offered here; did you mean 'http-path'"),
        ({"issue_id": "I-7"}, "there is no issue 'I-7'"),
        ({"base": 5}, "round 5 is no base"),
        ({"hypothesis": CLAIM | {"evidence": ["m:nothing"]}}, "there is no evidence m:nothing"),
        ({"hypothesis": CLAIM | {"metric": "happiness"}}, "'happiness' is not measured here"),
        ({"recipe": {"id": "http-pat"}}, "there is no recipe 'http-pat'; did you mean 'http-path'"),
        ({"recipe": {"id": "continuous-batching"}}, "recipe continuous-batching needs engine.runner"),
        ({"recipe": {"id": "tokenizer-cache-and-parallel", "params": {"x": 1}}}, "no such parameter"),
        ({"title": ""}, "a task needs title"),
        ({"task": ""}, "a task needs words"),
        ({"pass_criteria": []}, "a task needs pass_criteria"),
        ({"output_throughput": 12.0}, "Extra inputs are not permitted"),
        ({"hypothesis": CLAIM | {"expected_low": 2.0}}, "expected_low is above expected_high"),
        ({"hypothesis": CLAIM | {"minimum_effect": 3.0}}, "expects less than its own minimum_effect"),
        ({"hypothesis": CLAIM | {"activation": "counter('x') > 0"}}, "String should match pattern"),
        ({"action": "stop"}, "stop needs a stop_reason"),
        ({"title": "x" * 400}, "at most 300 characters"),
    ],
    ids=str,
)
def test_a_plan_that_names_what_does_not_exist_hears_so(run: Run, changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says.replace("(", r"\(").replace(")", r"\)")):
        checked(RoundPlan, grounds(run).faults).model_validate(TASK | changes)


def test_where_nobody_writes_code_a_plan_names_a_recipe(run: Run) -> None:
    with pytest.raises(ValidationError, match="nobody in this run writes code"):
        checked(RoundPlan, grounds(run, writes=False).faults).model_validate(TASK)


def test_a_plateau_demands_another_part_of_the_server(run: Run) -> None:
    for number in (2, 3, 4):
        task = ev.TaskPlan(title=f"t{number}", family="schedule")
        run.emit(ev.RoundFinished(record=ev.RoundRecord(number=number, task=task, outcome="reverted", reason="")))
    with pytest.raises(ValidationError, match="plan for another part"):
        checked(RoundPlan, grounds(run).faults).model_validate(TASK)
    checked(RoundPlan, grounds(run).faults).model_validate(TASK | {"family": "http"})


def test_no_reply_has_room_for_a_measured_value() -> None:
    for reply in (RoundPlan, PerfReport, JudgeReport):
        names = set(reply.model_json_schema()["properties"])
        assert not names & {"perf_metric", "value", "measured", "throughput", "latency", "metrics"}


# ---- diffs --------------------------------------------------------------------------------------------------------

DIFF = """\
diff --git a/server/engine.py b/server/engine.py
index 1..2 100644
--- a/server/engine.py
+++ b/server/engine.py
@@ -10,3 +10,4 @@ def step(self):
 context
--- a line that looks like a header
+++ b/another.py
+new
 context
@@ -30 +31,2 @@
-old
+one
+two
diff --git a/old.py b/old.py
deleted file mode 100644
--- a/old.py
+++ /dev/null
@@ -1,2 +0,0 @@
-a
-b
diff --git a/from.py b/to.py
similarity index 100%
rename from from.py
rename to to.py
"""


def test_a_diffs_files_and_lines_are_those_of_the_new_tree() -> None:
    lines = changed_lines(DIFF)
    assert lines["server/engine.py"] == [range(10, 14), range(31, 33)]
    assert not any(lines["old.py"])
    assert "to.py" in lines and "another.py" not in lines


@pytest.mark.parametrize(
    ("path", "place", "there"),
    [
        ("server/engine.py", (12, 12), True),
        ("b/server/engine.py", (1, 10), True),
        ("server/engine.py", (20, 25), False),
        ("server/engine.py", (33, 33), False),
        ("old.py", (1, 2), False),
        ("another.py", (1, 1), False),
    ],
)
def test_a_finding_has_its_place_in_the_diff_or_not(path: str, place: tuple[int, int], there: bool) -> None:
    assert shows(changed_lines(DIFF), path, place) is there
