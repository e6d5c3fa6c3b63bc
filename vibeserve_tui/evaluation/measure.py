"""The live side of the gate: restart both servers and take paired windows until the gate decides.

It knows servers only as `Side`s and decides nothing itself. Timed windows never overlap: the idle server is
suspended. Both sides of a pair get the same slice of requests, every pair another one, every evaluation a new
private seed. Only the levels that the decision needs are measured, and measuring stops at the first block that
allows a decision.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from vibeserve_tui import __version__
from vibeserve_tui.backend import Device
from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.block_run import Bench, BlockFinished, BlockRun, LookTaken, OnEvent
from vibeserve_tui.evaluation.block_stats import is_biased
from vibeserve_tui.evaluation.blocks import Arm, Block, BlockRecord, block_of
from vibeserve_tui.evaluation.evidence import Evidence, SideRecord, comparison_of
from vibeserve_tui.evaluation.gate import Closed, Decision, decide
from vibeserve_tui.evaluation.gate_config import GateConfig, Noise, Terms
from vibeserve_tui.evaluation.load_plan import MIB
from vibeserve_tui.evaluation.side import Side
from vibeserve_tui.metrics import Basis, Comparison, MetricSpec, Role

POLL_S = 1.0


class Check(Protocol):
    """A sentinel's answer."""

    @property
    def ok(self) -> bool: ...

    @property
    def reasons(self) -> Sequence[str]: ...


Sentinel = Callable[[], Check]


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """What to measure, by which rules."""

    metrics: tuple[MetricSpec, ...]
    """All declared metrics and guards; levels that a decision does not need are left out."""
    config: GateConfig
    workload_sha256: str
    device_fingerprint: str
    target_digest: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of what servers import here."""
    promised: tuple[MetricSpec, ...] = ()
    """What the change itself promises to keep: guards against the champion, beside the declared ones."""
    noise: Noise = field(default_factory=Noise)
    bounds: Mapping[str, float] = field(default_factory=dict)
    """Physical bounds of headlines by metric key."""
    mechanism_declared: bool = False
    cpu_proxy: bool = False
    one_at_a_time: bool = False
    """Run one completely, then the other: where memory does not hold both, as `holds_two` tells."""
    ready: Sentinel | None = None
    """Whether the machine is quiet, asked before the first block."""
    ready_limit_s: float = 60.0
    trusted: Sentinel | None = None
    """Whether it was quiet, asked after each block."""

    def __post_init__(self) -> None:
        if not self.headlines:
            raise MeasurementError("no metric is the headline", fix="set headline = true on one metric of target.toml")

    @property
    def headlines(self) -> tuple[MetricSpec, ...]:
        return tuple(spec for spec in self.metrics if spec.role is Role.HEADLINE)

    def guards(self, basis: Basis) -> tuple[MetricSpec, ...]:
        """The declared ones; of several headlines, whose weighted mean decides, none may surely get worse either."""
        objectives = self.headlines if len(self.headlines) > 1 else ()
        declared = (spec for spec in (*self.metrics, *self.promised) if spec.role is Role.GUARD and spec.basis is basis)
        return (*(spec.as_guard() for spec in objectives), *declared)

    @property
    def read(self) -> tuple[MetricSpec, ...]:
        """All that is read, each figure once."""
        declared = {spec.key for spec in self.metrics}
        return (*self.metrics, *(spec for spec in self.promised if spec.key not in declared))


@dataclass(frozen=True, slots=True)
class Measurement:
    """An evaluation's summary, and the record from which it can be computed again."""

    comparison: Comparison
    evidence: Evidence


async def measure(champion: Side, candidate: Side, plan: MeasurePlan, on_event: OnEvent) -> Measurement:
    """Compare the candidate with the champion; ends at the first block that allows a decision.

    A result that is `too_good` is to be judged again and passed to `confirm()` before it is believed.
    """
    terms = Terms(
        min_effect=max(spec.min_effect for spec in plan.headlines),
        noise=plan.noise,
        headlines=plan.headlines,
        guards=plan.guards(Basis.CHAMPION),
        bounds=dict(plan.bounds),
        mechanism_declared=plan.mechanism_declared,
        cpu_proxy=plan.cpu_proxy,
    )
    return await _Evaluation(champion, candidate, plan, terms, on_event).measured()


async def noise(side: Side, blocks: int, plan: MeasurePlan, on_event: OnEvent) -> Measurement:
    """Measure a side against itself for this many usable blocks: the A/A noise, and the side's own figures.

    `evidence.noise_of()` pools several of these; `slots_differ()` tells whether a slot has an advantage.
    """
    plan = replace(plan, config=plan.config.for_noise())
    terms = Terms(headlines=plan.headlines, guards=plan.guards(Basis.CHAMPION), cpu_proxy=plan.cpu_proxy)
    return await _Evaluation(side, side, plan, terms, on_event, enough=blocks).measured()


def holds_two(device: Device, peak_rss_mib: float | None) -> bool:
    """Whether two servers of this peak fit into memory. Without a peak, or where the device has a memory of its own,
    nobody knows: they are started side by side.
    """
    return peak_rss_mib is None or not device.unified or 2 * peak_rss_mib * MIB <= device.memory_usable


def slots_differ(same: Measurement) -> bool:
    """Whether a side that was measured against itself shows a difference that is no chance."""
    return is_biased([block.d for block in same.evidence.readings() if block.usable and block.d is not None])


async def confirm(champion: Side, against: Side, basis: Basis, plan: MeasurePlan, on_event: OnEvent) -> Measurement:
    """All levels, the profile's number of fresh blocks (once more as many if those leave it open), a new seed.

    Accepted = better at 95 %. `basis` names the guards that are held against the other side: those of the baseline, or
    those of a champion that was confirmed before.
    """
    terms = Terms(
        headlines=plan.headlines,
        guards=plan.guards(basis),
        bounds=dict(plan.bounds),
        mechanism_declared=plan.mechanism_declared,
        cpu_proxy=plan.cpu_proxy,
    )
    fixed = replace(plan, config=plan.config.for_confirmation())
    return await _Evaluation(against, champion, fixed, terms, on_event, all_levels=True).measured()


class _Evaluation:
    """One comparison on live servers."""

    def __init__(  # noqa: PLR0913  the last two are what the three kinds of evaluation differ in
        self,
        champion: Side,
        candidate: Side,
        plan: MeasurePlan,
        terms: Terms,
        on_event: OnEvent,
        *,
        all_levels: bool = False,
        enough: int | None = None,
    ) -> None:
        self._plan = plan
        self._terms = terms
        self._enough = enough
        levels = _levels(plan.metrics if all_levels else (*plan.headlines, *terms.guards))
        self._bench = Bench(
            sides={Arm.A: champion, Arm.B: candidate},
            metrics=tuple(spec for spec in plan.read if spec.level is None or spec.level in levels),
            headlines=plan.headlines,
            levels=levels,
            pairs=plan.config.pairs,
            warm_up_s=plan.config.warm_up_s,
            one_at_a_time=plan.one_at_a_time,
            seed=secrets.randbits(63),
            slices=itertools.count(),
            began=time.perf_counter(),
            on_event=on_event,
        )
        self._records: list[BlockRecord] = []
        self._blocks: list[Block] = []
        self._looks_told = 0

    async def measured(self) -> Measurement:
        taken_at = time.time()
        quiet, conditions = await self._wait_until_quiet()
        self._bench = replace(self._bench, began=time.perf_counter())
        closed = None if quiet or self._plan.cpu_proxy else Closed.ENVIRONMENT
        self._terms = self._terms.model_copy(update={"wall_trusted": quiet})
        while (decision := self._decide(closed)).outcome is None:
            if self._records and self._records[-1].void == Closed.ENVIRONMENT:
                await self._wait_until_quiet()  # another block now would be as void as the last one
            await self._take_block()
            closed = self._closing()
        evidence = Evidence(
            engine_version=__version__,
            versions=self._plan.versions,
            target_digest=self._plan.target_digest,
            champion=_recorded(self._bench.sides[Arm.A]),
            candidate=_recorded(self._bench.sides[Arm.B]),
            workload_sha256=self._plan.workload_sha256,
            device_fingerprint=self._plan.device_fingerprint,
            seed=self._bench.seed,
            taken_at=taken_at,
            metrics=self._bench.metrics,
            config=self._plan.config,
            terms=self._terms,
            conditions=conditions,
            blocks=tuple(self._records),
            closed=closed,
            decision=decision,
            took_s=self._bench.elapsed(),
        )
        return Measurement(comparison_of(evidence), evidence)

    async def _wait_until_quiet(self) -> tuple[bool, tuple[str, ...]]:
        if self._plan.ready is None:
            return True, ()
        began = time.perf_counter()
        while not (check := await asyncio.to_thread(self._plan.ready)).ok:
            left_s = self._plan.ready_limit_s - (time.perf_counter() - began)
            if left_s <= 0:
                break
            await asyncio.sleep(min(POLL_S, left_s))
        return check.ok, tuple(check.reasons)

    async def _take_block(self) -> None:
        record = await BlockRun(len(self._records) + 1, self._bench).run()
        if self._plan.trusted is not None and self._terms.wall_trusted:
            check = await asyncio.to_thread(self._plan.trusted)
            if not check.ok:
                notes = (*record.notes, *check.reasons)
                record = record.model_copy(update={"void": Closed.ENVIRONMENT.value, "notes": notes})
        block = block_of(record, self._bench.metrics)
        self._records.append(record)
        self._blocks.append(block)
        void = "" if block.usable else ": ".join(filter(None, (block.why_void, "; ".join(record.notes))))
        self._bench.on_event(BlockFinished(record.number, block.d if block.usable else None, void))

    def _decide(self, closed: Closed | None) -> Decision:
        decision = decide(self._blocks, self._plan.config, self._terms, closed=closed)
        for look in decision.looks[self._looks_told :]:
            self._bench.on_event(LookTaken(look, decision.delta))
        self._looks_told = len(decision.looks)
        return decision

    def _closing(self) -> Closed | None:
        """Whether measuring ends now, decided or not."""
        if self._enough is not None and sum(1 for block in self._blocks if block.usable) >= self._enough:
            return Closed.NOISE_RUN
        return Closed.WALL_CAP if self._bench.elapsed() >= self._plan.config.wall_cap_s else None


def _levels(specs: Iterable[MetricSpec]) -> tuple[str | None, ...]:
    """In declared order; a single nameless one when no metric has a level."""
    return tuple(dict.fromkeys(spec.level for spec in specs if spec.level is not None)) or (None,)


def _recorded(side: Side) -> SideRecord:
    return SideRecord(label=side.label, commit=side.commit, tree=side.tree)
