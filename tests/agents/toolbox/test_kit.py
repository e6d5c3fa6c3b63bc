"""Who gets which tools, and what the reading ones say about a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.agents.toolbox.bench import call, refusal
from tests.fakes import measured, open_run
from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import Role, Tool, ToolError
from vibeserve_tui.agents.toolbox.kit import Kit, tools_for
from vibeserve_tui.agents.toolbox.places import Places
from vibeserve_tui.agents.toolbox.recipes import RecipeDesk, apply_tool, list_tool
from vibeserve_tui.agents.toolbox.skills import Shelf, skill_tool
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.recipes.lint import SPECIMEN
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Situation
from vibeserve_tui.resources import Shipped, shipped_folder, shipped_targets
from vibeserve_tui.state.run import Run

LIBRARY = SkillLibrary.load([shipped_folder(Shipped.SKILLS)])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = open_run(tmp_path / "board")
    task = ev.TaskPlan(
        title="batch requests", instructions="gather, then step", why=(ev.WhyRow(what="prior", value="×2"),)
    )
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "server.py").write_text("speed = 2\n")
    parent = run.state.champion_commit
    commit = run.store.snapshot(tree, ref="attempts/001/1", parent=parent, message="x", when=1_700_000_000)
    step = ev.JudgeStep(id="J3", title="held-out prompts", passed=False, detail="gap max 3.1")
    record = ev.RoundRecord(
        number=1, task=task, outcome="failed", reason="J3 held-out prompts: gap max 3.1", commit=commit.sha,
        verdict=ev.Verdict(outcome="fail", steps=(step,)), measured=measured(ratio=0.9),
    )  # fmt: skip
    issue = ev.Issue(id="I-1", type="perf", title="Batch requests", status="open", body="gather them", priority=1)
    done = ev.Issue(id="I-2", type="bug", title="Stop strings", status="done")
    run.emit(ev.RoundFinished(record=record), ev.IssueChanged(issue=issue), ev.IssueChanged(issue=done))
    run.emit(
        ev.MemoryChanged(text="# Memory\n\n## Dead ends\n- r1 batching broke answers\n- threads spin\n", by="engine")
    )
    return run


def kit_of(run: Run, places: Places) -> Kit:
    return Kit(places, Shelf.of(LIBRARY.for_backend({"cpu"}, "text_generation", ("avx2",))), run.state, run.store)


def tools(run: Run, places: Places, role: Role = Role.ORCHESTRATOR) -> tuple[Tool, ...]:
    return tools_for(role, kit_of(run, places))


async def test_rounds_are_told_in_a_line_each_or_in_full(run: Run, places: Places) -> None:
    lines = (await call(tools(run, places), "rounds")).splitlines()
    assert lines[1].startswith(
        "r1 failed ×0.900 [0.873, 0.927] from r0: batch requests – J3 held-out prompts: gap max 3.1"
    )
    whole = await call(tools(run, places), "rounds", number=1)
    assert "judge J3 held-out prompts: FAILED gap max 3.1" in whole
    assert "why: prior = ×2" in whole and "task: gather, then step" in whole
    assert "there is no finished round 7" in await refusal(tools(run, places), "rounds", number=7)


async def test_a_rounds_diff_is_against_the_round_it_started_from(run: Run, places: Places) -> None:
    diff = await call(tools(run, places), "diff", number=1)
    assert "-speed = 1\n+speed = 2" in diff
    assert "no commit" in await refusal(tools(run, places), "diff", number=1, against=9)


async def test_the_board_is_searched_and_read(run: Run, places: Places) -> None:
    assert await call(tools(run, places), "issues") == "I-1 perf open P1: Batch requests"
    assert "I-2 bug done" in await call(tools(run, places), "issues", query="STOP")
    assert "gather them" in await call(tools(run, places), "issues", id="I-1")
    assert "no issue 'I-9'" in await refusal(tools(run, places), "issues", id="I-9")


async def test_the_memory_is_searched_by_words(run: Run, places: Places) -> None:
    found = await call(tools(run, places), "memory", query="spin")
    assert found.splitlines() == ["# Memory", "## Dead ends", "- threads spin"]


async def test_skills_of_other_platforms_are_not_offered(places: Places) -> None:
    shelf = Shelf.of(LIBRARY.for_backend({"metal"}, "text_generation", ()))
    tool = (skill_tool(shelf, places.outputs),)
    assert "is not offered here: it is for cpu" in await refusal(tool, "skill", name="continuous-batching")


async def test_a_skill_its_assets_and_nothing_beyond_its_folder(run: Run, places: Places) -> None:
    everything = tools(run, places)
    assert "# " in await call(everything, "skill", name="continuous-batching")
    assert "class" in await call(everything, "skill", name="kv-cache-preallocate", file="assets/decode.py")
    for file in ("../http-path/SKILL.md", "/etc/passwd", "//etc/passwd", "", "..", "/", "a\0b"):
        says = await refusal(everything, "skill", name="continuous-batching", file=file)
        assert "leads out of" in says, file
    assert "it has: SKILL.md" in await refusal(everything, "skill", name="continuous-batching", file="nothing.md")
    assert "did you mean 'continuous-batching'" in await refusal(everything, "skill", name="continous-batching")


def test_what_a_task_names_has_to_be_read_before_anything_is_written() -> None:
    shelf = Shelf.of(LIBRARY.for_backend({"cpu"}, "text_generation", ("avx2",)), ["http-path", "not-there"])
    with pytest.raises(ToolError, match="read first, then write: skill http-path"):
        shelf.must_have_read()
    shelf.text("http-path", "recipe.toml")
    with pytest.raises(ToolError):
        shelf.must_have_read()
    shelf.text("http-path", "SKILL.md")
    shelf.must_have_read()
    assert shelf.read == ["http-path"]


async def test_recipes_are_listed_with_what_they_promise_and_applied_as_a_whole(places: Places, tmp_path: Path) -> None:
    seed = shipped_targets()["tiny-llama-chat"] / "seed"
    tree = Path(shutil.copytree(seed, tmp_path / "tree", ignore=shutil.ignore_patterns("__pycache__")))
    desk = RecipeDesk(RecipeBook.load(LIBRARY), Situation(SPECIMEN))
    both = (list_tool(desk, places.outputs), apply_tool(desk, tree, places.outputs))
    listed = await call(both, "list_recipes")
    assert "within reach, best first:" in listed and "kv-cache-preallocate" in listed
    done = await call(both, "apply_recipe", id="kv-cache-preallocate")
    assert "files changed" in done and "+++ b/server/model.py" in done
    assert "did you mean 'continuous-batching'" in await refusal(both, "apply_recipe", id="continuous-batchin")
    says = await refusal(both, "apply_recipe", id="continuous-batching", params={"max_batch": 3})
    assert "is not a legal value" in says


@pytest.mark.parametrize("role", list(Role))
def test_the_list_of_tools_never_changes_between_two_calls_of_a_role(run: Run, places: Places, role: Role) -> None:
    names = [[tool.name for tool in tools(run, places, role)] for _ in range(2)]
    assert names[0] == names[1]
    assert len(set(names[0])) == len(names[0])
    assert not {"write", "edit", "apply_patch"} & set(names[0]) or role in (Role.IMPLEMENTER, Role.MUTATOR)
    assert ("memory" in names[0]) is (role is not Role.JUDGE)
