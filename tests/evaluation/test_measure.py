"""The restart-blocked procedure on fake sides: order, faults, limits, and what comes out."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

import pytest

from tests.evaluation.fake_sides import FakeSide, Machine
from vibeserve_tui.backend import Device
from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.block_run import BlockFinished, BlockStarted, LookTaken, MeasureEvent, WindowMeasured
from vibeserve_tui.evaluation.blocks import Arm
from vibeserve_tui.evaluation.evidence import noise_of
from vibeserve_tui.evaluation.gate_config import GateConfig
from vibeserve_tui.evaluation.measure import Measurement, MeasurePlan, confirm, holds_two, measure, noise, slots_differ
from vibeserve_tui.metrics import Basis, GuardState, MetricSpec, Outcome, Role, TimeBasis

E = TypeVar("E", bound=MeasureEvent)
THROUGHPUT = MetricSpec(name="output_throughput", level="c16", unit="tok/s", direction="max", role="headline")
TTFT = MetricSpec(
    name="p90_ttft_ms", level="c16", unit="ms", direction="min", role="guard", tolerance=0.05, basis="baseline"
)
MEMORY = MetricSpec(name="peak_rss_mib", unit="MiB", direction="min", role="guard", max=2048)
SINGLE = MetricSpec(name="median_ttft_ms", level="c1", unit="ms", direction="min")
METRICS = (THROUGHPUT, SINGLE, TTFT, MEMORY)


@dataclass(frozen=True)
class Answer:
    ok: bool
    reasons: Sequence[str] = ()


@dataclass
class Sentinel:
    """Gives its answers one after the other, then the last one for ever."""

    answers: list[Answer]
    asked: int = 0

    def __call__(self) -> Answer:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@dataclass
class Bench:
    """Champion A and candidate B on one machine."""

    machine: Machine = field(default_factory=Machine)
    events: list[MeasureEvent] = field(default_factory=list)
    plan: MeasurePlan = field(
        default_factory=lambda: MeasurePlan(
            metrics=METRICS, config=GateConfig.quick(), workload_sha256="w1", device_fingerprint="cpu-1"
        )
    )

    def side(self, label: str, speed: float = 100.0, **fields: object) -> FakeSide:
        return replace(FakeSide(self.machine, label), speed=speed, **fields)  # type: ignore[arg-type]

    async def measured(self, champion: FakeSide, candidate: FakeSide) -> Measurement:
        return await measure(champion, candidate, self.plan, self.events.append)

    def said(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_real_gain_is_accepted(bench: Bench) -> None:
    result = await bench.measured(bench.side("A"), bench.side("B", 130, random=Random(8)))
    assert result.comparison.outcome is Outcome.ACCEPTED
    assert result.comparison.ratio == pytest.approx(1.3, rel=0.05)
    assert result.comparison.ci_low is not None
    assert result.comparison.ci_low > 1.1


async def test_a_gain_of_three_ends_after_two_blocks(bench: Bench) -> None:
    result = await bench.measured(bench.side("A"), bench.side("B", 300, random=Random(8)))
    assert (result.comparison.outcome, result.comparison.reason) == (Outcome.ACCEPTED, "leap")
    assert len(result.evidence.blocks) == 2
    assert result.comparison.too_good


async def test_a_slowdown_of_10_percent_is_always_rejected() -> None:
    for seed in range(20):
        bench = Bench()
        slower = bench.side("B", 90, random=Random(1000 + seed))
        result = await bench.measured(bench.side("A", random=Random(seed)), slower)
        assert result.comparison.outcome is Outcome.REJECTED


async def test_identical_sides_are_not_accepted_on_an_ordinary_machine() -> None:
    for seed in range(20):
        bench = Bench()
        champion = bench.side("A", start_noise=0.01, random=Random(seed))
        twin = bench.side("B", start_noise=0.01, random=Random(1000 + seed))
        result = await bench.measured(champion, twin)
        assert result.comparison.outcome in (Outcome.REJECTED, Outcome.INDECISIVE)


async def test_blocks_alternate_abba_and_baab_and_who_starts_first(bench: Bench) -> None:
    result = await bench.measured(bench.side("A"), bench.side("B", 130, random=Random(8)))
    assert [block.order for block in result.evidence.blocks[:3]] == ["ABBA", "BAAB", "ABBA"]
    assert [event.first for event in bench.said(BlockStarted)][:3] == [Arm.A, Arm.B, Arm.A]
    starts = [line[0] for line in bench.machine.log if line.endswith("start")]
    assert starts[:4] == ["A", "B", "B", "A"]


async def test_thorough_pairs_run_abba_baab_within_a_block(bench: Bench) -> None:
    bench.plan = replace(bench.plan, config=GateConfig.thorough())
    result = await bench.measured(bench.side("A"), bench.side("B", 130, random=Random(8)))
    assert [block.order for block in result.evidence.blocks[:2]] == ["ABBABAAB", "BAABABBA"]


async def test_both_sides_start_at_once(bench: Bench) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await bench.measured(bench.side("A", start_s=0.2), bench.side("B", 300, start_s=0.2))
    assert loop.time() - began < 2 * 2 * 0.2


async def test_both_sides_of_a_pair_get_one_slice_and_every_pair_another(bench: Bench) -> None:
    result = await bench.measured(bench.side("A"), bench.side("B", 130, random=Random(8)))
    champion, candidate = bench.machine.slices["A"], bench.machine.slices["B"]
    assert sorted(champion) == sorted(candidate)
    assert len(set(champion)) == len(champion)
    assert {seed for _, seed, _ in champion} == {result.evidence.seed}


async def test_every_evaluation_draws_a_new_seed(bench: Bench) -> None:
    first = await bench.measured(bench.side("A"), bench.side("B", 300))
    second = await bench.measured(bench.side("A"), bench.side("B", 300))
    assert first.evidence.seed != second.evidence.seed


async def test_only_the_levels_of_headline_and_guards_are_measured(bench: Bench) -> None:
    result = await bench.measured(bench.side("A"), bench.side("B", 130, random=Random(8)))
    assert {level for level, _, _ in bench.machine.slices["A"]} == {"c16"}
    assert [figure.spec.key for figure in result.comparison.figures] == [
        "output_throughput@c16",
        "p90_ttft_ms@c16",
        "peak_rss_mib",
    ]


async def test_a_guard_at_another_level_is_measured_too(bench: Bench) -> None:
    guard = SINGLE.model_copy(update={"tolerance": 0.05}).as_guard()
    bench.plan = replace(bench.plan, metrics=(THROUGHPUT, guard))
    slow_start = bench.side("B", 130, ttft_ms=60, random=Random(8))
    result = await bench.measured(bench.side("A"), slow_start)
    assert {level for level, _, _ in bench.machine.slices["A"]} == {"c16", "c1"}
    assert result.comparison.reason == "guard:median_ttft_ms@c1"


async def test_a_guard_against_the_baseline_does_not_bind_at_the_gate(bench: Bench) -> None:
    result = await bench.measured(bench.side("A"), bench.side("B", 130, ttft_ms=500, random=Random(8)))
    assert result.comparison.outcome is Outcome.ACCEPTED
    assert [guard.spec.key for guard in result.comparison.guards] == ["peak_rss_mib"]


async def test_of_several_headlines_their_mean_decides_and_none_may_get_worse(bench: Bench) -> None:
    latency = SINGLE.model_copy(update={"role": Role.HEADLINE, "level": "c16"})
    bench.plan = replace(bench.plan, metrics=(THROUGHPUT, latency))
    both = await bench.measured(bench.side("A"), bench.side("B", 130, ttft_ms=40, random=Random(8)))
    assert both.comparison.outcome is Outcome.ACCEPTED
    assert both.comparison.ratio == pytest.approx((1.3 * 50 / 40) ** 0.5, rel=0.05)
    traded = await bench.measured(bench.side("A"), bench.side("B", 160, ttft_ms=60, random=Random(8)))
    assert traded.comparison.reason == "guard:median_ttft_ms@c16"


async def test_too_much_memory_rejects(bench: Bench) -> None:
    result = await bench.measured(bench.side("A"), bench.side("B", 130, rss_mib=3000, random=Random(8)))
    assert result.comparison.reason == "guard:peak_rss_mib"
    assert result.comparison.guards[0].state is GuardState.VIOLATED


async def test_what_a_change_promises_to_keep_is_held_against_the_champion_beside_the_declared_guards(
    bench: Bench,
) -> None:
    promise = MEMORY.model_copy(update={"max": None, "tolerance": 0.4})
    faster_first_token = TTFT.model_copy(update={"basis": Basis.CHAMPION})
    bench.plan = replace(bench.plan, promised=(promise, faster_first_token))
    kept = await bench.measured(bench.side("A"), bench.side("B", 130, rss_mib=1200, random=Random(8)))
    assert kept.comparison.outcome is Outcome.ACCEPTED
    assert [guard.spec for guard in kept.comparison.guards] == [MEMORY, promise, faster_first_token]
    assert len({figure.spec.key for figure in kept.comparison.figures}) == len(kept.comparison.figures)
    broken = await bench.measured(bench.side("A"), bench.side("B", 130, rss_mib=1500, random=Random(8)))
    assert (broken.comparison.outcome, broken.comparison.reason) == (Outcome.REJECTED, "guard:peak_rss_mib")
    slow = await bench.measured(bench.side("A"), bench.side("B", 130, ttft_ms=200, random=Random(8)))
    assert slow.comparison.reason == "guard:p90_ttft_ms@c16"


async def test_a_tail_percentile_pools_the_requests_of_a_block(bench: Bench) -> None:
    result = await bench.measured(bench.side("A"), bench.side("B", 130, ttft_ms=25, random=Random(8)))
    tail = next(figure for figure in result.comparison.figures if figure.spec == TTFT)
    assert (tail.a, tail.b) == (pytest.approx(50 + 0.9 * 199, abs=1), pytest.approx(25 + 0.9 * 199, abs=1))


async def test_events_tell_the_live_chart_what_it_draws(bench: Bench) -> None:
    result = await bench.measured(bench.side("A"), bench.side("B", 130, random=Random(8)))
    window = bench.said(WindowMeasured)[0]
    assert (window.arm, window.block, window.pair, window.level, window.void) == (Arm.A, 1, 0, "c16", "")
    assert window.values["output_throughput"] == pytest.approx(100, rel=0.2)
    assert 32 <= len(window.ttft_ms) <= 64
    finished = bench.said(BlockFinished)
    assert [event.d for event in finished] == list(result.comparison.blocks)
    looks = bench.said(LookTaken)
    assert tuple(event.look for event in looks) == result.comparison.looks
    assert looks[-1].delta == result.comparison.delta


async def test_a_warm_up_that_does_not_settle_is_repeated_once(bench: Bench) -> None:
    await bench.measured(bench.side("A"), bench.side("B", 300, unsettled=True))
    warmed = [line for line in bench.machine.log if line.endswith("warm")]
    assert warmed == ["A warm", "B warm", "B warm", "B warm", "B warm", "A warm"]


# ---- faults ----


async def test_a_void_window_repeats_its_pair_on_a_fresh_slice(bench: Bench) -> None:
    result = await bench.measured(
        bench.side("A", bad_windows={1: "loop lag 9 ms"}), bench.side("B", 130, random=Random(8))
    )
    first = result.evidence.blocks[0]
    assert first.order == "AABBA"
    assert [timed.index for timed in first.windows] == [0, 1, 1, 2, 2]
    assert bench.said(WindowMeasured)[0].void == "loop lag 9 ms"
    assert result.comparison.outcome is Outcome.ACCEPTED


async def test_a_window_that_is_void_twice_costs_its_pair_only(bench: Bench) -> None:
    bad = {1: "lost response", 2: "lost response"}
    result = await bench.measured(bench.side("A", bad_windows=bad), bench.side("B", 130, random=Random(8)))
    assert result.evidence.blocks[0].order == "AABA"
    assert result.comparison.outcome is Outcome.ACCEPTED


async def test_windows_that_stay_void_end_the_comparison_void(bench: Bench) -> None:
    bad = dict.fromkeys(range(1, 100), "loop lag 9 ms")
    result = await bench.measured(bench.side("A", bad_windows=bad), bench.side("B", 300))
    assert (result.comparison.outcome, result.comparison.reason) == (Outcome.VOID, "void_windows")
    assert len(result.evidence.blocks) == 2


async def test_sides_that_were_sent_different_requests_are_never_compared(bench: Bench) -> None:
    result = await bench.measured(bench.side("A"), bench.side("B", 300, wrong_slice=True))
    assert result.comparison.outcome is Outcome.VOID
    assert result.comparison.mean_d is None


async def test_a_candidate_that_drops_requests_is_rejected(bench: Bench) -> None:
    result = await bench.measured(bench.side("A"), bench.side("B", 300, failed_requests=1))
    assert (result.comparison.outcome, result.comparison.reason) == (Outcome.REJECTED, "guard:errors")


async def test_a_candidate_that_crashes_twice_is_rejected_and_nothing_stays_up(bench: Bench) -> None:
    result = await bench.measured(bench.side("A"), bench.side("B", 300, crash_in=frozenset({1, 2})))
    assert (result.comparison.outcome, result.comparison.reason) == (Outcome.REJECTED, "crash")
    assert [block.crashed for block in result.evidence.blocks] == [Arm.B, Arm.B]
    assert "signal 9" in result.evidence.blocks[0].notes[0]
    assert bench.machine.up == set()


async def test_one_crash_is_forgiven(bench: Bench) -> None:
    result = await bench.measured(bench.side("A"), bench.side("B", 300, crash_in=frozenset({1})))
    assert (result.comparison.outcome, result.comparison.used) == (Outcome.ACCEPTED, 2)
    assert [event.void for event in bench.said(BlockFinished)] == ["crash: B died with signal 9", "", ""]


async def test_a_candidate_that_never_gets_ready_does_not_wait_for_the_champion(bench: Bench) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    result = await bench.measured(
        bench.side("A", start_s=2.0), bench.side("B", stillborn=frozenset({1, 2}), start_s=0.001)
    )
    assert result.comparison.reason == "crash"
    assert loop.time() - began < 1.5
    assert bench.machine.up == set()


async def test_a_champion_that_dies_makes_the_comparison_void(bench: Bench) -> None:
    result = await bench.measured(bench.side("A", crash_in=frozenset({1, 2})), bench.side("B"))
    assert (result.comparison.outcome, result.comparison.reason) == (Outcome.VOID, "champion_crash")


async def test_cancelling_stops_both_servers(bench: Bench) -> None:
    task = asyncio.create_task(bench.measured(bench.side("A", start_s=0.05), bench.side("B", start_s=0.01)))
    await asyncio.wait_for(bench.machine.first_up.wait(), timeout=5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.machine.up == set()


async def test_an_error_that_is_no_server_s_fault_ends_the_evaluation_and_stops_both(bench: Bench) -> None:
    def broken(_event: MeasureEvent) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await measure(bench.side("A"), bench.side("B"), bench.plan, broken)
    assert bench.machine.up == set()


# ---- environment and limits ----


async def test_it_waits_until_the_machine_is_quiet_and_the_wait_does_not_count(bench: Bench) -> None:
    ready = Sentinel([Answer(False, ["foreign CPU 0.8 of 2 cores"]), Answer(True)])
    capped = GateConfig.quick().model_copy(update={"wall_cap_s": 0.9})
    bench.plan = replace(bench.plan, config=capped, ready=ready, ready_limit_s=5)
    result = await bench.measured(bench.side("A"), bench.side("B", 300))
    assert ready.asked == 2
    assert result.comparison.outcome is Outcome.ACCEPTED
    assert result.comparison.took_s < 0.9


async def test_a_machine_never_quiet_is_void_without_cpu_time(bench: Bench) -> None:
    bench.plan = replace(bench.plan, ready=Sentinel([Answer(False, ["foreign CPU"])]), ready_limit_s=0)
    result = await bench.measured(bench.side("A"), bench.side("B", 300))
    assert (result.comparison.outcome, result.comparison.reason) == (Outcome.VOID, "environment")
    assert result.evidence.conditions == ("foreign CPU",)
    assert bench.machine.log == []


async def test_a_machine_never_quiet_goes_on_with_cpu_time_where_that_is_allowed(bench: Bench) -> None:
    never = Sentinel([Answer(False, ["foreign CPU"])])
    bench.plan = replace(bench.plan, ready=never, ready_limit_s=0, trusted=never, cpu_proxy=True)
    result = await bench.measured(bench.side("A"), bench.side("B", 130, random=Random(8)))
    assert (result.comparison.outcome, result.comparison.basis) == (Outcome.ACCEPTED, TimeBasis.CPU_PROXY)
    assert result.comparison.provisional


async def test_blocks_on_a_disturbed_machine_do_not_count(bench: Bench) -> None:
    trusted = Sentinel([Answer(False, ["steal 12 %"]), Answer(True)])
    bench.plan = replace(bench.plan, trusted=trusted)
    result = await bench.measured(bench.side("A"), bench.side("B", 300))
    assert (result.comparison.outcome, result.comparison.blocks[0]) == (Outcome.ACCEPTED, None)
    assert result.evidence.blocks[0].notes == ("steal 12 %",)

    bench.plan = replace(bench.plan, trusted=Sentinel([Answer(False, ["steal 12 %"])]))
    disturbed = await bench.measured(bench.side("A"), bench.side("B", 300))
    assert (disturbed.comparison.outcome, disturbed.comparison.reason) == (Outcome.VOID, "environment")


async def test_no_block_is_started_after_the_wall_cap(bench: Bench) -> None:
    bench.plan = replace(bench.plan, config=GateConfig.quick().model_copy(update={"wall_cap_s": 0.001}))
    result = await bench.measured(bench.side("A"), bench.side("B", 130))
    assert (result.comparison.outcome, result.comparison.reason) == (Outcome.INDECISIVE, "wall_cap")
    assert len(result.evidence.blocks) == 1


async def test_sides_that_do_not_fit_together_run_one_at_a_time(bench: Bench) -> None:
    bench.plan = replace(bench.plan, one_at_a_time=True)
    candidate = bench.side("B", 300)
    result = await bench.measured(bench.side("A"), candidate)
    assert [block.order for block in result.evidence.blocks] == ["AABB", "BBAA"]
    assert result.comparison.outcome is Outcome.ACCEPTED
    assert bench.machine.slices["A"] == bench.machine.slices["B"]
    assert candidate.resumed == candidate.starts, "its answers between windows are looked at all the same"


@pytest.mark.parametrize(
    ("peak_rss_mib", "unified", "fits"),
    [(4096, True, True), (4097, True, False), (None, True, True), (4097, False, True)],
)
def test_two_servers_run_side_by_side_where_memory_is_known_to_hold_them_or_not_known(
    peak_rss_mib: float | None, unified: bool, fits: bool
) -> None:
    device = Device(
        id="cpu:0", name="x", vendor="x", memory_total=10 << 30, memory_usable=8 << 30, unified=unified, compute_units=2,
        capabilities=(), os="x", driver=None, runtime={}, fingerprint="x",
    )  # fmt: skip
    assert holds_two(device, peak_rss_mib) is fits


def test_a_plan_without_a_headline_is_refused() -> None:
    with pytest.raises(MeasurementError, match="headline"):
        MeasurePlan(metrics=(SINGLE,), config=GateConfig.quick(), workload_sha256="w", device_fingerprint="d")


# ---- A/A and confirmation ----


async def test_a_side_against_itself_gives_the_noise_and_its_own_figures(bench: Bench) -> None:
    seed = bench.side("S", start_noise=0.05, window_noise=0.0)
    first = await noise(seed, 2, bench.plan, bench.events.append)
    second = await noise(seed, 2, bench.plan, bench.events.append)
    assert (first.comparison.outcome, first.comparison.reason) == (Outcome.INDECISIVE, "noise_run")
    assert len(first.evidence.blocks) == 2
    assert first.comparison.figures[0].a == pytest.approx(100, rel=0.2)
    pooled = noise_of([first.evidence, second.evidence])
    assert pooled.wall is not None
    assert pooled.wall.df == 2
    assert 0.001 < pooled.wall.sd < 0.3
    assert pooled.cpu is not None


async def test_a_side_that_differs_from_itself_in_every_block_shows_a_slot_with_an_advantage(bench: Bench) -> None:
    same = await noise(bench.side("S"), 4, bench.plan, bench.events.append)
    assert not slots_differ(same)
    # What an advantage of the second slot would look like.
    apart = await bench.measured(bench.side("A", start_noise=0.001), bench.side("B", 110, start_noise=0.001))
    assert slots_differ(apart)


async def test_the_noise_raises_the_gain_that_counts(bench: Bench) -> None:
    wild = await noise(bench.side("S", start_noise=0.2), 4, bench.plan, bench.events.append)
    bench.plan = replace(bench.plan, noise=noise_of([wild.evidence]))
    result = await bench.measured(bench.side("A"), bench.side("B", 300))
    assert result.comparison.delta == result.comparison.floor > 0.02


@pytest.mark.parametrize(("commit", "tokens", "basis"), [("seed", 100, Basis.BASELINE), ("last", 110, Basis.CHAMPION)])
async def test_a_confirmation_measures_all_levels_against_baseline_or_last_champion(
    bench: Bench, commit: str, tokens: float, basis: Basis
) -> None:
    champion = bench.side("C", 130, commit="champion", random=Random(8))
    other = bench.side("S", tokens, commit=commit, random=Random(9))
    result = await confirm(champion, other, basis, bench.plan, bench.events.append)
    assert result.comparison.outcome is Outcome.ACCEPTED
    assert (result.comparison.champion, result.comparison.candidate) == (commit, "champion")
    assert len(result.evidence.blocks) == 4
    assert {level for level, _, _ in bench.machine.slices["S"]} == {"c16", "c1"}


async def test_two_confirmations_ask_different_questions(bench: Bench) -> None:
    champion, seed = bench.side("C", 130, random=Random(8)), bench.side("S")
    results = [await confirm(champion, seed, Basis.BASELINE, bench.plan, bench.events.append) for _ in range(2)]
    assert results[0].evidence.seed != results[1].evidence.seed


async def test_a_confirmation_holds_the_baseline_guards(bench: Bench) -> None:
    champion = bench.side("C", 130, ttft_ms=500, random=Random(8))
    result = await confirm(champion, bench.side("S"), Basis.BASELINE, bench.plan, bench.events.append)
    assert result.comparison.reason == "guard:p90_ttft_ms@c16"
    assert [guard.spec.basis for guard in result.comparison.guards] == [Basis.BASELINE]


async def test_a_gain_that_is_not_there_is_not_confirmed(bench: Bench) -> None:
    champion = bench.side("C", random=Random(8))
    result = await confirm(champion, bench.side("S"), Basis.BASELINE, bench.plan, bench.events.append)
    assert result.comparison.outcome is not Outcome.ACCEPTED
    assert len(result.evidence.blocks) in (4, 8)
