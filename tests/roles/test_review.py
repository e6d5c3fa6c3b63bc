"""A reviewer's rights: it may veto what passed, with a place in the diff, once; nothing else it says decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import open_run
from tests.roles.bare import BareWorkplace
from tests.roles.scripted import ScriptedAgent, scripted
from vibeserve_tui import events as ev
from vibeserve_tui.roles.review import Reviewer
from vibeserve_tui.round import Work
from vibeserve_tui.state.run import Run

TASK = ev.TaskPlan(title="Faster", kind="agent", instructions="make it faster", pass_criteria=("answers stay",))
PLACE = {"path": "server.py", "lines": [2, 2], "claim": "stores answers", "severity": "blocking", "category": "cache"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path)


@pytest.fixture
def work(run: Run) -> Work:
    return Work(1, 1, TASK, run.state.champion_commit)


@pytest.fixture
def passed(run: Run, tmp_path: Path) -> ev.Verdict:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "server.py").write_text("speed = 1\nanswers = {}\n")
    commit = run.store.snapshot(
        tree, ref="attempts/001/1", parent=run.state.champion_commit, message="x", when=1_700_000_000
    )
    step = ev.JudgeStep(id="J3", title="held-out prompts", passed=True, detail="16 tests")
    return ev.Verdict(outcome="pass", steps=(step,), commit=commit.sha, tree=commit.tree)


def reviewer(run: Run, answer: dict[str, object]) -> Reviewer:
    return Reviewer(run, scripted(lambda role, prompt, results: [("submit", answer)]), BareWorkplace())  # type: ignore[arg-type]


async def test_a_veto_with_a_place_in_the_diff_fails_the_attempt_with_its_reason(
    run: Run, work: Work, passed: ev.Verdict
) -> None:
    answer = {"verdict": "veto", "findings": [PLACE], "suspicion": "stored_answers", "feedback": "keep no answers"}
    verdict = await reviewer(run, answer).reviewed(work, passed)
    assert (verdict.outcome, verdict.first_failure) == ("fail", "review")
    assert verdict.reason == "veto (stored_answers): server.py:2-2 cache: stores answers\nkeep no answers"
    assert [(step.id, step.passed) for step in verdict.steps] == [("J3", True), ("review", False)]


@pytest.mark.parametrize(
    "place",
    [PLACE | {"lines": [40, 50]}, PLACE | {"path": "benchmark/corpus.jsonl"}],
    ids=["a line that is not there", "a file that was not touched"],
)
async def test_a_veto_without_a_place_in_the_diff_is_ignored_and_recorded(
    run: Run, work: Work, passed: ev.Verdict, place: dict[str, object]
) -> None:
    verdict = await reviewer(run, {"verdict": "veto", "findings": [place]}).reviewed(work, passed)
    assert verdict.passed
    assert verdict.steps[-1].detail == "ignored: a veto whose findings are not in the diff"
    assert run.state.warnings == ["a veto without a place in the diff was ignored"]


async def test_a_minor_finding_is_a_remark(run: Run, work: Work, passed: ev.Verdict) -> None:
    answer = {
        "verdict": "pass", "findings": [PLACE | {"severity": "minor"}],
        "criteria": [{"text": "answers stay", "met": False, "evidence": "not tried"}],
    }  # fmt: skip
    verdict = await reviewer(run, answer).reviewed(work, passed)
    assert verdict.passed
    assert verdict.steps[-1].detail == "not met: answers stay (not tried); server.py:2-2 cache: stores answers"


async def test_a_veto_that_names_nothing_is_no_answer_and_decides_nothing(
    run: Run, work: Work, passed: ev.Verdict
) -> None:
    verdict = await reviewer(run, {"verdict": "veto", "feedback": "I do not like it"}).reviewed(work, passed)
    assert verdict == passed
    assert "a veto needs a blocking finding" in run.state.warnings[0]


@pytest.mark.parametrize(
    "changes",
    [{"outcome": "fail"}, {"outcome": "void"}],
    ids=["failed", "void"],
)
async def test_what_the_tests_did_not_pass_is_never_reviewed(
    run: Run, work: Work, passed: ev.Verdict, changes: dict[str, object]
) -> None:
    one = reviewer(run, {"verdict": "pass"})
    verdict = passed.model_copy(update=changes)
    assert await one.reviewed(work, verdict) == verdict


async def test_recipes_and_the_seed_are_not_reviewed_and_no_tree_twice(
    run: Run, work: Work, passed: ev.Verdict
) -> None:
    voice = scripted(lambda role, prompt, results: [("submit", {"verdict": "pass"})])
    one = Reviewer(run, voice, BareWorkplace())  # type: ignore[arg-type]
    recipe = TASK.model_copy(update={"kind": "recipe"})
    assert await one.reviewed(Work(1, 1, recipe, work.parent), passed) == passed
    assert await one.reviewed(Work(0, 1, TASK, work.parent), passed) == passed
    assert len((await one.reviewed(work, passed)).steps) == 2
    assert await one.reviewed(work, passed) == passed
    assert isinstance(voice.agent, ScriptedAgent)
    (request,) = voice.agent.requests
    assert request.brief is not None and "+answers = {}" in request.brief.volatile


async def test_a_long_diff_is_cut_and_can_be_read_whole(run: Run, work: Work, tmp_path: Path) -> None:
    tree = tmp_path / "large"
    tree.mkdir()
    (tree / "server.py").write_text("".join(f"line_{number} = {number}\n" for number in range(5000)))
    commit = run.store.snapshot(tree, ref="attempts/001/2", parent=work.parent, message="x", when=1_700_000_000)
    workplace = BareWorkplace()
    voice = scripted(lambda role, prompt, results: [("submit", {"verdict": "pass"})])
    await Reviewer(run, voice, workplace).reviewed(
        work, ev.Verdict(outcome="pass", commit=commit.sha, tree=commit.tree)
    )  # type: ignore[arg-type]
    (commission,) = workplace.commissions
    name = commission.words.split("all of it: read @outputs/")[1].split(" ")[0]
    assert commission.outputs is not None
    assert "+line_2500 = 2500\n" in commission.outputs.read(name)


async def test_a_bug_that_a_reviewer_found_goes_onto_the_board(run: Run, work: Work, passed: ev.Verdict) -> None:
    bug = {"type": "bug", "title": "Stop strings are cut late", "code_evidence": "server.py:1"}
    await reviewer(run, {"verdict": "pass", "bug": bug}).reviewed(work, passed)
    (issue,) = run.state.issues.values()
    assert (issue.type, issue.filed_by, issue.title) == ("bug", "judge", "Stop strings are cut late")
