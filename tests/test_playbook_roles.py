"""The playbook in its roles, on the shipped target and skills: plans with reasons, real diffs, a board that remembers."""

from pathlib import Path

import pytest

from tests.fakes import measured, plan
from tests.policies.searching import full_briefing
from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import load_voice
from vibeserve_tui.agents.replies import ImplReport
from vibeserve_tui.errors import AgentError, ProfileError, WorkspaceError
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.policies import Policy, load_policy, policy_names
from vibeserve_tui.roles.briefing import Briefing, composition
from vibeserve_tui.roles.implementer import Implementer
from vibeserve_tui.roles.orchestrator import Orchestrator
from vibeserve_tui.round import Work
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.run_dir import RunDir


@pytest.fixture(scope="module")
def briefing() -> Briefing:
    return full_briefing()


@pytest.fixture(scope="module")
def target(briefing: Briefing) -> LoadedTarget:
    return briefing.target


@pytest.fixture
def run(tmp_path: Path, target: LoadedTarget) -> Run:
    """A run whose baseline is the target's own seed."""
    directory = RunDir(tmp_path / "run")
    directory.create()
    run = Run(directory)
    device = ev.DeviceSummary(id="cpu:0", name="test", backend="cpu", fingerprint="f", cores=2)
    run.emit(ev.RunStarted(run="run", plan=plan(), device=device))
    seed = run.store.snapshot(
        target.file("seed"), ref="attempts/000/1", parent=None, message="seed", when=1_700_000_000
    )
    task = ev.TaskPlan(title="seed")
    record = ev.RoundRecord(
        number=0, task=task, outcome=ev.Outcome.KEPT, reason="", commit=seed.sha, measured=measured(ratio=1.0)
    )
    run.emit(ev.RoundFinished(record=record), ev.ChampionMoved(round=0, commit=seed.sha))
    return run


@pytest.fixture
def policy(run: Run, briefing: Briefing) -> Policy:
    return load_policy("agent", run, Orchestrator(run, load_voice("playbook"), briefing))


def finish(run: Run, task: ev.TaskPlan, outcome: str, **changes: object) -> ev.RoundRecord:
    number = max(run.state.rounds) + 1
    fields = {
        "number": number,
        "task": task,
        "outcome": outcome,
        "reason": "gap max 0.4",
        "commit": run.state.champion_commit,
    }
    record = ev.RoundRecord.model_validate(fields | changes)
    run.emit(ev.RoundFinished(record=record))
    return record


async def test_the_first_plan_has_a_falsifiable_hypothesis_and_its_reasons(policy, run):
    task = await policy.plan(rounds_left=8, seconds_left=600)
    assert isinstance(task, ev.TaskPlan)
    assert task.skill in ("kv-cache-preallocate", "native-cpu-kernel")
    assert task.hypothesis and task.hypothesis.falsifier and task.hypothesis.minimum_effect > 1
    assert {"prior", "expected here"} <= {row.what for row in task.why}


async def test_every_recipe_is_on_the_board_open_or_blocked_with_a_reason(policy, run, briefing):
    await policy.plan(rounds_left=8, seconds_left=600)
    by_skill = {issue.skill: issue for issue in run.state.issues.values()}
    assert set(by_skill) == set(briefing.book)
    for issue in by_skill.values():
        assert issue.status in ("open", "doing") or (issue.status == "blocked" and issue.mechanism)


async def test_planning_again_files_nothing_twice(policy, run):
    await policy.plan(rounds_left=8, seconds_left=600)
    before = len(run.state.issues)
    await policy.plan(rounds_left=8, seconds_left=600)
    assert len(run.state.issues) == before


async def test_a_failed_idea_is_abandoned_with_its_mechanism_and_remembered(policy, run):
    task = await policy.plan(rounds_left=8, seconds_left=600)
    run.emit(*policy.lessons(finish(run, task, "failed")))
    issue = run.state.issues[task.issue]
    assert (issue.status, issue.mechanism) == ("abandoned", "failed: gap max 0.4")
    dead_ends = run.state.memory.split("## Dead ends", 1)[1]
    assert task.title in dead_ends


async def test_a_kept_idea_is_done_and_its_gain_is_in_the_memory(policy, run):
    task = await policy.plan(rounds_left=8, seconds_left=600)
    run.emit(*policy.lessons(finish(run, task, "kept", measured=measured(ratio=1.5))))
    assert run.state.issues[task.issue].status == "done"
    assert "×1.50 [1.46, 1.54]" in run.state.memory.split("## What works", 1)[1]


async def test_a_planner_without_rounds_says_so(policy):
    assert await policy.plan(rounds_left=0, seconds_left=600) == "the rounds are used up"


async def test_a_recipe_becomes_a_commit_with_a_genuine_diff(run, briefing):
    implementer = Implementer(run, load_voice("playbook"), briefing)
    task = ev.TaskPlan(title="own loop", skill="kv-cache-preallocate", issue="I-1")
    run.emit(ev.RoundPlanned(number=1, task=task), ev.AttemptStarted(round=1, attempt=1))
    done = await implementer.implement(Work(1, 1, task, run.state.champion_commit))
    assert done.skills == ("kv-cache-preallocate",)
    assert done.files_changed > 3 and done.lines_added > 50
    assert "transformers" not in run.store.read_file(done.commit, "server/model.py")
    assert composition(run.store, done.commit, 1).has("kv-cache-preallocate")


async def test_a_record_that_somebody_spoilt_costs_the_attempt_and_not_the_run(run, briefing):
    implementer = Implementer(run, load_voice("playbook"), briefing)
    task = ev.TaskPlan(title="own loop", skill="kv-cache-preallocate")
    run.emit(ev.RoundPlanned(number=1, task=task), ev.AttemptStarted(round=1, attempt=1))
    work = Work(1, 1, task, run.state.champion_commit)
    await implementer.implement(work)
    (run.dir.workspace / ".vibeserve" / "capabilities.json").write_text('{"schema": 1, "applied": "all"}')
    with pytest.raises(WorkspaceError, match="is damaged"):
        implementer.commit(work, ImplReport(summary="done"))


async def test_the_same_attempt_gives_the_same_commit_again(run, briefing):
    implementer = Implementer(run, load_voice("playbook"), briefing)
    task = ev.TaskPlan(title="own loop", skill="kv-cache-preallocate")
    run.emit(ev.RoundPlanned(number=1, task=task), ev.AttemptStarted(round=1, attempt=1))
    work = Work(1, 1, task, run.state.champion_commit)
    assert await implementer.implement(work) == await implementer.implement(work)


async def test_an_ablation_is_rebuilt_from_the_seed_without_the_recipe(run, briefing):
    implementer = Implementer(run, load_voice("playbook"), briefing)
    kept = (ev.RecipeChoice(skill="kv-cache-preallocate"),)
    task = ev.TaskPlan(title="without x", kind="ablation", rebuild=kept, dropped=("continuous-batching",))
    run.emit(ev.RoundPlanned(number=1, task=task), ev.AttemptStarted(round=1, attempt=1))
    done = await implementer.implement(Work(1, 1, task, run.state.champion_commit))
    assert done.skills == ("kv-cache-preallocate",)


async def test_a_recipe_that_does_not_apply_costs_the_attempt_and_says_why(run, briefing):
    implementer = Implementer(run, load_voice("playbook"), briefing)
    task = ev.TaskPlan(title="batching", skill="continuous-batching")
    run.emit(ev.RoundPlanned(number=1, task=task), ev.AttemptStarted(round=1, attempt=1))
    with pytest.raises(AgentError, match=r"needs .*engine\.runner"):
        await implementer.implement(Work(1, 1, task, run.state.champion_commit))


def test_an_unknown_policy_or_provider_names_those_that_exist(run):
    assert "agent" in policy_names()
    with pytest.raises(ProfileError, match="pick one of: agent"):
        load_policy("telepathy", run, None)
    with pytest.raises(ProfileError, match="playbook"):
        load_voice("telepathy")
