from __future__ import annotations

from dataclasses import replace

import pytest

from tests.evaluation.load_windows import IDLE_CLIENT, ON_TIME, answered, calls, plan, report
from vibeserve_tui.evaluation.load_plan import LoadPlan, Mode
from vibeserve_tui.evaluation.load_report import CallReport, Fault, Lag, LoadReport, Usage
from vibeserve_tui.evaluation.load_validity import Reason, ValidityRules, violations

PLAN = plan(*calls(2))
GOOD = (answered("r0", 0.0, 0.1, 0.2), answered("r1", 0.3, 0.4, 0.5))


def reasons(window: LoadReport, of: LoadPlan = PLAN, rules: ValidityRules | None = None) -> set[Reason]:
    return {violation.reason for violation in violations(window, of, rules)}


def late(**ms: float) -> Lag:
    return replace(ON_TIME, **ms)


def test_a_good_window_has_no_violation():
    assert violations(report(*GOOD, of=PLAN), PLAN) == ()


def test_another_plan_is_not_mistaken_for_this_one():
    assert reasons(report(*GOOD), plan(*calls(2, max_tokens=9))) == {Reason.PLAN}
    assert reasons(report(*GOOD[:1], of=PLAN)) == {Reason.PLAN}


def test_another_order_than_planned_is_found():
    late_first = (answered("r0", 0.3, 0.4, 0.5), answered("r1", 0.0, 0.1, 0.2))
    assert reasons(report(*late_first, of=PLAN)) == {Reason.PLAN}


def test_errors_beyond_the_budget_are_a_violation():
    failed = CallReport("r1", t_sched=0.3, t_sent=0.3, t_end=0.4, error="http_429")
    window = report(GOOD[0], failed, of=PLAN)
    assert reasons(window) == {Reason.ERRORS}
    assert reasons(window, rules=ValidityRules(error_budget=1)) == set()


@pytest.mark.parametrize("fault", [Fault.TIMEOUT, Fault.DROPPED, Fault.DEADLINE])
def test_no_error_budget_covers_a_lost_reply(fault: Fault):
    lost = CallReport("r1", t_sched=0.3, t_sent=0.3, t_end=0.4, error=fault)
    assert reasons(report(GOOD[0], lost, of=PLAN), rules=ValidityRules(error_budget=1)) == {Reason.LOST}


@pytest.mark.parametrize("usage", [None, Usage(prompt_tokens=3, completion_tokens=3)], ids=["missing", "inflated"])
def test_usage_must_be_the_number_of_ids(usage: Usage | None):
    assert reasons(report(replace(GOOD[0], usage=usage), GOOD[1], of=PLAN)) == {Reason.USAGE}


def test_who_promised_no_ids_is_not_accused_of_miscounting_them():
    foreign = ValidityRules(ids_promised=False)
    without = [replace(call, chunk_ids=[[] for _ in call.chunk_t]) for call in GOOD]
    assert reasons(report(*without, of=PLAN)) == {Reason.USAGE}
    assert reasons(report(*without, of=PLAN), rules=foreign) == set()
    assert reasons(report(*(replace(call, usage=None) for call in without), of=PLAN), rules=foreign) == {Reason.USAGE}
    lies = replace(GOOD[0], usage=Usage(prompt_tokens=3, completion_tokens=3))
    assert reasons(report(lies, GOOD[1], of=PLAN), rules=foreign) == {Reason.USAGE}


def test_undeclared_coalescing_is_found():
    window = report(answered("r0", 0.0, 0.1, 0.2, tokens=2), GOOD[1], of=PLAN)
    assert reasons(window) == {Reason.COALESCED}
    assert reasons(window, rules=ValidityRules(max_tokens_per_chunk=2)) == set()


@pytest.mark.parametrize(
    ("client", "reason"),
    [
        (replace(IDLE_CLIENT, loop_lag=late(p99_ms=6.0)), Reason.LOOP_LAG),
        (replace(IDLE_CLIENT, loop_lag=late(mean_ms=3.0)), Reason.LOOP_LAG),
        (replace(IDLE_CLIENT, schedule_lag=late(p99_ms=6.0)), Reason.SCHEDULE_LAG),
        (replace(IDLE_CLIENT, cpu_s=0.6), Reason.CLIENT_CPU),
        (replace(IDLE_CLIENT, suspended_s=2.0), Reason.SUSPENDED),
        (replace(IDLE_CLIENT, peak_in_flight=0), Reason.CONCURRENCY),
    ],
    ids=str,
)
def test_a_client_in_its_own_way_is_found(client: object, reason: Reason):
    assert reasons(replace(report(*GOOD, of=PLAN), client=client)) == {reason}


def test_an_idle_client_with_few_chunks_is_not_expensive():
    assert reasons(report(*GOOD, of=PLAN, client=replace(IDLE_CLIENT, cpu_s=0.04))) == set()


@pytest.mark.parametrize(("ttft_s", "found"), [(0.004, False), (0.001, True)])
def test_a_client_may_be_as_busy_as_no_first_token_has_to_wait_for_it(ttft_s: float, found: bool):
    """At 30 % of a core and 90 µs a chunk, a chunk waits 19 µs for others."""
    stream = [ttft_s + 0.001 * i for i in range(50)]
    client = replace(IDLE_CLIENT, wall_s=0.03, cpu_s=100 * 90e-6, peak_in_flight=1)
    window = report(answered("r0", 0.0, *stream), answered("r1", 0.3, *(0.3 + t for t in stream)), of=PLAN)
    assert (Reason.CLIENT_CPU in reasons(replace(window, client=client))) is found


@pytest.mark.parametrize(
    ("ttft_s", "lag_ms", "found"),
    [(0.1, 4.9, False), (0.1, 5.0, True), (0.03, 2.9, False), (0.03, 3.1, True), (0.001, 0.9, False), (0.001, 1, True)],
)
def test_lag_is_held_against_the_first_token_time(ttft_s: float, lag_ms: float, found: bool):
    client = replace(IDLE_CLIENT, loop_lag=late(p99_ms=lag_ms))
    window = report(answered("r0", 0.0, ttft_s), answered("r1", 0.3, 0.3 + ttft_s), of=PLAN, client=client)
    assert (Reason.LOOP_LAG in reasons(window)) is found


def test_lag_beyond_every_quantile_that_decides_is_no_reason_to_doubt_a_window():
    window = report(*GOOD, of=PLAN, client=replace(IDLE_CLIENT, loop_lag=late(p99_ms=30.0)))
    assert reasons(window, rules=ValidityRules(finest=0.90)) == set()
    window = replace(window, client=replace(IDLE_CLIENT, loop_lag=late(p90_ms=30.0)))
    assert reasons(window, rules=ValidityRules(finest=0.90)) == {Reason.LOOP_LAG}


def test_a_saturated_server_is_no_fault_of_the_window():
    open_loop = plan(*calls(20), mode=Mode.POISSON, rate=10.0)
    behind = report(*(answered(f"r{i}", i / 10, i / 5 + 1) for i in range(20)), of=open_loop)
    assert reasons(behind, open_loop) == set()
