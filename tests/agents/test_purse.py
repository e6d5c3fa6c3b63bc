"""The purse: exact to the turn, kept in the journal, and never forgetful."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import open_run
from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import Tokens
from vibeserve_tui.errors import BudgetSpent
from vibeserve_tui.roles.purse import RunPurse
from vibeserve_tui.run_state import Spend
from vibeserve_tui.state.run import Run

RATES = ev.Rates(input=1.0, output=10.0, cache_read=0.1, cache_write=1.25)
TURN = Tokens(input=100_000, output=10_000)
"""$0.20"""


def settings(**changes: object) -> ev.VoiceSettings:
    return ev.VoiceSettings(provider="anthropic_api", model="m", prices={"m": RATES}).model_copy(update=changes)


def a_run(folder: Path, **allowance: object) -> Run:
    return open_run(folder, allowance=allowance)


def turns_allowed(purse: RunPurse, most: int = 50) -> int:
    for number in range(most):
        try:
            turn = purse.allow("m", TURN)
        except BudgetSpent:
            return number
        purse.paid(turn, "m", TURN)
    return most


def spend(purse: RunPurse) -> None:
    for _ in range(50):
        purse.paid(purse.allow("m", TURN), "m", TURN)


@pytest.mark.parametrize(("usd", "turns"), [(0.19, 0), (0.2, 1), (0.99, 4), (1.0, 5), (1.01, 5)])
def test_the_runs_budget_is_exact_to_the_turn(tmp_path: Path, usd: float, turns: int) -> None:
    run = a_run(tmp_path, usd=usd)
    purse = RunPurse(run, "implementer", settings())
    assert turns_allowed(purse) == turns
    assert purse.run_is_spent
    assert run.state.usd == pytest.approx(turns * 0.2)


def test_tokens_are_limited_without_any_price(tmp_path: Path) -> None:
    run = a_run(tmp_path, tokens=330_000)
    purse = RunPurse(run, "implementer", settings(prices={}))
    assert turns_allowed(purse) == 3
    assert run.state.usd is None and run.state.tokens == 330_000


def test_the_calls_and_the_rounds_budgets_end_the_call_but_not_the_run(tmp_path: Path) -> None:
    run = a_run(tmp_path, usd=100.0, round_usd=1.0)
    first = RunPurse(run, "implementer", settings(usd=0.5))
    with pytest.raises(BudgetSpent, match=r"the call's budget of \$0.50 is spent: \$0.40 are, and .* at least \$0.20"):
        spend(first)
    second = RunPurse(run, "implementer", settings(usd=5.0))
    with pytest.raises(BudgetSpent, match="round 1's budget"):
        spend(second)
    assert not first.run_is_spent and not second.run_is_spent
    run.emit(ev.RoundPlanned(number=2, task=ev.TaskPlan(title="the next one")))
    assert turns_allowed(RunPurse(run, "implementer", settings(usd=0.5))) == 2


def test_spend_is_told_by_role_and_round_and_at_half_of_the_budget(tmp_path: Path) -> None:
    run = a_run(tmp_path, usd=1.0)
    for role in ("orchestrator", "implementer", "implementer"):
        purse = RunPurse(run, role, settings())
        purse.paid(purse.allow("m", TURN), "m", TURN)
    assert run.state.spent["implementer"].usd == pytest.approx(0.4)
    assert run.state.spend_in_round(1).tokens == 330_000
    assert run.state.warnings == ["agents took 50% of the run's budget of $1.00"]
    purse.paid(purse.allow("m", TURN), "m", TURN)
    assert run.state.warnings[1:] == ["agents took 80% of the run's budget of $1.00"]


def test_a_turn_that_is_going_on_counts_as_estimated_and_then_as_it_was(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    purse = RunPurse(run, "judge", settings())
    turn = purse.allow("m", Tokens(input=1000, output=500))
    assert run.state.spend == Spend(1500, pytest.approx(0.006))
    assert purse.paid(
        turn, "m", Tokens(input=10, cache_read=900, cache_write=90, output=40, reasoning=30)
    ) == pytest.approx((10 + 90 + 112.5 + 400) / 1e6)
    assert run.state.tokens == 1040


def test_a_turn_that_a_crash_cut_off_counts_for_ever_and_its_round_too(tmp_path: Path) -> None:
    run = a_run(tmp_path, usd=0.4)
    RunPurse(run, "implementer", settings()).allow("m", TURN)
    run.close()
    again = open_run(tmp_path)
    again.emit(ev.RunResumed(after_crash=True))
    assert again.state.usd == pytest.approx(0.2) and again.state.spend_in_round(1).tokens == 110_000
    assert turns_allowed(RunPurse(again, "implementer", settings())) == 1


def test_agents_that_are_not_settled_by_turns_are_counted_when_they_finish(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    finished = ev.AgentFinished(role="implementer", status="ok", tokens=7, usd=0.5)
    run.emit(ev.AgentStarted(role="implementer", provider="x"), finished)
    assert run.state.spend == Spend(7, 0.5)
    purse = RunPurse(run, "implementer", settings())
    run.emit(ev.AgentStarted(role="implementer", provider="x"))
    purse.paid(purse.allow("m", TURN), "m", TURN)
    run.emit(finished.model_copy(update={"tokens": TURN.total, "usd": 0.2}))
    assert run.state.spend == Spend(7 + TURN.total, pytest.approx(0.7)), "and never twice"
    run.emit(ev.AgentFinished(role="evaluator", status="ok", tokens=1, usd=None))
    assert run.state.usd is None, "a part without a price makes the sum unknown"


def test_the_operator_raises_the_budget(tmp_path: Path) -> None:
    run = a_run(tmp_path, usd=0.2)
    purse = RunPurse(run, "implementer", settings())
    assert turns_allowed(purse) == 1
    run.emit(ev.SettingChanged(name="max_usd", value="0.6"))
    assert turns_allowed(RunPurse(run, "implementer", settings())) == 2
