"""One side of a comparison on real servers: windows of load, their figures, and whether their answers were right.

Answers of the timed run itself are compared with the reference (J9), so a server cannot be honest when checked and
otherwise when timed. The comparison of answers takes place between windows, never inside one.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random, SystemRandom

from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.answers import fault_of
from vibeserve_tui.evaluation.arrivals import arrival_times
from vibeserve_tui.evaluation.blocks import Window
from vibeserve_tui.evaluation.load_level import Address, plan_of, timed
from vibeserve_tui.evaluation.load_plan import LoadPlan, Mode
from vibeserve_tui.evaluation.load_report import CallReport, Fault, LoadReport
from vibeserve_tui.evaluation.load_summary import Slos, figures, samples_ms, since_scheduled, summarise
from vibeserve_tui.evaluation.load_validity import ValidityRules, violations
from vibeserve_tui.evaluation.programs import benchmark_stream, run_program
from vibeserve_tui.evaluation.records import Stream, StreamVoid
from vibeserve_tui.evaluation.reference import ReferenceService
from vibeserve_tui.evaluation.streaming import kept_back
from vibeserve_tui.evaluation.testbed import FLOOD, LiveServer, Testbed
from vibeserve_tui.evaluation.told import Compared, Told, answer_rules
from vibeserve_tui.evaluation.workload import PlannedRequest, Workload, calls_of
from vibeserve_tui.execution.box import Usage
from vibeserve_tui.inputs.workload_spec import ClosedLevel, Level, TraceLevel
from vibeserve_tui.metrics import MetricSpec

DEADLINE_S = 120.0
"""For a closed loop; an open one has as long after its last request was due."""
SHOWN = frozenset({"ttft_ms", "tpot_ms"})
"""Quantities whose single requests are drawn while a window is looked at."""
WARM_CONCURRENCY = 4
WARM_REQUESTS = 400
AGREEMENT = 0.10
LEAST_VERIFIED = 17
"""Answers checked per window: over an evaluation's six windows or more that is at least a hundred."""
CRUMBS = 8
"""Reads for each token, of which an honest chunk takes one to three; for the same reason as FLOOD."""
PROBES = 2
"""Questions before a window, one after the other: about four per process and block, which only the engine counts."""

CUT = frozenset({Fault.TIMEOUT, Fault.STALL, Fault.DEADLINE, Fault.NOT_SENT})
"""How a probe ends that had no time left: an honest server's long answer may."""


class WrongAnswers(MeasurementError):
    """The timed run's own answers were wrong: the candidate fails the judge, whatever its speed."""


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """A level's window: whole passes over its request list, and the seconds that these take the champion."""

    passes: int = 1
    seconds: float = 0.0
    """0 = not known yet."""

    @classmethod
    def of(cls, level: Level, tokens_per_s: float | None, tokens_per_request: float, window_s: float) -> WindowPlan:
        """The fewest passes that take the champion, at this speed, at least `window_s`."""
        if not isinstance(level, ClosedLevel) or not tokens_per_s:
            return cls()
        pass_s = level.requests * tokens_per_request / tokens_per_s
        passes = max(1, math.ceil(window_s / pass_s))
        return cls(passes, passes * pass_s)


@dataclass(slots=True)
class LiveSide:
    """A commit to be measured. `reference` is set for a side whose answers are not proved yet."""

    label: str
    commit: str
    testbed: Testbed
    workload: Workload
    windows: Mapping[str, WindowPlan]
    """By level id."""
    reference: ReferenceService | None = None
    promised: tuple[MetricSpec, ...] = ()
    """Read beside the target's own metrics and guards."""
    verified: int = 0
    """Answers of the timed run, and to probes between its windows, that were compared with the reference."""
    compared: Compared = field(default_factory=Compared)
    counters: dict[str, int] = field(default_factory=dict)
    """What the server said about itself after its first window."""

    @property
    def tree(self) -> str:
        return self.testbed.store.tree_of(self.commit)

    @property
    def read(self) -> tuple[MetricSpec, ...]:
        """All metrics and guards that anybody looks at."""
        return (*self.testbed.target.spec.metric_specs, *self.promised)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[LiveRun]:
        async with self.testbed.serve(self.commit) as server:
            yield LiveRun(self, server)

    def level(self, level_id: str | None) -> Level:
        spec = self.testbed.target.spec
        return spec.levels[0] if level_id is None else spec.level(level_id)


@dataclass(slots=True)
class LiveRun:
    """A side that is up."""

    side: LiveSide
    server: LiveServer
    _random: SystemRandom = field(default_factory=SystemRandom)
    _probed: list[tuple[PlannedRequest, CallReport]] = field(default_factory=list)
    """Asked alone, between windows."""

    @property
    def _address(self) -> Address:
        return Address(self.server.served.host, self.server.served.port, self._path)

    @property
    def _path(self) -> str:
        return self.side.testbed.target.spec.endpoints[0].path

    async def warm(self, seconds: float) -> bool:
        """Load it for a while with requests of their own; whether its two halves went equally fast."""
        requests = self.side.workload.draw(self._random.getrandbits(48), WARM_REQUESTS // 4)
        plan = LoadPlan(
            host=self._address.host,
            port=self._address.port,
            mode=Mode.CLOSED,
            calls=calls_of(requests, self._path),
            concurrency=WARM_CONCURRENCY,
            deadline_s=DEADLINE_S,
            send_for_s=seconds,
        )
        report = await self.server.run(plan)
        return _halves_agree(report)

    async def window(self, level: str | None, seed: int, index: int) -> Window:
        declared = self.side.level(level)
        if self.side.testbed.target.spec.programs.benchmark is not None:
            return await self._program_window(declared.id, seed, index)
        requests = self._requests(declared, seed, index)
        # Each pair has arrivals of its own, or one lucky pattern would be in all of them.
        gaps = Random(f"{seed}:{index}:gaps").getrandbits(48)
        plan = plan_of(declared, requests, self._address, deadline_s=DEADLINE_S, seed=gaps)
        plan = replace(plan, deadline_s=DEADLINE_S + max(arrival_times(plan)))
        before = await self.server.usage()
        report = await self.server.run(plan)
        after = await self.server.usage()
        await self._verify(requests, report)
        await self._read_counters()
        return self._window(declared, plan, report, before, after)

    async def _program_window(self, level: str, seed: int, index: int) -> Window:
        """The target's own benchmark, on a draw that is the same for both sides of a pair."""
        draw = Random(f"{seed}:{index}").getrandbits(31)
        before, started = await self.server.usage(), time.perf_counter()
        ended = await run_program(self.side.testbed.target, self.server, "benchmark", draw=draw, level=level)
        took_s, after = time.perf_counter() - started, await self.server.usage()
        self.server.require_alive()
        await self._read_counters()
        stream = Stream()
        faults: tuple[str, ...] = ()
        try:
            stream = benchmark_stream(ended, self.side.testbed.target)
        except StreamVoid as void:
            faults = (str(void),)
        tokens = sum(sample.output_tokens or 0 for sample in stream.samples)
        ttfts = [sample.ttft_ms for sample in stream.samples if sample.level in ("", level)]
        return Window(
            values={**stream.values(level), "ready_s": self.server.served.ready_s},
            cpu_ms_per_token=1000 * (after.cpu_s - before.cpu_s) / tokens if tokens else None,
            peak_rss_mib=after.peak_rss_mib,
            violations=faults,
            samples={"ttft_ms": tuple(ttft for ttft in ttfts if ttft is not None)},
            slice_sha256=hashlib.sha256(f"{draw}:{level}".encode()).hexdigest(),
            took_s=took_s,
        )

    async def _read_counters(self) -> None:
        """Once there was load, as the candidate tells them: whether what it was changed for ever happens."""
        if self.side.reference is not None and not self.side.counters:
            self.side.counters = await self.server.counters()

    def _requests(self, level: Level, seed: int, index: int) -> tuple[PlannedRequest, ...]:
        count = level.requests * self.side.windows.get(level.id, WindowPlan()).passes
        requests = self.side.workload.slice(seed, index, count)
        return (
            timed(requests, self.side.testbed.target.root / level.file) if isinstance(level, TraceLevel) else requests
        )

    async def _verify(self, requests: Sequence[PlannedRequest], report: LoadReport) -> None:
        """All answers in order, and the tokens of some compared: of which ones, no server can know."""
        reference = self.side.reference
        if reference is None:
            return
        share = self.side.testbed.target.spec.accuracy.timed_share
        answers = [(request, call) for request, call in zip(requests, report.calls, strict=True) if call.ok]
        count = min(len(answers), max(LEAST_VERIFIED, math.ceil(share * len(requests))))
        self._require_order(reference, answers)
        self._require_pace(report, answers)
        await self._require_right(reference, self._random.sample(answers, count))

    def _require_pace(self, report: LoadReport, answers: Sequence[tuple[PlannedRequest, CallReport]]) -> None:
        """Raises WrongAnswers where tokens are kept back, or come in what keeps the client busy."""
        tokens, client = sum(len(call.token_ids) for call in report.calls), report.client
        fault = kept_back(self._probed, answers)
        if client.bytes_read > FLOOD * (tokens + len(report.calls)):
            fault = f"{client.bytes_read} bytes for {tokens} tokens"
        elif client.reads > CRUMBS * (tokens + len(report.calls)):
            fault = f"{client.reads} reads for {tokens} tokens"
        if fault:
            raise WrongAnswers(f"J9 answers of the timed run: {fault}")

    def _require_order(self, reference: ReferenceService, answers: Sequence[tuple[PlannedRequest, CallReport]]) -> None:
        """Raises WrongAnswers for one whose length, usage, chunks or text are not as asked for: each of them counts."""
        rules = answer_rules(self.side.testbed.target, self.side.workload, reference)
        fault = next(filter(None, (fault_of(request, call, rules) for request, call in answers)), "")
        if fault:
            raise WrongAnswers(f"J9 answers of the timed run: {fault}")

    async def _require_right(
        self, reference: ReferenceService, answers: Sequence[tuple[PlannedRequest, CallReport]]
    ) -> None:
        """Raises WrongAnswers for tokens that are further off than the class allows."""
        side, limits = self.side, self.side.testbed.target.spec.accuracy.gap_limits
        if not answers:
            return
        statistics = await side.compared.gaps(reference, [Told.of(request, call) for request, call in answers])
        if fault := statistics.beyond(limits) or side.compared.beyond(limits):
            raise WrongAnswers(f"J9 answers of the timed run: {fault}")
        side.verified += len(answers)

    def _window(self, level: Level, plan: LoadPlan, report: LoadReport, before: Usage, after: Usage) -> Window:
        spec = self.side.testbed.target.spec
        slos = Slos(**level.slo.model_dump()) if level.slo else None
        table, pooled = figures(summarise(report, slos)), samples_ms(report)
        if plan.mode is not Mode.CLOSED:
            table, pooled = since_scheduled(table), since_scheduled(pooled)
        # The client cannot know these; they are read off the server's process tree.
        table = {k: v for k, v in table.items() if k not in ("cpu_ms_per_token", "peak_rss_mib")}
        table["ready_s"] = self.server.served.ready_s
        tokens = sum(call.output_tokens or 0 for call in report.calls if call.ok)
        cpu_ms = 1000 * (after.cpu_s - before.cpu_s)
        rules = ValidityRules(spec.accuracy.error_budget, spec.endpoints[0].max_tokens_per_chunk, self._finest)
        return Window(
            values=table,
            cpu_ms_per_token=cpu_ms / tokens if tokens else None,
            peak_rss_mib=after.peak_rss_mib,
            violations=tuple(f"{v.reason}: {v.detail}" for v in violations(report, plan, rules)),
            failed=max(0, sum(not call.ok for call in report.calls) - spec.accuracy.error_budget),
            samples={name: tuple(values) for name, values in pooled.items() if name in SHOWN | self._pooled},
            slice_sha256=hashlib.sha256("".join(str(call.body) for call in plan.calls).encode()).hexdigest(),
            took_s=report.client.wall_s,
        )

    @property
    def _finest(self) -> float:
        """Highest quantile of a latency that any metric or guard reads."""
        return max(metric.stat.tail or 0.5 for metric in self.side.read)

    @property
    def _pooled(self) -> frozenset[str]:
        """Quantities of which a tail is read, over the requests of a whole block."""
        return frozenset(spec.quantity for spec in self.side.read if spec.stat.tail)

    async def suspend(self) -> None:
        await self.server.served.suspend()

    async def resume(self) -> None:
        await self.server.served.resume()
        probes = self.side.workload.draw(self._random.getrandbits(48), PROBES)
        reports = await self.server.send(calls_of(probes, self._path), concurrency=1)
        answers = [asked for asked in zip(probes, reports, strict=True) if asked[1].error not in CUT]
        if self.side.reference is not None:
            self._require_order(self.side.reference, answers)  # a refusal is none either
            self._probed += answers
            await self._require_right(self.side.reference, answers)


def mean_output_tokens(workload: Workload) -> float:
    requests = workload.draw(1, 64)
    return sum(request.max_tokens for request in requests) / len(requests)


def _halves_agree(report: LoadReport) -> bool:
    times = [t for call in report.calls for t in call.chunk_t]
    if len(times) < 2:
        return True
    middle = (min(times) + max(times)) / 2
    first = sum(t < middle for t in times)
    return abs(2 * first - len(times)) <= AGREEMENT * len(times)
