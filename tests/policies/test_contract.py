"""What every policy owes the outer loop, whichever way it searches."""

from __future__ import annotations

import shutil

import pytest

from tests.policies.searching import Search, ToldJudge, open_search, with_recipes
from vibeserve_tui import events as ev
from vibeserve_tui.errors import AgentError
from vibeserve_tui.policies import policy_names
from vibeserve_tui.round import Work

pytestmark = pytest.mark.parametrize("policy", policy_names())


async def played(search: Search, rounds: int) -> list[ev.RoundRecord]:
    records = []
    for _ in range(rounds):
        task = await search.plan()
        assert isinstance(task, ev.TaskPlan), task
        records.append(await search.play(task))
    return records


async def test_an_engine_that_takes_over_plans_what_its_predecessor_would_have(folder, briefing, policy):
    search = open_search(folder / "a", policy, briefing)
    for _ in range(2):
        search.run.close()
        shutil.copytree(folder / "a", folder / "b")
        other = open_search(folder / "b", policy, briefing)
        search = open_search(folder / "a", policy, briefing)
        task = await search.plan()
        assert await other.plan() == task
        other.run.close()
        shutil.rmtree(folder / "b")
        assert isinstance(task, ev.TaskPlan), task
        await search.play(task)


async def test_a_crash_at_any_record_of_planning_leads_to_the_same_plan(folder, briefing, policy):
    search = open_search(folder / "a", policy, briefing)
    await played(search, 1)
    before = search.run.state.seq
    planned = await search.plan()
    after = search.run.state.seq
    search.run.close()
    records = (folder / "a" / "run" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert len(records) == after > before
    for cut in range(before, after + 1):
        shutil.copytree(folder / "a", folder / "b")
        (folder / "b" / "run" / "journal.jsonl").write_bytes(b"".join(records[:cut]))
        again = open_search(folder / "b", policy, briefing)
        assert await again.plan() == planned
        doing = [issue for issue in again.run.state.issues.values() if issue.status is ev.IssueStatus.DOING]
        assert [issue.rounds.count(2) for issue in doing] == [1]
        again.run.close()
        shutil.rmtree(folder / "b")


async def test_it_comes_to_an_end_and_says_why(folder, briefing, policy):
    search = open_search(folder, policy, with_recipes(briefing, ("kv-cache-preallocate", "http-path")))
    reason = await search.to_its_end()
    assert len(reason) > 30
    assert await search.plan() == reason


async def test_without_rounds_or_time_it_plans_none(folder, briefing, policy):
    search = open_search(folder, policy, briefing)
    assert await search.policy.plan(rounds_left=0, seconds_left=600.0) == "the rounds are used up"
    record = search.run.state.rounds[0].model_copy(update={"took_s": 90.0})
    search.run.emit(ev.RoundFinished(record=record))
    assert "s are left" in await search.policy.plan(rounds_left=5, seconds_left=20.0)


async def test_no_tree_is_made_twice(folder, briefing, policy):
    search = open_search(folder, policy, briefing, max_rounds=6)
    search.judge = ToldJudge(frozenset({2}))
    await search.to_its_end()
    trees = [attempt.tree for attempt in search.run.state.attempts]
    assert len(trees) == len(set(trees)) > 3


async def test_every_task_says_what_would_prove_it_wrong_and_why_it_was_chosen(folder, briefing, policy):
    for record in await played(open_search(folder, policy, briefing), 2):
        assert record.task.hypothesis and record.task.hypothesis.falsifier
        assert record.task.why


async def test_a_win_is_done_on_the_board_and_in_the_memory(folder, briefing, policy):
    search = open_search(folder, policy, briefing)
    (record,) = await played(search, 1)
    state = search.run.state
    assert (record.outcome, state.champion) == ("kept", 1)
    issue = state.issues[record.task.issue]
    step = record.task.skill != issue.skill  # towards the recipe that the issue asks for
    assert issue.status == ("open" if step else "done")
    assert f"r1 {record.task.title}: ×1.20" in state.memory.split("## What works", 1)[1]


async def test_what_failed_keeps_its_reason_on_the_board_and_in_the_memory(folder, briefing, policy):
    search = open_search(folder, policy, briefing)
    search.judge = ToldJudge(frozenset({1}))
    (record,) = await played(search, 1)
    issue = search.run.state.issues[record.task.issue]
    step = record.task.skill != issue.skill
    assert issue.status == "open" if step else "3 of 64 answers differ" in issue.mechanism
    assert "3 of 64 answers differ" in search.run.state.memory.split("## Dead ends", 1)[1]


async def test_a_player_that_breaks_costs_its_round_and_not_the_run(folder, briefing, policy):
    class Broken:
        async def implement(self, work: Work) -> ev.AttemptCommitted:
            raise AgentError("it has no hands")

    search = open_search(folder, policy, briefing)
    working, search.implementer = search.implementer, Broken()
    (record,) = await played(search, 1)
    assert (record.outcome, record.reason) == ("failed", "it has no hands")
    search.implementer = working
    (record,) = await played(search, 1)
    assert record.number == 2
