"""Every outcome of the gate, on series worked out by hand."""

import math
from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from vibeserve_tui.evaluation.blocks import Arm, Block, Reading
from vibeserve_tui.evaluation.gate import Closed, Decision, decide
from vibeserve_tui.evaluation.gate_config import GateConfig, LookRule, Noise, Spread, Terms
from vibeserve_tui.metrics import GuardState, MetricSpec, Outcome, TimeBasis

QUICK = GateConfig.quick()
PATIENT = QUICK.model_copy(update={"hopeless": None})
HEADLINE = MetricSpec(name="output_throughput", level="c16", unit="tok/s", direction="max", role="headline")
TTFT = MetricSpec(name="median_ttft_ms", level="c16", unit="ms", direction="min", role="guard", tolerance=0.05)
MEMORY = MetricSpec(name="peak_rss_mib", unit="MiB", direction="min", role="guard", max=2048)


def blocks(*ds: float, cpu: Sequence[float | None] | None = None) -> list[Block]:
    return [Block(d=d, d_cpu=None if cpu is None else cpu[i], windows=4) for i, d in enumerate(ds)]


def guarded(d: float, guards: dict[str, Reading]) -> Block:
    return Block(d=d, readings=guards, windows=4)


def quick(*ds: float) -> Decision:
    return decide(blocks(*ds), QUICK)


def test_two_blocks_are_not_enough_for_an_ordinary_gain() -> None:
    decision = quick(0.2, 0.21)
    assert decision.outcome is None
    assert decision.reason == "need_more"
    assert decide([], QUICK).outcome is None


def test_a_clear_gain_is_accepted_at_the_first_look() -> None:
    # mean .11, sd .01, se .00577: .11 − 22.327 × .00577 = −.019 misses at .999; sd .002 passes.
    assert quick(0.10, 0.11, 0.12).outcome is None
    decision = quick(0.108, 0.110, 0.112)
    assert (decision.outcome, decision.reason, decision.used) == (Outcome.ACCEPTED, "bound", 3)
    assert decision.mean_d == pytest.approx(0.11)
    assert decision.looks[0].accept_bound == pytest.approx(0.11 - 22.327 * 0.002 / math.sqrt(3), abs=1e-5)


def test_a_gain_below_the_smallest_that_counts_is_not_accepted() -> None:
    decision = quick(0.0190, 0.0191, 0.0192)
    assert (decision.outcome, decision.reason) == (Outcome.REJECTED, "futile")


def test_no_gain_is_rejected_as_futile_at_the_first_look() -> None:
    decision = quick(0.001, -0.002, 0.0)
    assert (decision.outcome, decision.reason, decision.used) == (Outcome.REJECTED, "futile", 3)


def test_a_clear_loss_is_screened_out_after_one_block() -> None:
    decision = quick(-0.11)
    assert (decision.outcome, decision.reason, decision.used) == (Outcome.REJECTED, "screen", 1)
    assert quick(-0.09).outcome is None


def test_on_a_noisy_machine_the_screen_asks_for_a_larger_loss() -> None:
    noisy = Terms(noise=Noise(wall=Spread(sd=0.10, df=3)))
    assert decide(blocks(-0.3), QUICK, noisy).outcome is None
    assert decide(blocks(-0.5), QUICK, noisy).reason == "screen"


def test_noise_that_never_settles_ends_indecisive_after_the_last_look() -> None:
    series = (0.2, -0.05, 0.15, -0.02, 0.1, 0.0, 0.12, -0.04)
    assert decide(blocks(*series[:7]), PATIENT).outcome is None
    decision = decide(blocks(*series), PATIENT)
    assert (decision.outcome, decision.reason, decision.used) == (Outcome.INDECISIVE, "last_look", 8)
    assert [look.blocks for look in decision.looks] == [3, 4, 6, 8]


def test_what_is_not_likely_to_be_accepted_any_more_ends_at_the_next_look() -> None:
    series = (0.2, -0.05, 0.15, -0.02, 0.1, 0.0, 0.12, -0.04)
    decision = quick(*series)
    assert (decision.outcome, decision.reason, decision.used) == (Outcome.INDECISIVE, "hopeless", 6)
    assert quick(*series[:5]).outcome is None


def test_three_blocks_are_too_few_to_give_up_on() -> None:
    assert quick(0.3, -0.25, 0.1).outcome is None


def test_what_is_without_hope_goes_on_while_a_later_look_is_foreseen_to_reject_it() -> None:
    series = (-0.02, -0.18, 0.06, -0.16, -0.09, -0.11)
    assert quick(*series[:4]).outcome is None
    decision = quick(*series)
    assert (decision.outcome, decision.reason, decision.used) == (Outcome.REJECTED, "futile", 6)


def test_what_still_may_be_accepted_goes_on() -> None:
    assert quick(0.10, 0.02, 0.08, 0.04).outcome is None
    assert quick(0.10, 0.02, 0.08, 0.04, 0.07, 0.06).outcome is Outcome.ACCEPTED


def test_wall_time_without_hope_goes_on_while_cpu_time_may_accept() -> None:
    wild, hopeful = (0.3, -0.3, 0.1), (0.10, 0.04, 0.07)
    noisy = Terms(noise=NOISY, cpu_proxy=True)
    assert decide(blocks(*wild, cpu=hopeful), QUICK, noisy).outcome is None
    assert decide(blocks(*wild, 0.0, cpu=(-0.02, 0.03, -0.03, 0.02)), QUICK, noisy).reason == "hopeless"


@pytest.mark.parametrize(
    ("series", "used"), [((0.70, 0.80), 2), ((0.5, 0.45, 1.2), 3), ((0.71, 0.68, 0.9), 3)], ids=str
)
def test_a_leap_ends_early(series: tuple[float, ...], used: int) -> None:
    decision = quick(*series)
    assert (decision.outcome, decision.reason, decision.used) == (Outcome.ACCEPTED, "leap", used)


def test_a_leap_needs_every_block_and_a_machine_less_noisy_than_the_leap() -> None:
    assert quick(0.69, 0.80).outcome is None
    noisy = Terms(noise=Noise(wall=Spread(sd=0.20, df=3)))
    assert decide(blocks(0.70, 0.75), QUICK, noisy).outcome is None
    assert decide(blocks(0.81, 0.85), QUICK, noisy).reason == "leap"


def test_a_leap_waits_for_the_look_when_a_guard_looks_broken() -> None:
    slower = {TTFT.key: Reading(a=100, b=110, d=-0.095)}
    terms = Terms(guards=(TTFT,))
    assert decide([guarded(0.8, slower)] * 2, QUICK, terms).outcome is None
    assert decide([guarded(0.8, slower)] * 3, QUICK, terms).reason == "guard:median_ttft_ms@c16"


def test_thorough_takes_no_leaps() -> None:
    assert decide(blocks(2.0, 2.1, 2.0), GateConfig.thorough()).outcome is None
    assert decide(blocks(2.0, 2.1, 2.0, 2.1), GateConfig.thorough()).outcome is Outcome.ACCEPTED


def test_later_blocks_never_change_a_decision() -> None:
    early = quick(0.108, 0.110, 0.112)
    assert quick(0.108, 0.110, 0.112, -3.0, -3.0) == early


def test_the_noise_floor_raises_the_smallest_gain_that_counts() -> None:
    terms = Terms(noise=Noise(wall=Spread(sd=0.06, df=3)))
    decision = decide(blocks(0.0300, 0.0301, 0.0302), QUICK, terms)
    assert decision.floor == pytest.approx(1.895 * 0.06 / math.sqrt(8), abs=1e-4)
    assert decision.delta == decision.floor
    assert decision.outcome is Outcome.REJECTED
    assert quick(0.0300, 0.0301, 0.0302).outcome is Outcome.ACCEPTED


def test_a_target_may_ask_for_a_larger_gain() -> None:
    assert decide(blocks(0.08, 0.081, 0.082), QUICK, Terms(min_effect=0.1)).reason == "futile"


# ---- guards ----


def test_a_guard_that_is_surely_worse_rejects_a_faster_candidate() -> None:
    worse = [guarded(0.11, {TTFT.key: Reading(100, 100 * math.exp(-d), d)}) for d in (-0.10, -0.11, -0.12)]
    decision = decide(worse, QUICK, Terms(guards=(TTFT,)))
    assert (decision.outcome, decision.reason) == (Outcome.REJECTED, "guard:median_ttft_ms@c16")
    assert decision.guards[0].state is GuardState.VIOLATED
    assert decision.guards[0].high_d == pytest.approx(-0.11 + 2.920 * 0.01 / math.sqrt(3), abs=1e-4)


def test_an_unresolved_guard_is_shown_and_does_not_reject() -> None:
    unsure = [guarded(0.11, {TTFT.key: Reading(100, 100, d)}) for d in (-0.40, 0.10, 0.05)]
    decision = decide(unsure, QUICK, Terms(guards=(TTFT,)))
    assert decision.outcome is Outcome.ACCEPTED
    assert decision.guards[0].state is GuardState.UNRESOLVED


def test_a_guard_within_its_tolerance_is_kept_and_one_not_reported_is_missing() -> None:
    calm = [guarded(0.11, {TTFT.key: Reading(100, 101, -0.01), MEMORY.key: Reading(None, None, None)})] * 3
    ttft, memory = decide(calm, QUICK, Terms(guards=(TTFT, MEMORY))).guards
    assert ttft.state is GuardState.KEPT
    assert memory.state is GuardState.MISSING
    assert memory.mean_d is None


def test_one_block_over_the_memory_limit_rejects() -> None:
    terms = Terms(guards=(MEMORY,))
    used = [guarded(0.11, {MEMORY.key: Reading(900, b, math.log(900 / b))}) for b in (1500, 1600, 2100)]
    assert decide(used, QUICK, terms).reason == "guard:peak_rss_mib"
    modest = [guarded(0.11, {MEMORY.key: Reading(900, 2000, math.log(900 / 2000))})] * 3
    assert decide(modest, QUICK, terms).outcome is Outcome.ACCEPTED


def test_memory_with_a_tolerance_compares_the_worst_blocks() -> None:
    memory = MEMORY.model_copy(update={"max": None, "tolerance": 0.10})
    readings = [Reading(1000, 1000, 0.0), Reading(1000, 1000, 0.0), Reading(1000, 1200, math.log(1000 / 1200))]
    decision = decide([guarded(0.11, {memory.key: r}) for r in readings], QUICK, Terms(guards=(memory,)))
    assert decision.reason == "guard:peak_rss_mib"


def test_a_latency_limit_is_held_against_the_median_block() -> None:
    limited = TTFT.model_copy(update={"tolerance": None, "max": 200.0})
    for values, outcome in (((150, 150, 900), Outcome.ACCEPTED), ((150, 210, 900), Outcome.REJECTED)):
        series = [guarded(0.11, {limited.key: Reading(150, b, math.log(150 / b))}) for b in values]
        assert decide(series, QUICK, Terms(guards=(limited,))).outcome is outcome


def test_a_candidate_that_keeps_failing_requests_is_rejected_and_a_champion_that_does_too_excuses_it() -> None:
    failing = [Block(d=None, windows=4, void_windows=2, failed_windows=(0, 2))]
    assert decide(failing, QUICK).reason == "guard:errors"
    both = [Block(d=None, windows=4, void_windows=4, failed_windows=(2, 2))]
    assert decide(both, QUICK).outcome is None


# ---- void, crashed, unbelievable ----


@pytest.mark.parametrize("d", [None, math.nan, math.inf, -math.inf], ids=str)
def test_a_value_that_is_no_number_never_enters_an_average(d: float | None) -> None:
    decision = decide([Block(d=d), *blocks(0.108, 0.110, 0.112)], QUICK)
    assert (decision.outcome, decision.used) == (Outcome.ACCEPTED, 3)
    assert decide([Block(d=d), Block(d=d)], QUICK).outcome is Outcome.VOID


def test_two_void_blocks_end_it_with_their_reason() -> None:
    decision = decide([Block(d=0.1, void="environment"), *blocks(0.1), Block(d=0.1, void="environment")], QUICK)
    assert (decision.outcome, decision.reason, decision.used) == (Outcome.VOID, "environment", 1)


def test_too_many_void_windows_make_a_decision_worthless() -> None:
    patched = [Block(d=d, windows=5, void_windows=2) for d in (0.108, 0.110, 0.112)]
    assert (decide(patched, QUICK).outcome, decide(patched, QUICK).reason) == (Outcome.VOID, "void_windows")
    one_repeated = [Block(d=d, windows=5, void_windows=1) for d in (0.108, 0.110, 0.112)]
    assert decide(one_repeated, QUICK).outcome is Outcome.ACCEPTED


def test_a_candidate_that_crashes_twice_is_rejected_and_a_champion_that_does_is_void() -> None:
    crash = Block(d=None, crashed=Arm.B)
    assert decide([crash], QUICK).outcome is None
    decision = decide([crash, *blocks(0.1), crash], QUICK)
    assert (decision.outcome, decision.reason) == (Outcome.REJECTED, "crash")
    champion = decide([Block(d=None, crashed=Arm.A)] * 2, QUICK)
    assert (champion.outcome, champion.reason) == (Outcome.VOID, "champion_crash")


@pytest.mark.parametrize(
    ("ratio", "declared", "flagged"), [(6, True, True), (4, True, False), (4, False, True), (1.8, False, False)]
)
def test_a_gain_too_good_or_unexplained_is_flagged_and_still_accepted(
    ratio: float, declared: bool, flagged: bool
) -> None:
    series = blocks(*[math.log(ratio) + step for step in (0, 0.001, 0.002)])
    decision = decide(series, QUICK, Terms(mechanism_declared=declared))
    assert decision.outcome is Outcome.ACCEPTED
    assert decision.too_good is flagged


def test_what_no_device_can_do_is_void() -> None:
    def beyond(spec: MetricSpec, value: float, bound: float) -> Decision:
        series = [Block(d=0.8, readings={spec.key: Reading(100, value, 0.8)})] * 3
        return decide(series, QUICK, Terms(headlines=(spec,), bounds={spec.key: bound}))

    latency = HEADLINE.model_copy(update={"name": "median_ttft_ms", "direction": "min"})
    assert (beyond(HEADLINE, 250, 240).outcome, beyond(HEADLINE, 250, 240).reason) == (Outcome.VOID, "roofline")
    assert beyond(HEADLINE, 230, 240).outcome is Outcome.ACCEPTED
    assert beyond(latency, 9, 10).outcome is Outcome.VOID
    assert beyond(latency, 11, 10).outcome is Outcome.ACCEPTED


# ---- CPU time ----

WILD = (0.2, -0.05, 0.15, -0.02, 0.1, 0.0, 0.12, -0.04)
STEADY = (0.10, 0.101, 0.102, 0.1, 0.1, 0.1, 0.1, 0.1)
NOISY = Noise(wall=Spread(sd=0.10, df=3), cpu=Spread(sd=0.01, df=3))


def test_cpu_time_may_accept_what_a_noisy_wall_leaves_open() -> None:
    decision = decide(blocks(*WILD, cpu=STEADY), QUICK, Terms(noise=NOISY, cpu_proxy=True))
    assert (decision.outcome, decision.basis, decision.provisional) == (
        Outcome.ACCEPTED,
        TimeBasis.CPU_PROXY,
        True,
    )
    assert decision.mean_d == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize(
    ("terms", "cpu"),
    [
        (Terms(noise=NOISY), STEADY),
        (Terms(noise=Noise(wall=Spread(sd=0.04, df=3)), cpu_proxy=True), STEADY),
        (Terms(noise=NOISY, cpu_proxy=True), (-0.5,) * 8),
        (Terms(noise=NOISY, cpu_proxy=True), None),
        (Terms(noise=NOISY, cpu_proxy=True), (None, *STEADY[1:])),
    ],
    ids=["proxy off", "wall quiet enough", "cpu worse", "cpu not reported", "cpu not reported once"],
)
def test_otherwise_an_open_wall_stays_indecisive(terms: Terms, cpu: Sequence[float | None] | None) -> None:
    decision = decide(blocks(*WILD, cpu=cpu), QUICK, terms)
    assert (decision.outcome, decision.reason, decision.provisional) == (Outcome.INDECISIVE, "hopeless", False)
    assert decide(blocks(*WILD, cpu=cpu), PATIENT, terms).reason == "last_look"


def test_cpu_time_never_rejects_what_wall_time_accepts() -> None:
    series = blocks(0.108, 0.11, 0.112, cpu=(-0.5, -0.5, -0.5))
    decision = decide(series, QUICK, Terms(noise=NOISY, cpu_proxy=True))
    assert (decision.outcome, decision.basis) == (Outcome.ACCEPTED, TimeBasis.WALL)


def test_on_a_machine_never_quiet_only_cpu_time_is_believed() -> None:
    terms = Terms(cpu_proxy=True, wall_trusted=False)
    assert decide(blocks(-5.0, -5.0, cpu=STEADY), QUICK, terms).outcome is None
    decision = decide(blocks(-5.0, -5.0, -5.0, cpu=STEADY), QUICK, terms)
    assert (decision.outcome, decision.used, decision.provisional) == (Outcome.ACCEPTED, 3, True)
    hopeless = decide(blocks(5.0, 5.0, 5.0, cpu=(0.0, 0.001, 0.0)), QUICK, terms)
    assert (hopeless.outcome, hopeless.reason) == (Outcome.INDECISIVE, "environment")


def test_a_guard_broken_on_untrusted_wall_time_holds_back_but_does_not_reject() -> None:
    series = [Block(d=0.1, d_cpu=cpu, readings={TTFT.key: Reading(100, 120, -0.18)}, windows=4) for cpu in STEADY[:3]]
    decision = decide(series, QUICK, Terms(guards=(TTFT,), cpu_proxy=True, wall_trusted=False))
    assert (decision.outcome, decision.reason) == (Outcome.INDECISIVE, "guard:median_ttft_ms@c16")


# ---- closing, settings ----


def test_running_out_of_time_is_indecisive_and_a_busy_machine_void() -> None:
    assert decide(blocks(0.1, 0.1), QUICK, closed=Closed.WALL_CAP).outcome is Outcome.INDECISIVE
    assert decide(blocks(0.1, 0.1), QUICK, closed=Closed.WALL_CAP).reason == "wall_cap"
    assert decide([], QUICK, closed=Closed.ENVIRONMENT).outcome is Outcome.VOID
    patchy = [Block(d=0.1, windows=4, void_windows=2)]
    assert decide(patchy, QUICK, closed=Closed.WALL_CAP).reason == "void_windows"


def test_each_retest_halves_every_error_probability_so_that_all_tries_together_stay_bounded() -> None:
    for times in range(8):
        for rule, again in zip(QUICK.looks, QUICK.for_retest(times).looks, strict=True):
            assert 1 - again.p_accept == pytest.approx((1 - rule.p_accept) / 2**times)
    assert QUICK.for_retest(0) == QUICK


def test_the_error_probabilities_of_all_looks_sum_to_the_promised_ones() -> None:
    assert math.fsum(1 - rule.p_accept for rule in QUICK.looks) == pytest.approx(0.010)
    assert math.fsum(1 - rule.p_accept for rule in GateConfig.thorough().looks) == pytest.approx(0.006)
    assert math.fsum(1 - rule.p_accept for rule in GateConfig.gpu().looks) == pytest.approx(0.006)


def test_a_confirmation_asks_only_whether_the_interval_excludes_one() -> None:
    config = QUICK.for_confirmation()
    assert decide(blocks(0.010, 0.011, 0.012), config).outcome is None
    assert decide(blocks(0.010, 0.011, 0.012, 0.013), config).outcome is Outcome.ACCEPTED
    open_ended = (0.05, -0.02, 0.03, -0.04)
    assert decide(blocks(*open_ended), config).outcome is None
    assert decide(blocks(*open_ended * 2), config).outcome is Outcome.INDECISIVE
    assert decide(blocks(-0.5, -0.5, -0.51, -0.5), config).outcome is Outcome.REJECTED


def test_looks_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="increasing"):
        GateConfig.model_validate({**QUICK.model_dump(), "looks": [{"blocks": 4, "p_accept": 0.99}] * 2})
    with pytest.raises(ValidationError):
        LookRule(blocks=1, p_accept=0.99)


def test_noise_is_pooled_about_the_mean_of_each_series() -> None:
    pooled = Spread.of([0.0, 0.1], [1.0, 1.1], [5.0])
    assert pooled is not None
    assert (pooled.sd, pooled.df) == (pytest.approx(math.sqrt(0.005)), 2)
    assert Spread.of([1.0], []) is None


@pytest.mark.parametrize(("seconds", "pairs"), [(0.5, 2), (1.0, 2), (1.9, 2), (2.0, 1), (7.7, 1)])
def test_a_block_takes_no_more_pairs_than_long_windows_leave_needed(seconds: float, pairs: int) -> None:
    assert GateConfig.quick().for_windows_of(seconds).pairs == pairs
