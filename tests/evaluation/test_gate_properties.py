"""Laws that the gate keeps for every series."""

import math
from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from vibeserve_tui.evaluation.blocks import Arm, Block, BlockRecord, Reading, TimedWindow, Window, block_of
from vibeserve_tui.evaluation.gate import Closed, Decision, decide
from vibeserve_tui.evaluation.gate_config import GateConfig, Noise, Spread, Terms
from vibeserve_tui.metrics import Direction, MetricSpec, Outcome

configs = st.sampled_from([GateConfig.quick(), GateConfig.thorough(), GateConfig.gpu()])
noises = st.none() | st.floats(0, 0.3).map(lambda sd: Spread(sd=sd, df=3))
terms = noises.map(lambda spread: Terms(noise=Noise(wall=spread)))
level = st.floats(-1.5, 1.5)
spread_out = st.lists(st.floats(-0.2, 0.2), min_size=12, max_size=12)
series = st.builds(lambda centre, offsets: [centre + offset for offset in offsets], level, spread_out)


def blocks(ds: list[float]) -> list[Block]:
    return [Block(d=d) for d in ds]


def outcome(ds: list[float], config: GateConfig, conditions: Terms) -> Outcome | None:
    return decide(blocks(ds), config, conditions).outcome


@given(series, configs, terms)
def test_swapping_the_sides_never_accepts_both_ways(ds: list[float], config: GateConfig, conditions: Terms) -> None:
    forward = outcome(ds, config, conditions)
    backward = outcome([-d for d in ds], config, conditions)
    assert not (forward is Outcome.ACCEPTED and backward is Outcome.ACCEPTED)


@given(series, configs, terms, st.floats(0, 3))
@example([0.03 + 0.0001 * i for i in range(12)], GateConfig.quick(), Terms(), 2.0)
def test_a_larger_gain_never_turns_accept_into_anything_else(
    ds: list[float], config: GateConfig, conditions: Terms, more: float
) -> None:
    if outcome(ds, config, conditions) is Outcome.ACCEPTED:
        # Adding rounds the last bit of every d; a decision that hangs on it is not meant here.
        assert outcome([d + more + 1e-12 for d in ds], config, conditions) is Outcome.ACCEPTED


@given(series, configs, terms, st.randoms(use_true_random=False))
def test_the_order_of_blocks_between_two_looks_does_not_matter(
    ds: list[float], config: GateConfig, conditions: Terms, random: Random
) -> None:
    unhurried = config.model_copy(update={"screen": None, "leaps": ()})
    shuffled: list[float] = []
    for rule in unhurried.looks:
        segment = ds[len(shuffled) : rule.blocks]
        random.shuffle(segment)
        shuffled += segment
    assert decide(blocks(shuffled), unhurried, conditions) == decide(blocks(ds[: len(shuffled)]), unhurried, conditions)


@given(series, configs, terms)
def test_a_decision_is_the_same_however_many_blocks_follow_it(
    ds: list[float], config: GateConfig, conditions: Terms
) -> None:
    full = decide(blocks(ds), config, conditions)
    assert full.outcome is not None
    assert decide(blocks(ds[: full.used]), config, conditions) == full


@given(series, configs, terms)
def test_an_accepted_candidate_is_at_least_delta_better(ds: list[float], config: GateConfig, conditions: Terms) -> None:
    decision = decide(blocks(ds), config, conditions)
    if decision.outcome is Outcome.ACCEPTED:
        assert decision.mean_d is not None
        assert decision.mean_d >= decision.delta >= config.delta


bad = st.sampled_from([None, math.nan, math.inf, -math.inf])


@given(series, st.integers(0, 3), st.integers(0, 3), bad, bad)
def test_two_blocks_without_a_value_are_void_unless_the_gate_had_decided_before(
    ds: list[float], first: int, second: int, one: float | None, other: float | None
) -> None:
    config = GateConfig.thorough()
    mixed = blocks(ds)
    mixed.insert(first, Block(d=one))
    mixed.insert(second, Block(d=other))
    screened = decide(mixed, config).reason == "screen"
    assert screened or decide(mixed, config).outcome is Outcome.VOID


odd = st.none() | st.floats() | st.floats(-0.5, 0.5)
GUARD = MetricSpec(name="median_ttft_ms", level="c1", unit="ms", direction="min", role="guard", tolerance=0.05)
odd_blocks = st.builds(
    lambda d, d_cpu, guard: Block(d=d, d_cpu=d_cpu, readings={GUARD.key: Reading(*guard)}, windows=4),
    odd, odd, st.tuples(odd, odd, odd),
)  # fmt: skip


@given(st.lists(odd_blocks, max_size=14), configs, noises, st.booleans(), st.sampled_from([None, *Closed]))
@example([Block(d=1e308)] * 3 + [Block(d=0.1)] * 4, GateConfig.quick(), None, False, None)
def test_no_number_is_too_odd_to_be_answered(
    series: list[Block], config: GateConfig, spread: Spread | None, quiet: bool, closed: Closed | None
) -> None:
    terms = Terms(noise=Noise(wall=spread, cpu=spread), guards=(GUARD,), cpu_proxy=True, wall_trusted=quiet)
    decision = decide(series, config, terms, closed=closed)
    assert Decision.model_validate_json(decision.model_dump_json()) == decision
    if decision.outcome is Outcome.ACCEPTED:
        assert decision.mean_d is not None
        assert decision.delta <= decision.mean_d < 1500


measured = st.floats(1e-3, 1e6)
windows = st.lists(st.tuples(measured, measured), min_size=4, max_size=4)


def record(pairs: list[tuple[float, float]], scale: float = 1.0) -> BlockRecord:
    timed = [
        TimedWindow(arm=arm, level="c1", pair=i, index=i, at_s=0, window=Window(values={"speed": v * scale}, took_s=1))
        for i, values in enumerate(pairs)
        for arm, v in zip(Arm, values, strict=True)
    ]
    return BlockRecord(number=1, first=Arm.A, windows=tuple(timed))


def speed(direction: Direction) -> MetricSpec:
    return MetricSpec(name="speed", level="c1", unit="1/s", direction=direction, role="headline")


def d_of(pairs: list[tuple[float, float]], direction: Direction = Direction.MAX, scale: float = 1.0) -> float:
    d = block_of(record(pairs, scale), [speed(direction)]).d
    assert d is not None
    return d


@given(windows)
@example([(1.0, 1.0), (1.0, 0.96875), (54.0, 1.0), (54.0, 1.0)])
def test_swapping_the_sides_negates_a_block(pairs: list[tuple[float, float]]) -> None:
    assert d_of([(b, a) for a, b in pairs]) == -d_of(pairs)


@given(windows, st.floats(1e-3, 1e3))
def test_scaling_both_sides_changes_nothing(pairs: list[tuple[float, float]], scale: float) -> None:
    assert math.isclose(d_of(pairs, scale=scale), d_of(pairs), abs_tol=1e-9)


@given(windows)
def test_lower_is_better_is_higher_is_better_of_the_reciprocals(pairs: list[tuple[float, float]]) -> None:
    reciprocals = [(1 / a, 1 / b) for a, b in pairs]
    assert math.isclose(d_of(pairs, Direction.MIN), d_of(reciprocals), abs_tol=1e-9)


@given(windows, st.integers(0, 3), st.sampled_from(list(Arm)), st.sampled_from([None, 0.0, -1.0, math.nan, math.inf]))
def test_a_bad_window_costs_its_pair_and_nothing_else(
    pairs: list[tuple[float, float]], at: int, arm: Arm, value: float | None
) -> None:
    whole = record(pairs)
    broken = tuple(
        timed.model_copy(update={"window": Window(values={"speed": value}, took_s=1)})
        if (timed.pair, timed.arm) == (at, arm)
        else timed
        for timed in whole.windows
    )
    block = block_of(whole.model_copy(update={"windows": broken}), [speed(Direction.MAX)])
    assert block.d == d_of([pair for i, pair in enumerate(pairs) if i != at])
    assert (block.windows, block.void_windows) == (8, 1)


def test_processor_time_of_some_pairs_is_that_of_none() -> None:
    whole = record([(100.0, 110.0)] * 2)
    told = tuple(
        timed.model_copy(update={"window": timed.window.model_copy(update={"cpu_ms_per_token": 1.0 + timed.pair})})
        for timed in whole.windows
    )
    assert block_of(whole.model_copy(update={"windows": told}), [speed(Direction.MAX)]).d_cpu == 0
    for silent in (None, 0.0, -1.0, math.nan):
        last = told[-1].window.model_copy(update={"cpu_ms_per_token": silent})
        windows = (*told[:-1], told[-1].model_copy(update={"window": last}))
        assert block_of(whole.model_copy(update={"windows": windows}), [speed(Direction.MAX)]).d_cpu is None


def test_a_tail_of_fewer_pooled_requests_than_it_takes_has_no_value() -> None:
    tail = MetricSpec(name="p99_ttft_ms", level="c1", unit="ms", direction="min")

    def reading(requests: int) -> Reading:
        whole = record([(100.0, 110.0)] * 4)
        samples = {"ttft_ms": tuple(map(float, range(1, requests + 1)))}
        timed = [
            t.model_copy(update={"window": t.window.model_copy(update={"samples": samples})}) for t in whole.windows
        ]
        return block_of(whole.model_copy(update={"windows": timed}), [speed(Direction.MAX), tail]).readings[tail.key]

    assert reading(249) == Reading(None, None, None)
    assert reading(250).d == 0


@given(windows, st.integers(0, 3))
def test_a_pair_on_different_requests_is_left_out(pairs: list[tuple[float, float]], at: int) -> None:
    whole = record(pairs)
    mixed = tuple(
        timed.model_copy(update={"window": timed.window.model_copy(update={"slice_sha256": f"{at}{timed.arm}"})})
        if timed.pair == at
        else timed
        for timed in whole.windows
    )
    block = block_of(whole.model_copy(update={"windows": mixed}), [speed(Direction.MAX)])
    assert block.d == d_of([pair for i, pair in enumerate(pairs) if i != at])
    assert (block.windows, block.void_windows) == (8, 2)
