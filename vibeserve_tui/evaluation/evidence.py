"""Everything one evaluation saw, stored so that its decision can be computed again and explained to a person.

The record holds the raw windows, not the conclusions: `recompute()` reads them anew and must give the stored
decision, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from pydantic import Field, model_validator

from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.block_stats import estimate, median
from vibeserve_tui.evaluation.blocks import Arm, Block, BlockRecord, block_of, fault
from vibeserve_tui.evaluation.gate import Closed, Decision, decide
from vibeserve_tui.evaluation.gate_config import GateConfig, Noise, Spread, Terms
from vibeserve_tui.metrics import Comparison, Direction, Figure, GuardResult, MetricSpec, Role, Value

UNKNOWN = "not recorded"


class SideRecord(Value):
    label: str
    commit: str
    tree: str = ""
    """Of the commit's files; "" in records of versions that did not write it, as for the two digests below."""


class Evidence(Value):
    """One evaluation: who, on what, under which rules, every window, and what was decided."""

    schema_version: Literal[1] = 1
    engine_version: str
    versions: Mapping[str, str] = {}
    """Of Python and of the packages that servers import."""
    champion: SideRecord
    candidate: SideRecord
    target_digest: str = ""
    """Of every file of the target, its model included."""
    workload_sha256: str
    device_fingerprint: str
    seed: int
    """Private until the decision: it says which requests were sent."""
    taken_at: float
    """Seconds since the epoch."""
    metrics: tuple[MetricSpec, ...] = Field(min_length=1)
    config: GateConfig
    terms: Terms
    conditions: tuple[str, ...] = ()
    """What the sentinels said before the first block."""
    blocks: tuple[BlockRecord, ...]
    closed: Closed | None
    decision: Decision
    took_s: float

    @model_validator(mode="after")
    def _whole(self) -> Evidence:
        read = {spec.key for spec in self.metrics if spec.role is Role.HEADLINE}
        if not self.terms.headlines or not read.issuperset(spec.key for spec in self.terms.headlines):
            raise ValueError("the headlines are not among the metrics")
        return self

    def readings(self) -> list[Block]:
        return [block_of(record, self.metrics) for record in self.blocks]


def recompute(evidence: Evidence) -> Decision:
    """The decision, computed again from the raw windows."""
    return decide(evidence.readings(), evidence.config, evidence.terms, closed=evidence.closed)


def comparison_of(evidence: Evidence) -> Comparison:
    """The journal's summary. Raises MeasurementError if the evaluation has not ended."""
    decision = evidence.decision
    if decision.outcome is None:
        raise MeasurementError("the evaluation has not ended", where=evidence.candidate.commit)
    blocks = evidence.readings()
    return Comparison(
        champion=evidence.champion.commit,
        candidate=evidence.candidate.commit,
        headline=evidence.terms.headlines[0],
        outcome=decision.outcome,
        reason=decision.reason,
        blocks=tuple(block.d if block.usable else None for block in blocks),
        used=decision.used,
        mean_d=decision.mean_d,
        ratio=_exp(decision.mean_d),
        ci_low=_exp(decision.low_d),
        ci_high=_exp(decision.high_d),
        delta=decision.delta,
        floor=decision.floor,
        basis=decision.basis,
        provisional=decision.provisional,
        too_good=decision.too_good,
        looks=decision.looks,
        guards=decision.guards,
        figures=tuple(_figure(spec, blocks) for spec in evidence.metrics),
        workload_sha256=evidence.workload_sha256,
        device_fingerprint=evidence.device_fingerprint,
        took_s=evidence.took_s,
    )


def is_comparable(one: Evidence, other: Evidence) -> bool:
    """Figures of two devices, or under two workloads, say nothing about one another."""
    return (one.device_fingerprint, one.workload_sha256) == (other.device_fingerprint, other.workload_sha256)


def noise_of(evidence: Sequence[Evidence]) -> Noise:
    """Block noise pooled over A/A runs and comparisons, each about its own mean.

    Raises MeasurementError where they are not all of one device and one workload.
    """
    if not all(is_comparable(evidence[0], one) for one in evidence[1:]):
        raise MeasurementError(
            "figures of two devices or two workloads",
            fix="measure both commits again on one device, under one workload",
        )
    runs = [[block for block in record.readings() if block.usable] for record in evidence]
    return Noise(
        wall=Spread.of(*([block.d for block in run if block.d is not None] for run in runs)),
        cpu=Spread.of(*([block.d_cpu for block in run if block.d_cpu is not None] for run in runs)),
    )


def explain(evidence: Evidence) -> list[str]:
    """The decision step by step, one line each; the first line says if the stored one does not follow."""
    again = recompute(evidence)
    lines = [] if again == evidence.decision else [f"DIFFERS: the record says {evidence.decision.reason}"]
    lines += _header(evidence)
    for record, block in zip(evidence.blocks, evidence.readings(), strict=True):
        lines += _block_lines(record, block, evidence.terms)
    lines += [
        f"look at {look.blocks} blocks: {_times(look.mean_d)}, accept bound {_times(look.accept_bound)} (must exceed ×1),"
        f" futility bound {_times(look.futile_bound)} (ends it below {_times(again.delta)})"
        for look in again.looks
    ]
    lines += [_guard_line(guard) for guard in again.guards]
    lines += [_bound_line(spec, evidence) for spec in evidence.terms.headlines if spec.key in evidence.terms.bounds]
    lines.append(_verdict_line(again))
    return lines


def _header(evidence: Evidence) -> Iterator[str]:
    headline, wall = evidence.terms.headlines[0], evidence.terms.noise.wall
    yield (
        f"A {evidence.champion.label} {evidence.champion.commit[:10]} against"
        f" B {evidence.candidate.label} {evidence.candidate.commit[:10]}: {headline.key},"
        f" {headline.unit}, {'higher' if headline.direction == 'max' else 'lower'} is better"
    )
    yield (
        f"workload {evidence.workload_sha256[:12]}, device {evidence.device_fingerprint[:12]}, seed {evidence.seed},"
        f" gate {evidence.config.name}, engine {evidence.engine_version}, {evidence.took_s:.0f} s"
    )
    files = ", ".join(side.tree[:10] or UNKNOWN for side in (evidence.champion, evidence.candidate))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(evidence.versions.items()))
    yield f"trees {files}, target {evidence.target_digest[:12] or UNKNOWN}, {versions or UNKNOWN}"
    noise = f"identical servers vary by {100 * wall.sd:.1f} % per block" if wall else "noise not measured"
    yield f"{noise}; smallest gain that counts {_times(evidence.decision.delta)}"
    if not evidence.terms.wall_trusted:
        yield f"machine not quiet, only CPU time is believed: {'; '.join(evidence.conditions)}"


def _block_lines(record: BlockRecord, block: Block, terms: Terms) -> Iterator[str]:
    said = f": {'; '.join(record.notes)}" if record.notes else ""
    if block.crashed is not None:
        yield f"block {record.number} {record.order}: {'A' if block.crashed is Arm.A else 'B'} crashed{said}"
    elif not block.usable:
        yield f"block {record.number} {record.order}: void, {block.void or 'no value'}{said}"
    else:
        cpu = "" if block.d_cpu is None else f", CPU time {_times(block.d_cpu)}"
        yield f"block {record.number} {record.order}: {_times(block.d)}{cpu}"
    for timed in record.windows:
        if why := fault(timed, terms.headlines):
            yield f"  window {timed.arm} of pair {timed.pair + 1}, {timed.level}: void, {why}"


def _bound_line(spec: MetricSpec, evidence: Evidence) -> str:
    bound, unit = evidence.terms.bounds[spec.key], spec.unit
    figure = _figure(spec, evidence.readings())
    if not figure.b:
        return f"floor {spec.key}: this device cannot pass {bound:.4g} {unit}"
    left = bound / figure.b if spec.direction is Direction.MAX else figure.b / bound
    return f"floor {spec.key}: this device cannot pass {bound:.4g} {unit}; B is at {figure.b:.4g}, ×{left:.2f} from it"


def _guard_line(guard: GuardResult) -> str:
    bound = "" if guard.high_d is None else f", at best {_times(guard.high_d)}"
    tolerated = guard.spec.tolerated
    limit = "" if tolerated is None else f" (tolerated {_times(-tolerated)})"
    return (
        f"guard {guard.spec.key}: {guard.state}, {_times(guard.mean_d)}{bound}{limit}{guard.note and f', {guard.note}'}"
    )


def _verdict_line(decision: Decision) -> str:
    interval = "" if decision.low_d is None else f" [{_times(decision.low_d)}, {_times(decision.high_d)}]"
    basis = "" if not decision.provisional else ", on CPU time, provisional"
    twice = ", too good: check it twice" if decision.too_good else ""
    return (
        f"{decision.outcome or 'open'} ({decision.reason}) after {decision.used} blocks:"
        f" {_times(decision.mean_d)}{interval}{basis}{twice}"
    )


def _figure(spec: MetricSpec, blocks: Iterable[Block]) -> Figure:
    readings = [block.readings[spec.key] for block in blocks if block.usable]
    a = [reading.a for reading in readings if reading.a is not None]
    b = [reading.b for reading in readings if reading.b is not None]
    centre, low, high = estimate([reading.d for reading in readings if reading.d is not None])
    return Figure(
        spec=spec,
        a=median(a) if a else None,
        b=median(b) if b else None,
        ratio=_exp(centre),
        ci_low=_exp(low),
        ci_high=_exp(high),
    )


def _exp(d: float | None) -> float | None:
    """The ratio of a log ratio; None also where it would overflow."""
    return None if d is None or d > 700 else math.exp(d)


def _times(d: float | None) -> str:
    ratio = _exp(d)
    return "not reported" if ratio is None else f"×{ratio:.3f}"
