"""The plain policy: in which order the board is worked off, what is blocked, what is filed, and when it is over."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tests.fakes import FakeOperator, measured
from tests.policies.searching import Search, ToldGate, ToldJudge, open_search, with_recipes
from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import AgentEvent, AgentRequest, Result, Voice
from vibeserve_tui.agents.replies import IssueDraft, PreparedPlan
from vibeserve_tui.events import VoiceSettings
from vibeserve_tui.round import Decision, Work
from vibeserve_tui.state import issues

WRITER = {"implementer": VoiceSettings(provider="anthropic_api")}


@dataclass
class Idle:
    """An orchestrator that files what it is given, once, and then nothing."""

    drafts: list[IssueDraft] = field(default_factory=list)
    asked: int = 0

    async def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]:
        self.asked += 1
        if not self.drafts:
            yield Result("ok", PreparedPlan(action="stop", stop_reason="it is fast enough"))
            return
        first, *rest = self.drafts
        self.drafts = []
        task = ev.TaskPlan(title=first.title, skill=first.skill)
        yield Result("ok", PreparedPlan(action="task", task=task, backlog=tuple(rest)))


@pytest.fixture
def orchestrator() -> Idle:
    return Idle()


@pytest.fixture
def search(folder, briefing, orchestrator) -> Search:
    """With somebody who writes code, as far as the policy can see."""
    search = open_search(folder, "plain", briefing, Voice(orchestrator, "playbook"), voices=WRITER)
    search.implementer = Typist(search)
    return search


@dataclass
class Typist:
    """Writes a line, and remembers what it was asked."""

    search: Search
    seen: list[Work] = field(default_factory=list)

    async def implement(self, work: Work) -> ev.AttemptCommitted:
        self.seen.append(work)
        run, ref = self.search.run, f"attempts/{work.round:03d}/{work.attempt}"
        run.store.checkout(work.parent, run.dir.workspace)
        (run.dir.workspace / "notes.txt").write_text(f"{work.round}.{work.attempt}")
        done = run.store.snapshot(run.dir.workspace, ref=ref, parent=work.parent, message="x", when=1_700_000_060)
        return ev.AttemptCommitted(
            round=work.round, attempt=work.attempt, commit=done.sha, tree=done.tree, parent=work.parent, ref=ref
        )


def file(  # noqa: PLR0917 - the columns of a board
    search: Search, title: str, type_: str = "perf", priority: int = 2, skill: str = "", body: str = ""
) -> str:
    board = search.run.state.issues
    issue = ev.Issue(id=issues.next_id(board), type=type_, title=title, priority=priority, skill=skill, body=body)
    search.run.emit(ev.IssueChanged(issue=issue))
    return issue.id


async def test_bugs_come_before_features_and_features_before_gains_then_priority_then_age(search):
    wanted = ["a bug", "another bug", "an urgent feature", "a feature", "a gain", "a later gain"]
    file(search, "a later gain", "perf", 3)
    file(search, "a gain", "perf", 1)
    file(search, "a feature", "feature", 2)
    file(search, "an urgent feature", "feature", 1)
    file(search, "a bug", "bug", 2)
    file(search, "another bug", "bug", 2)
    done = []
    for _ in wanted:
        record = await search.play(await search.plan())
        done.append(record.task.title)
    assert done == wanted


async def test_an_issue_in_words_is_a_task_in_words(search):
    name = file(search, "answer faster", body="The prompt is tokenised twice.\n\nDone when:\n- once")
    task = await search.plan()
    assert (task.kind, task.issue, task.title) == ("agent", name, "answer faster")
    assert task.instructions.startswith("The prompt is tokenised twice.")
    assert search.run.state.issues[name].status == "doing"


async def test_an_issue_that_fails_as_often_as_allowed_is_blocked_with_the_reason(search):
    search.judge = ToldJudge(frozenset({1}))
    name = file(search, "answer faster")
    record = await search.play(await search.plan(), attempts=3)
    issue = search.run.state.issues[name]
    assert record.attempts == 3
    assert (issue.status, issue.mechanism) == ("blocked", "failed: 3 of 64 answers differ")
    assert await search.plan() == (
        f"all that is left on the board is blocked ({name} answer faster: {issue.mechanism}), and no further one was filed: "
        "it is fast enough"
    )


async def test_with_attempts_left_it_is_tried_again_and_told_what_was_wrong(search):
    wrong_under_load = measured("rejected", fault="J9 answers of the timed run: gap max 3.1")
    search.gate = ToldGate(lambda number: wrong_under_load if number == 1 else measured())
    name = file(search, "answer faster", body="Tokenise once.")
    await search.play(await search.plan())
    assert search.run.state.issues[name].status == "open"
    task = await search.plan()
    assert task.issue == name
    assert task.instructions == "Tokenise once.\n\nRound 1 failed: bound"
    await search.play(task)
    assert search.run.state.issues[name].status == "done"


async def test_a_void_measurement_is_made_once_more_and_then_given_up(search):
    search.gate = ToldGate(lambda _: measured("void"))
    name = file(search, "answer faster")
    await search.play(await search.plan())
    assert search.run.state.issues[name].status == "open"
    await search.play(await search.plan())
    assert search.run.state.issues[name].status == "parked"


async def test_when_nothing_is_open_three_issues_are_filed_and_no_more(search, orchestrator):
    orchestrator.drafts = [IssueDraft(title=f"idea {n}", skill="") for n in range(5)]
    for _ in range(3):
        await search.play(await search.plan())
    assert [issue.title for issue in search.run.state.issues.values()] == ["idea 0", "idea 1", "idea 2"]
    assert orchestrator.asked == 1
    assert await search.plan() == "no issue is open, and no further one was filed: it is fast enough"
    assert orchestrator.asked == 2


async def test_what_is_planned_together_is_filed_together(folder, briefing, orchestrator):
    """A bug that is filed behind a gain comes first, also after a crash in between."""
    drafts = [IssueDraft(title="a gain"), IssueDraft(title="a bug", type="bug")]
    search = open_search(folder / "a", "plain", briefing, Voice(orchestrator, "playbook"), voices=WRITER)
    before, orchestrator.drafts = search.run.state.seq, list(drafts)
    planned = await search.plan()
    assert planned.title == "a bug"
    search.run.close()
    records = (folder / "a" / "run" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(before, len(records)):
        shutil.copytree(folder / "a", folder / "b")
        (folder / "b" / "run" / "journal.jsonl").write_bytes(b"".join(records[:cut]))
        orchestrator.drafts = list(drafts)
        again = open_search(folder / "b", "plain", briefing, Voice(orchestrator, "playbook"))
        assert await again.plan() == planned
        again.run.close()
        shutil.rmtree(folder / "b")


async def test_how_many_are_filed_is_a_setting(folder, briefing, orchestrator):
    orchestrator.drafts = [IssueDraft(title=f"idea {n}") for n in range(5)]
    voice = Voice(orchestrator, "playbook")
    search = open_search(folder, "plain", briefing, voice, voices=WRITER, settings={"plain": {"further": 1}})
    await search.plan()
    assert len(search.run.state.issues) == 1


async def test_what_was_filed_before_is_not_filed_again(search, orchestrator):
    orchestrator.drafts = [IssueDraft(title="an idea")]
    await search.play(await search.plan())
    orchestrator.drafts = [IssueDraft(title="an idea")]
    assert "has nothing that is new" in await search.plan()
    assert len(search.run.state.issues) == 1


async def test_without_a_writer_an_issue_in_words_is_blocked_and_the_next_one_is_taken(folder, briefing):
    search = open_search(folder, "plain", briefing)
    words = file(search, "answer faster", "bug")
    recipe = file(search, "an own loop", skill="kv-cache-preallocate")
    task = await search.plan()
    assert (task.skill, task.issue) == ("kv-cache-preallocate", recipe)
    assert "nobody in this run writes code" in search.run.state.issues[words].mechanism


async def test_a_recipe_that_needs_another_is_come_to_link_by_link(folder, briefing):
    search = open_search(folder, "plain", briefing)
    name = file(search, "batches", skill="continuous-batching")
    search.gate = ToldGate(lambda _: measured(ratio=1.2))
    first = await search.play(await search.plan())
    assert (first.task.skill, first.task.issue) == ("kv-cache-preallocate", name)
    assert search.run.state.issues[name].status == "open"
    second = await search.play(await search.plan())
    assert (second.task.skill, second.task.issue) == ("continuous-batching", name)
    assert search.run.state.issues[name].status == "done"


async def test_a_neutral_link_is_spared_for_what_lies_behind_it(folder, briefing):
    search = open_search(folder, "plain", briefing)
    file(search, "batches", skill="continuous-batching")
    search.gate = ToldGate(lambda number: measured("indecisive", ratio=1.02) if number == 1 else measured(ratio=1.5))
    first = await search.play(await search.plan())
    assert (first.fate, search.run.state.champion) == ("prerequisite", 0)
    second = await search.play(await search.plan())
    assert (second.task.parent, second.task.skill, second.outcome) == (1, "continuous-batching", "kept")


async def test_a_recipe_whose_way_is_closed_is_blocked_with_what_closed_it(folder, briefing):
    search = open_search(folder, "plain", with_recipes(briefing, ("kv-cache-preallocate", "continuous-batching")))
    name = file(search, "batches", skill="continuous-batching")
    search.judge = ToldJudge(frozenset({1}))
    await search.play(await search.plan())
    reason = await search.plan()
    assert reason.startswith(f"all that is left on the board is blocked ({name} batches: needs engine.runner), and no ")


async def test_an_issue_whose_recipe_came_in_on_the_way_to_another_is_done(folder, briefing):
    search = open_search(folder, "plain", briefing)
    file(search, "batches", skill="continuous-batching", priority=1)
    loop = file(search, "an own loop", skill="kv-cache-preallocate", priority=2)
    search.gate = ToldGate(lambda _: measured(ratio=1.2))
    await search.play(await search.plan())
    await search.play(await search.plan())
    await search.plan()
    assert search.run.state.issues[loop].status == "done"


async def test_a_recipe_that_a_conflict_keeps_out_is_swapped_in(folder, briefing):
    search = open_search(folder, "plain", briefing)
    search.gate = ToldGate(lambda _: measured(ratio=1.2))
    file(search, "a window", skill="static-batching-window", priority=1)
    for _ in range(2):
        await search.play(await search.plan())
    file(search, "batches", skill="continuous-batching", priority=1)
    task = await search.plan()
    assert (task.kind, task.dropped) == ("swap", ("static-batching-window",))


async def test_an_issue_about_a_recipe_that_nobody_has_is_blocked(folder, briefing):
    search = open_search(folder, "plain", briefing)
    name = file(search, "magic", skill="magic")
    task = await search.plan()
    assert search.run.state.issues[name].mechanism == "there is no recipe 'magic'"
    assert task.issue != name


async def test_what_an_agent_wrote_is_not_lost_to_a_swap(folder, briefing):
    search = open_search(folder, "plain", briefing, voices=WRITER)
    search.gate = ToldGate(lambda _: measured(ratio=1.2))
    file(search, "a window", skill="static-batching-window")
    for _ in range(2):
        await search.play(await search.plan())
    file(search, "answer faster", priority=1)
    batches = file(search, "batches", skill="continuous-batching")
    search.implementer = Typist(search)
    await search.play(await search.plan())
    await search.plan()
    assert "without what an agent wrote" in search.run.state.issues[batches].mechanism


@pytest.mark.parametrize(("action", "status"), [("approve", "open"), ("revert", "abandoned")])
async def test_what_a_person_says_of_a_link_holds_for_its_issue(folder, briefing, action, status):
    search = open_search(folder, "plain", briefing)
    search.operator = FakeOperator([Decision(action, "operator", "so it is")])
    name = file(search, "batches", skill="continuous-batching")
    record = await search.play(await search.plan())
    assert (record.task.skill, record.decided_by) == ("kv-cache-preallocate", "operator")
    assert search.run.state.issues[name].status == status
