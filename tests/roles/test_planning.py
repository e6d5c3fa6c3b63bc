"""The policy with a model: harvesting, unusable answers, notes and issues; and the evaluator's reading."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes import measured, open_run
from vibeserve_tui import events as ev
from vibeserve_tui.agents.replies import Hypothesis, IssueDraft, PlanReply, PreparedPlan, RoundPlan
from vibeserve_tui.errors import AgentError, RunPaused
from vibeserve_tui.policies.agent import PLANS, Policy
from vibeserve_tui.roles.briefing import made_of_recipes
from vibeserve_tui.state.run import Run

CLAIM = Hypothesis(claim="c", falsifier="f", expected_low=1.0, expected_high=1.5)


@dataclass
class FakeOrchestrator:
    """Answers in turn; an exception is raised instead."""

    answers: list[PlanReply | Exception]
    harvested: PreparedPlan | None = None
    faults: list[str] = field(default_factory=list)

    async def plan(self, *, rounds_left: int, seconds_left: float, fault: str = "") -> PlanReply:
        self.faults.append(fault)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def harvest(self, *, rounds_left: int, seconds_left: float) -> PreparedPlan | None:
        return self.harvested

    def task_of(self, plan: PlanReply) -> ev.TaskPlan | None:
        if isinstance(plan, PreparedPlan):
            return plan.task
        return ev.TaskPlan(title=plan.title, instructions=plan.task, kind="agent") if plan.action == "task" else None

    def spares(self, record: ev.RoundRecord) -> bool:
        return False


def task(**changes: object) -> RoundPlan:
    fields = {
        "action": "task", "title": "Batch", "task": "batch", "family": "schedule", "hypothesis": CLAIM,
        "pass_criteria": ["x"],
    }  # fmt: skip
    return RoundPlan.model_validate(fields | changes)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path, harvest=True)


async def plan(run: Run, orchestrator: FakeOrchestrator) -> ev.TaskPlan | str:
    return await Policy(run, orchestrator).plan(rounds_left=3, seconds_left=60)  # type: ignore[arg-type]


async def test_an_unusable_answer_costs_an_attempt_and_its_fault_is_told(run: Run) -> None:
    orchestrator = FakeOrchestrator([AgentError("no submit"), AgentError("stop needs a stop_reason"), task()])
    found = await plan(run, orchestrator)
    assert isinstance(found, ev.TaskPlan)
    assert orchestrator.faults == ["", "no submit", "stop needs a stop_reason"]
    assert [text for text in run.state.warnings if text.startswith("no plan")] == [
        "no plan: no submit", "no plan: stop needs a stop_reason",
    ]  # fmt: skip


async def test_without_any_usable_answer_the_search_ends_with_what_it_has(run: Run) -> None:
    orchestrator = FakeOrchestrator([AgentError("x")] * PLANS)
    assert await plan(run, orchestrator) == f"the orchestrator gave no plan in {PLANS} attempts: x"


async def test_a_spent_budget_is_not_an_answer_to_be_asked_for_again(run: Run) -> None:
    with pytest.raises(RunPaused):
        await plan(run, FakeOrchestrator([RunPaused("the run's budget is spent"), task()]))


async def test_the_playbook_harvests_first_and_the_model_takes_what_is_left(run: Run) -> None:
    recipe = ev.TaskPlan(title="own loop", skill="kv-cache-preallocate")
    orchestrator = FakeOrchestrator([task()], PreparedPlan(action="task", task=recipe))
    assert (await plan(run, orchestrator)).skill == "kv-cache-preallocate"
    assert orchestrator.faults == []
    orchestrator.harvested = PreparedPlan(action="stop", stop_reason="nothing is likely to pay")
    found = await plan(run, orchestrator)
    assert (found.kind, found.title) == ("agent", "Batch")


async def test_without_harvesting_the_model_plans_at_once(tmp_path: Path) -> None:
    recipe = ev.TaskPlan(title="own loop", skill="kv-cache-preallocate")
    orchestrator = FakeOrchestrator([task()], PreparedPlan(action="task", task=recipe))
    assert (await plan(open_run(tmp_path), orchestrator)).kind == "agent"


async def test_notes_go_into_the_memory_and_drafts_onto_the_board_once(run: Run) -> None:
    draft = IssueDraft(
        title="Cache encodings", background="http is slow", acceptance=("hits grow",), code_evidence="api.py:12"
    )
    orchestrator = FakeOrchestrator([task(notes=["threads spin"], backlog=[draft]), task(backlog=[draft])])
    first, second = await plan(run, orchestrator), await plan(run, orchestrator)
    assert first.issue == second.issue
    titles = [issue.title for issue in run.state.issues.values()]
    assert sorted(titles) == ["Batch", "Cache encodings"]
    body = next(issue.body for issue in run.state.issues.values() if issue.title == "Cache encodings")
    assert "Done when:\n- hits grow" in body and "code: api.py:12" in body
    assert "- threads spin" in run.state.memory.split("## Ideas")[1]


async def test_a_task_may_be_an_entry_of_the_board(run: Run) -> None:
    run.emit(ev.IssueChanged(issue=ev.Issue(id="I-4", type="perf", title="Gather requests")))
    found = await plan(run, FakeOrchestrator([task(issue_id="I-4")]))
    assert (found.issue, run.state.issues["I-4"].status) == ("I-4", "doing")


async def test_a_model_may_stop_and_says_why(run: Run) -> None:
    assert await plan(run, FakeOrchestrator([RoundPlan(action="stop", stop_reason="at the floor")])) == "at the floor"


def test_a_tree_in_which_an_agent_wrote_is_not_built_anew_from_recipes(run: Run) -> None:
    assert made_of_recipes(run.state)
    for number, kind in ((1, "recipe"), (2, "agent")):
        done = ev.RoundRecord(
            number=number, task=ev.TaskPlan(title="t", kind=kind, parent=number - 1), outcome="kept", reason="",
            commit=run.state.champion_commit, measured=measured(),
        )  # fmt: skip
        run.emit(ev.RoundFinished(record=done), ev.ChampionMoved(round=number, commit=run.state.champion_commit))
        assert made_of_recipes(run.state) is (kind == "recipe")
