"""One round: what each ending leaves behind, and that a crash between any two steps changes nothing."""

from pathlib import Path

import pytest

from tests.fakes import FakeEvaluator, FakeImplementer, FakeJudge, FakeOperator, crew, measured, open_run
from vibeserve_tui import events as ev
from vibeserve_tui.round import Crew, Decision, play_round
from vibeserve_tui.state.run import Run

HYPOTHESIS = ev.Hypothesis(claim="faster", minimum_effect=1.1)
TASK = ev.TaskPlan(title="batch requests", hypothesis=HYPOTHESIS)


async def play(run: Run, team: Crew, attempts: int = 2) -> ev.RoundRecord:
    if run.state.in_flight is None:
        run.emit(ev.RoundPlanned(number=1, task=TASK))
    return await play_round(run, team, 1, TASK, attempts=attempts)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path)


async def test_a_faster_right_candidate_is_kept_and_its_claim_proven(run):
    record = await play(run, crew(run))
    assert (record.outcome, record.fate, record.hypothesis_outcome) == ("kept", "champion", "proven")
    assert run.store.read_file(record.commit, "server.py") == "speed = 1\nspeed = 1.1\n"


async def test_champion_and_candidate_are_measured_together(run):
    evaluator = FakeEvaluator()
    record = await play(run, crew(run, evaluator=evaluator))
    assert evaluator.compared == [(run.state.champion_commit, record.commit)]


@pytest.mark.parametrize(
    ("gate", "outcome"),
    [("rejected", "reverted"), ("indecisive", "indecisive"), ("void", "void"), ("accepted", "kept")],
)
async def test_the_gate_decides_how_a_judged_round_ends(run, gate, outcome):
    record = await play(run, crew(run, evaluator=FakeEvaluator(measured(gate, ratio=1.0))))
    assert record.outcome == outcome


async def test_wrong_answers_in_the_timed_run_fail_the_round_whatever_its_speed(run):
    answer = measured("rejected", fault="J9 answers of the timed run: gap max 3.1")
    record = await play(run, crew(run, evaluator=FakeEvaluator(answer)))
    assert record.outcome == "failed"


async def test_a_rejected_attempt_is_discarded_and_its_reason_reaches_the_next_one(run):
    implementer = FakeImplementer(run)
    judge = FakeJudge(faults={1: "token 12 is wrong"})
    record = await play(run, crew(run, implementer=implementer, judge=judge))
    assert record.outcome == "kept"
    assert [work.feedback for work in implementer.seen] == ["", "token 12 is wrong"]
    assert run.store.read_file(record.commit, "server.py") == "speed = 1\nspeed = 1.2\n"


async def test_a_round_fails_with_the_last_reason_when_its_attempts_run_out(run):
    evaluator = FakeEvaluator()
    judge = FakeJudge(faults={1: "first", 2: "second"})
    record = await play(run, crew(run, judge=judge, evaluator=evaluator))
    assert (record.outcome, record.reason, record.attempts) == ("failed", "second", 2)
    assert evaluator.compared == []


async def test_an_implementer_without_an_answer_costs_an_attempt_not_the_round(run):
    implementer = FakeImplementer(run, failures={1: "no submit"})
    judge = FakeJudge()
    record = await play(run, crew(run, implementer=implementer, judge=judge))
    assert record.outcome == "kept"
    assert len(judge.judged) == 1
    assert implementer.seen[1].feedback == "no submit"


async def test_the_operator_may_keep_what_the_gate_found_indecisive(run):
    team = crew(
        run, evaluator=FakeEvaluator(measured("indecisive")), operator=FakeOperator([Decision("approve", "ann")])
    )
    record = await play(run, team)
    assert (record.outcome, record.decided_by) == ("kept", "ann")


async def test_the_operator_may_turn_down_what_the_gate_accepted(run):
    record = await play(run, crew(run, operator=FakeOperator([Decision("revert", "ann", "too complex")])))
    assert (record.outcome, record.reason) == ("reverted", "ann: too complex")


async def test_a_retry_starts_from_the_parent_with_the_operators_comment(run):
    implementer = FakeImplementer(run)
    team = crew(run, implementer=implementer, operator=FakeOperator([Decision("retry", "ann", "smaller please")]))
    record = await play(run, team)
    assert record.outcome == "kept"
    assert implementer.seen[1].feedback == "the operator asks: smaller please"
    assert implementer.seen[1].parent == implementer.seen[0].parent


class EngineKilled(BaseException):
    """Stands for SIGKILL: no handler of the round may see it."""


async def test_a_crash_after_any_record_changes_nothing_but_the_step_in_flight(tmp_path):
    whole = open_run(tmp_path / "golden")
    golden = await play(whole, crew(whole))
    for kill_after in range(1, 20):
        run = open_run(tmp_path / f"k{kill_after}")
        emitted, emit = 0, run.emit

        def emit_then_die(*events: ev.Event, emit=emit, kill_after=kill_after) -> None:
            nonlocal emitted
            emit(*events)
            emitted += 1
            if emitted == kill_after:
                raise EngineKilled

        run.emit = emit_then_die
        try:
            record = await play(run, crew(run))
        except EngineKilled:
            run.close()
            again = open_run(tmp_path / f"k{kill_after}")
            judge, evaluator = FakeJudge(), FakeEvaluator()
            before = again.state.in_flight
            done = (before.verdict is not None, before.measured is not None) if before else (False, False)
            record = await play(again, crew(again, judge=judge, evaluator=evaluator))
            assert (bool(judge.judged), bool(evaluator.compared)) == (not done[0], not done[1])
        else:
            assert kill_after > 5, "the round ended before it was killed even once"
            break
        same = {"took_s"}
        assert record.model_dump(exclude=same) == golden.model_dump(exclude=same)
