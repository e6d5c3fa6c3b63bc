"""What the timed run's own answers are held against, on a server in process and a real reference process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from tests.evaluation.load_windows import IDLE_CLIENT, ON_TIME, report
from tests.evaluation.toy_server import ToyServer
from tests.evaluation.toy_target import toy_target
from vibeserve_tui.evaluation import live_side
from vibeserve_tui.evaluation.arrivals import arrival_times
from vibeserve_tui.evaluation.blocks import Window
from vibeserve_tui.evaluation.live_side import CRUMBS, DEADLINE_S, PROBES, LiveRun, LiveSide, WindowPlan, WrongAnswers
from vibeserve_tui.evaluation.load_plan import Call, LoadPlan
from vibeserve_tui.evaluation.load_report import CallReport, ClientUse, Fault, LoadReport
from vibeserve_tui.evaluation.load_report import Usage as Tokens
from vibeserve_tui.evaluation.reference import ReferenceService, reference_command
from vibeserve_tui.evaluation.testbed import FLOOD
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.execution.box import Usage
from vibeserve_tui.inputs.target import LoadedTarget, load_target
from vibeserve_tui.inputs.workload_spec import ClosedLevel
from vibeserve_tui.metrics import MetricSpec


async def nothing() -> None:
    pass


@dataclass
class Timed:
    """The toy server behind the seam of a live one; `spoil` changes what the load generator sees."""

    toy: ToyServer
    spoil: Callable[[CallReport], None] = lambda report: None
    spoils_probes: bool = False
    client: ClientUse = IDLE_CLIENT
    served: object = field(
        default_factory=lambda: SimpleNamespace(host="127.0.0.1", port=1, resume=nothing, ready_s=0.25)
    )
    plans: list[LoadPlan] = field(default_factory=list)

    async def run(self, plan: LoadPlan) -> LoadReport:
        self.plans.append(plan)
        return report(*await self._answers(plan.calls, self.spoil), of=plan, client=self.client)

    async def send(self, calls: Sequence[Call], *, concurrency: int) -> list[CallReport]:
        return await self._answers(calls, self.spoil if self.spoils_probes else lambda report: None)

    async def _answers(self, calls: Sequence[Call], spoil: Callable[[CallReport], None]) -> list[CallReport]:
        answers = await self.toy.send(calls, concurrency=1)
        for answer in answers:
            answer.t_sent, answer.t_end = 0.0, 1.0
            answer.chunk_t = [0.001 * number for number in range(1, len(answer.chunk_ids) + 1)]
            spoil(answer)
        return answers

    async def usage(self) -> Usage:
        return await self.toy.usage()

    async def counters(self) -> dict[str, int]:
        return {}


@dataclass
class Bench:
    target: LoadedTarget
    reference: ReferenceService

    def run(self, server: Timed | None = None) -> tuple[LiveRun, LiveSide]:
        workload = Workload.load(self.target)
        server = server or self.server()
        bed = SimpleNamespace(target=self.target)
        side = LiveSide("r1", "c" * 40, bed, workload, {}, self.reference)  # type: ignore[arg-type]
        return LiveRun(side, server), side  # type: ignore[arg-type]

    def server(self, **how: object) -> Timed:
        return Timed(ToyServer(Workload.load(self.target).corpus, self.target.model_dir), **how)  # type: ignore[arg-type]


@pytest.fixture(params=[True, False], ids=["past the end", "to the end"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    target = toy_target(tmp_path)
    path = target.root / "target.toml"
    if not request.param:
        path.write_text(path.read_text().replace("ignore_eos = true", "ignore_eos = false"))
    target = load_target(target.root)
    reference = await ReferenceService.start(
        reference_command(target, swaps=tmp_path), target.model_dir, log=tmp_path / "log"
    )
    yield Bench(target, reference)
    await reference.close()


CLOSED = '{ id = "c1", mode = "closed", concurrency = 1, requests = 16 }'


def under(bench: Bench, level: str) -> Bench:
    """The same target with another load at c1."""
    path = bench.target.root / "target.toml"
    text = path.read_text()
    assert CLOSED in text
    path.write_text(text.replace(CLOSED, f'{{ id = "c1", requests = 16, {level} }}'))
    return replace(bench, target=load_target(bench.target.root))


async def test_a_trace_is_sent_at_its_own_times(bench: Bench) -> None:
    times = [round(0.5 * number, 1) for number in range(40)]
    shuffled = Random(5).sample(times, len(times))
    (bench.target.root / "benchmark" / "times.jsonl").write_text("".join(f'{{"at_s": {t}}}\n' for t in shuffled))
    run, _ = under(bench, 'mode = "trace", file = "benchmark/times.jsonl", factor = 2.0').run(server := bench.server())
    await run.window("c1", 5, 0)
    (plan,) = server.plans
    assert [call.at_s for call in plan.calls] == times[:16]
    assert plan.time_scale == 2.0
    assert plan.deadline_s == DEADLINE_S + 15.0


async def test_each_pair_has_arrivals_of_its_own_and_both_sides_the_same(bench: Bench) -> None:
    bench = under(bench, 'mode = "poisson", rate = 4.0')
    run, _ = bench.run(server := bench.server())
    for index in (0, 0, 1):
        await run.window("c1", 5, index)
    first, again, next_pair = map(arrival_times, server.plans)
    assert first == again != next_pair
    assert [plan.deadline_s for plan in server.plans] == [DEADLINE_S + 4.0] * 3


@pytest.mark.parametrize(
    ("level", "first_ms"),
    [('mode = "poisson", rate = 4.0, max_concurrency = 1', 501), ('mode = "closed", concurrency = 1', 1)],
)
async def test_a_server_that_keeps_an_open_loop_waiting_answers_for_it(
    bench: Bench, level: str, first_ms: float
) -> None:
    def kept_waiting(answer: CallReport) -> None:
        answer.t_sched = -0.5

    run, _ = under(bench, level).run(bench.server(spoil=kept_waiting))
    window = await run.window("c1", 5, 0)
    assert window.values["median_ttft_ms"] == pytest.approx(first_ms)
    assert window.samples["ttft_ms"][0] == pytest.approx(first_ms)


async def test_what_a_target_may_declare_is_measured(bench: Bench) -> None:
    path = bench.target.root / "target.toml"
    row = '{ name = "median_ttft_ms", level = "c1", unit = "ms", direction = "min" },'
    whole = row.replace("median_ttft_ms", "p90_e2el_ms").replace('"c1"', '"c16"')
    assert row in path.read_text()
    path.write_text(path.read_text().replace(row, f"{row}\n  {whole}"))
    run, _ = under(bench, 'mode = "closed", concurrency = 1, slo = { ttft_ms = 0.5 }').run()
    window = await run.window("c1", 5, 0)
    assert window.values["request_goodput"] == 0
    assert window.values["ready_s"] == 0.25
    assert len(window.samples["e2el_ms"]) == 16


async def test_what_a_recipe_promises_is_measured_like_what_the_target_declares(bench: Bench) -> None:
    run, side = bench.run(bench.server(client=replace(IDLE_CLIENT, loop_lag=replace(ON_TIME, p99_ms=30.0))))
    window = await run.window("c1", 5, 0)
    assert "itl_ms" not in window.samples and not window.violations
    side.promised = (MetricSpec(name="p99_itl_ms", unit="ms", direction="min", level="c1", role="guard"),)
    window = await run.window("c1", 5, 1)
    assert len(window.samples["itl_ms"]) > 16
    assert "loop_lag: p99 30.00 ms" in window.violations[0], "it voids what is finer than a p90"


async def test_right_answers_are_a_window_and_are_counted(bench: Bench) -> None:
    run, side = bench.run()
    window: Window = await run.window("c1", 5, 0)
    assert window.values["output_throughput"]
    assert side.verified == 16
    await run.resume()
    assert side.verified == 16 + PROBES


def cut(answer: CallReport) -> None:
    """Half of the answer, with all the books in order."""
    half = len(answer.chunk_ids) // 2
    del answer.chunk_ids[half:], answer.chunk_t[half:]
    answer.finish_reason = "stop"
    answer.usage = Tokens(answer.usage.prompt_tokens if answer.usage else 0, half)


def wrong(answer: CallReport) -> None:
    answer.chunk_ids[-1] = [9 if answer.chunk_ids[-1] != [9] else 10]


@pytest.mark.parametrize("spoil", [cut, wrong])
async def test_an_answer_that_is_short_or_wrong_ends_the_measurement(
    bench: Bench, spoil: Callable[[CallReport], None]
) -> None:
    decode = Workload.load(bench.target).corpus.tokenizer.decode

    def changed(answer: CallReport) -> None:
        spoil(answer)
        whole = decode(answer.token_ids)
        answer.chunk_text = [whole, *[""] * (len(answer.chunk_ids) - 1)]

    run, _ = bench.run(bench.server(spoil=changed))
    with pytest.raises(WrongAnswers, match="J9 answers of the timed run"):
        await run.window("c1", 5, 0)


async def test_an_answer_that_runs_on_is_noticed_whether_or_not_its_tokens_are_compared(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens would count as throughput."""
    monkeypatch.setattr(live_side, "LEAST_VERIFIED", 0)
    decode = Workload.load(bench.target).corpus.tokenizer.decode

    def runs_on(answer: CallReport) -> None:
        if answer.id == "r9":
            more = 200
            answer.chunk_ids = [*answer.chunk_ids, *([9] for _ in range(more))]
            answer.chunk_t = [*answer.chunk_t, *(answer.chunk_t[-1] for _ in range(more))]
            answer.chunk_text = [decode(answer.token_ids), *[""] * (len(answer.chunk_ids) - 1)]
            answer.usage = Tokens(answer.usage.prompt_tokens if answer.usage else 0, len(answer.chunk_ids))

    run, side = bench.run(bench.server(spoil=runs_on))
    with pytest.raises(WrongAnswers, match=r"r9: \d+ tokens where \d+ were asked for"):
        await run.window("c1", 5, 0)
    assert side.verified == 0


@pytest.mark.parametrize("flood", [{"bytes_read": 100 * FLOOD * 16}, {"reads": 100 * CRUMBS * 16}], ids=str)
async def test_who_floods_the_client_to_make_it_late_is_no_window_s_victim(bench: Bench, flood: dict[str, int]) -> None:
    run, _ = bench.run(bench.server(client=replace(IDLE_CLIENT, **flood)))
    with pytest.raises(WrongAnswers, match=f"{next(iter(flood)).partition('_')[0]} for"):
        await run.window("c1", 5, 0)


async def test_tokens_that_are_kept_back_where_it_counts_end_the_measurement(bench: Bench) -> None:
    def keeps_back(answer: CallReport) -> None:
        answer.chunk_t = [answer.chunk_t[-1] + 1e-6 * number for number in range(len(answer.chunk_t))]

    run, _ = bench.run(bench.server(spoil=keeps_back))
    await run.resume()
    with pytest.raises(WrongAnswers, match="tokens come at the end"):
        await run.window("c1", 5, 0)


async def test_a_server_that_is_honest_only_under_load_fails_a_probe(bench: Bench) -> None:
    run, _ = bench.run(bench.server(spoil=wrong, spoils_probes=True))
    with pytest.raises(WrongAnswers):
        await run.resume()


def refused(answer: CallReport) -> None:
    answer.error, answer.chunk_ids, answer.chunk_t, answer.chunk_text = "http_503", [], [], []


async def test_a_server_that_refuses_a_probe_fails_it(bench: Bench) -> None:
    run, _ = bench.run(bench.server(spoil=refused, spoils_probes=True))
    with pytest.raises(WrongAnswers, match="http_503"):
        await run.resume()


async def test_a_probe_that_was_cut_says_nothing(bench: Bench) -> None:
    def cut_off(answer: CallReport) -> None:
        answer.error = Fault.STALL

    run, side = bench.run(bench.server(spoil=cut_off, spoils_probes=True))
    await run.resume()
    assert side.verified == 0


@pytest.mark.parametrize(
    ("tokens_per_s", "plan"),
    [(None, WindowPlan()), (200.0, WindowPlan(1, 8.0)), (1600.0, WindowPlan(1, 1.0)), (4000.0, WindowPlan(3, 1.2))],
)
def test_a_window_is_the_fewest_passes_that_keep_the_champion_busy_for_long_enough(
    tokens_per_s: float | None, plan: WindowPlan
) -> None:
    level = ClosedLevel(id="c16", mode="closed", concurrency=16, requests=32)
    found = WindowPlan.of(level, tokens_per_s, tokens_per_request=50.0, window_s=1.0)
    assert (found.passes, found.seconds) == (plan.passes, pytest.approx(plan.seconds))
