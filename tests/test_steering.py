"""The operator's desk: each command is answered once, and takes effect where it can do no harm."""

import asyncio
import contextlib
import json
import time
from pathlib import Path

import psutil
import pytest

from tests.fakes import measured, open_run
from vibeserve_tui import commands as cmd
from vibeserve_tui import events as ev
from vibeserve_tui import steering
from vibeserve_tui.state import memory
from vibeserve_tui.state.journal import read_journal
from vibeserve_tui.state.run import Run
from vibeserve_tui.steering import Desk, StepCancelled


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path, approval="each-round")


@pytest.fixture
async def desk(run: Run):
    desk = Desk(run, approval_timeout_s=None)
    watching = asyncio.create_task(desk.watch())
    yield desk
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


async def answer(run: Run, command: cmd.Command) -> str:
    run.dir.post(command)
    async with asyncio.timeout(5):
        while command.id not in run.state.answered:
            await asyncio.sleep(0.02)
    return run.state.answered[command.id]


def waiting_round(run: Run, outcome: str = "accepted") -> None:
    """Round 1 as it is when the operator is asked."""
    run.emit(ev.RoundPlanned(number=1, task=ev.TaskPlan(title="batch")), ev.AttemptStarted(round=1, attempt=1))
    run.emit(ev.MeasurementFinished(round=1, measured=measured(outcome)))


async def asked(run: Run, desk: Desk) -> asyncio.Task:
    waiting_round(run)
    asking = asyncio.create_task(desk.decide(1, "approve"))
    while run.state.approval is None:
        await asyncio.sleep(0.01)
    return asking


async def test_an_approval_reaches_the_round_that_waits(run, desk):
    asking = await asked(run, desk)
    assert await answer(run, cmd.Approve(by="ann", comment="nice")) == "accepted"
    decision = await asking
    assert (decision.action, decision.by, decision.comment) == ("approve", "ann", "nice")
    assert run.state.approval is None


async def test_of_two_answers_the_first_wins_and_the_second_is_told_so(run, desk):
    asking = await asked(run, desk)
    first, second = cmd.RevertTo(by="ann"), cmd.Approve(by="bob")
    run.dir.post(first)
    await asyncio.sleep(0.02)
    run.dir.post(second)
    assert (await asking).action == "revert"
    async with asyncio.timeout(5):
        while second.id not in run.state.answered:
            await asyncio.sleep(0.02)
    assert run.state.answered[first.id] == "accepted"
    assert run.state.answered[second.id] in ("already answered by ann", "no round waits for an answer")


async def test_the_default_stands_when_nobody_answers_before_the_deadline(run):
    desk = Desk(run, approval_timeout_s=0.05)
    waiting_round(run)
    decision = await desk.decide(1, "revert")
    assert (decision.action, decision.by) == ("revert", "gate")


async def test_mode_auto_asks_nobody(tmp_path):
    run = open_run(tmp_path)
    waiting_round(run)
    assert (await Desk(run, approval_timeout_s=None).decide(1, "approve")).by == "gate"
    assert run.state.approval is None


async def test_mode_on_regression_asks_only_when_another_metric_got_worse(tmp_path):
    worse = ev.Figure(metric="ttft", level="c1", unit="ms", direction="min", ratio=0.8, ci_low=0.7, ci_high=0.9)
    run = open_run(tmp_path, approval="on-regression")
    desk = Desk(run, approval_timeout_s=0.05)
    waiting_round(run)
    assert (await desk.decide(1, "approve")).comment == ""
    good = measured()
    run.emit(ev.MeasurementFinished(round=1, measured=good.model_copy(update={"figures": (*good.figures, worse)})))
    assert "deadline" in (await desk.decide(1, "approve")).comment


async def test_switching_to_auto_answers_the_round_that_waits(run, desk):
    asking = await asked(run, desk)
    assert await answer(run, cmd.SetApprovalMode(mode="auto")) == "accepted"
    assert (await asking).action == "approve"
    assert run.state.approval_mode == "auto"


async def test_an_answer_without_a_question_is_rejected(run, desk):
    assert await answer(run, cmd.Approve()) == "no round waits for an answer"


async def test_a_command_is_carried_out_once_however_often_it_arrives(run, desk):
    command = cmd.NewIssue(title="lower the tail")
    await answer(run, command)
    run.dir.post(command)
    await asyncio.sleep(0.6)
    assert [issue.title for issue in run.state.issues.values()] == ["lower the tail"]


async def test_a_broken_inbox_file_is_answered_with_the_field_and_removed(run, desk):
    path = run.dir.inbox / "evil.json"
    path.write_text(json.dumps({"kind": "pin", "id": "evil", "round": "seven"}))
    async with asyncio.timeout(5):
        while "evil" not in run.state.answered:
            await asyncio.sleep(0.02)
    assert run.state.answered["evil"].startswith("pin.round: ")
    assert not path.exists()


async def test_pause_holds_the_engine_at_the_next_boundary_until_resume(run, desk):
    await answer(run, cmd.Pause())
    boundary = asyncio.create_task(desk.boundary())
    await asyncio.sleep(0.1)
    assert not boundary.done()
    assert run.state.status == "paused"
    await answer(run, cmd.Resume())
    await asyncio.wait_for(boundary, 5)
    assert run.state.status == "running"


async def test_waiting_for_a_person_takes_none_of_the_run_s_minutes(run, desk):
    asking = await asked(run, desk)
    begun, before = time.monotonic(), run.active_s
    await asyncio.sleep(0.2)
    assert run.active_s == before
    await answer(run, cmd.Pause())
    await answer(run, cmd.Approve())
    await asking
    boundary = asyncio.create_task(desk.boundary())
    await asyncio.sleep(0.2)
    await answer(run, cmd.Resume())
    await asyncio.wait_for(boundary, 5)
    assert run.active_s - before <= time.monotonic() - begun - 0.35


async def test_cancelling_ends_the_step_in_flight_and_nothing_else(run, desk):
    step = asyncio.create_task(desk.interruptible(asyncio.sleep(60)))
    await asyncio.sleep(0.05)
    assert await answer(run, cmd.CancelStep()) == "accepted"
    with pytest.raises(StepCancelled):
        await step
    assert await answer(run, cmd.CancelStep()) == "no round is in flight"


async def test_an_engine_that_is_itself_cancelled_is_not_mistaken_for_a_cancelled_step(run, desk):
    step = asyncio.create_task(desk.interruptible(asyncio.sleep(60)))
    await asyncio.sleep(0.05)
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step


async def test_reverting_moves_the_champion_and_keeps_board_and_memory(run, desk):
    record = run.state.rounds[0].model_copy(update={"number": 1, "fate": "champion"})
    run.emit(ev.RoundFinished(record=record), ev.ChampionMoved(round=1, commit=record.commit))
    await answer(run, cmd.NewIssue(title="idea"))
    run.note(memory.WORKS, "batching")
    assert await answer(run, cmd.RevertTo(round=0)) == "accepted"
    await desk.boundary()
    assert run.state.champion == 0
    assert "batching" in run.state.memory and "went back to round 0" in run.state.memory
    assert [issue.title for issue in run.state.issues.values()] == ["idea"]


async def test_only_a_sound_round_can_become_champion_again(run, desk):
    record = run.state.rounds[0].model_copy(update={"number": 1, "outcome": ev.Outcome.FAILED})
    run.emit(ev.RoundFinished(record=record))
    assert (await answer(run, cmd.RevertTo(round=1))).startswith("round 1 was failed")
    assert await answer(run, cmd.RevertTo(round=9)) == "there is no finished round 9"


async def test_an_edit_of_an_outdated_memory_is_refused_and_nothing_is_lost(run, desk):
    run.note(memory.WORKS, "first")
    outdated = memory.digest(run.state.memory)
    run.note(memory.WORKS, "second")
    refused = await answer(run, cmd.EditMemory(text="mine", base_sha256=outdated))
    assert refused.startswith("the memory changed meanwhile")
    assert "second" in run.state.memory
    assert await answer(run, cmd.EditMemory(text="mine", base_sha256=memory.digest(run.state.memory))) == "accepted"
    assert run.state.memory == "mine"


async def test_a_steering_note_is_in_the_state_and_in_the_memory(run, desk):
    assert await answer(run, cmd.Steer(note="mind the tail")) == "accepted"
    assert run.state.notes == ["mind the tail"]
    assert "mind the tail" in run.state.memory


async def test_budgets_change_while_the_run_goes_on(run, desk):
    assert await answer(run, cmd.SetBudget(max_rounds=3)) == "accepted"
    assert run.state.max_rounds == 3
    assert "neither" in await answer(run, cmd.SetBudget())


def judged(run: Run, number: int, outcome: str = "pass") -> None:
    """A finished round with the judge's answer."""
    task = ev.TaskPlan(title=f"round {number}")
    run.emit(ev.RoundPlanned(number=number, task=task), ev.AttemptStarted(round=number, attempt=1))
    record = ev.RoundRecord(
        number=number, task=task, outcome=ev.Outcome.KEPT, reason="faster", verdict=ev.Verdict(outcome=outcome)
    )
    run.emit(ev.RoundFinished(record=record))


async def test_two_judged_rounds_can_be_asked_to_be_measured_again_and_a_failed_one_not(run, desk):
    judged(run, 1)
    judged(run, 2)
    judged(run, 3, "fail")
    assert await answer(run, cmd.MeasureAgain(a=1, b=2)) == "accepted"
    assert run.state.again_wished == [(1, 2)]
    assert "did not pass the judge" in await answer(run, cmd.MeasureAgain(a=1, b=3))
    assert "two different rounds" in await answer(run, cmd.MeasureAgain(a=2, b=2))
    assert "no finished round 9" in await answer(run, cmd.MeasureAgain(a=9, b=2))
    run.emit(ev.MeasuredAgain(a=1, b=2, measured=measured("accepted")))
    assert run.state.again_wished == []
    assert run.state.again[1, 2].outcome == "accepted"


async def test_the_limit_in_money_can_be_changed_and_no_limit_is_not_a_change(run, desk):
    assert await answer(run, cmd.SetBudget(max_usd=2.5, max_tokens=1000)) == "accepted"
    assert (run.state.max_usd, run.state.max_tokens) == (2.5, 1000)
    assert "neither rounds" in await answer(run, cmd.SetBudget())


async def test_what_the_engine_holds_is_recorded_once_a_minute(run, monkeypatch):
    monkeypatch.setattr(steering, "BEAT_S", 0.0)
    watching = asyncio.create_task(Desk(run, approval_timeout_s=None).watch())
    async with asyncio.timeout(5):
        while len(beats := [line.event for line in records(run) if isinstance(line.event, ev.Heartbeat)]) < 3:
            await asyncio.sleep(0.05)
    watching.cancel()
    first, *others = beats
    assert first.rss_mib is not None and first.rss_mib > 10
    assert first.open_files == pytest.approx(psutil.Process().num_fds(), abs=3)
    assert first.children == len(psutil.Process().children(recursive=True))
    assert [beat.rss_mib for beat in others] == [None] * len(others)


def records(run: Run) -> list[ev.Record]:
    return list(read_journal(run.dir.journal))
