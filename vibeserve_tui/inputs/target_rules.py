"""What has to agree between the tables of one target.toml: pure rules, no files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from vibeserve_tui.errors import did_you_mean
from vibeserve_tui.inputs.target_sections import Guard, Modality, TargetMetric
from vibeserve_tui.inputs.toml_files import Fault
from vibeserve_tui.inputs.workload_spec import ClosedLevel, Level, StreamLevel, SweepLevel, WorkloadKind, WorkloadSpec
from vibeserve_tui.metrics import MetricSpec

if TYPE_CHECKING:
    from vibeserve_tui.inputs.target import Target

_STATISTICS = ("mean", "median", "std", "p50", "p90", "p95", "p99")
_LATENCIES = ("ttft", "tpot", "itl", "e2el", "client_queue_time", "e2el_including_client_queue")
PROCESS_METRICS = frozenset({"cpu_ms_per_token", "peak_rss_mib", "ready_s"})
"""Figures of the server process; they need no level."""
LEVEL_METRICS = frozenset(
    {
        *("duration", "completed", "failed", "total_input_tokens", "total_output_tokens"),
        *("request_throughput", "request_goodput", "output_throughput", "total_token_throughput"),
        *(f"{statistic}_{latency}_ms" for statistic in _STATISTICS for latency in _LATENCIES),
    }
)
"""vLLM's result keys."""
_TEXT_ENDPOINTS = frozenset({"/v1/completions", "/v1/chat/completions"})
_MODALITY_OF: Mapping[WorkloadKind, Modality] = {
    WorkloadKind.AUDIO_STREAM: Modality.SPEECH_TO_TEXT,
    WorkloadKind.IMAGE: Modality.IMAGE_GENERATION,
}
_FIELD_OF: Mapping[WorkloadKind, str] = {
    WorkloadKind.PREDICTED_EDIT: "prediction",
    WorkloadKind.JSON_SCHEMA: "response_format",
}


def disagreements(target: Target) -> Iterator[Fault]:
    yield from _twins("backends", target.backends)
    yield from _twins("endpoints", (endpoint.path for endpoint in target.endpoints))
    yield from _twins("levels", (level.id for level in target.levels))
    yield from _twins("metrics", (f"{metric.name} at {metric.level}" for metric in target.metrics))
    yield from _level_faults(target)
    yield from _headline_faults(target)
    yield from _metric_faults(target)
    yield from _workload_faults(target)


def _twins(field: str, values: Iterable[str]) -> Iterator[Fault]:
    for value, count in Counter(values).items():
        if count > 1:
            yield Fault(field, f"{value!r} occurs {count} times", "keep one of them")


def _level_faults(target: Target) -> Iterator[Fault]:
    for index, level in enumerate(target.levels):
        field = f"levels[{index}]"
        if isinstance(level, ClosedLevel | StreamLevel) and level.requests < level.concurrency:
            yield Fault(
                f"{field}.requests",
                f"{level.requests} requests cannot keep {level.concurrency} clients busy",
                f"at least {level.concurrency}",
            )
        if isinstance(level, StreamLevel) != (target.workload.kind is WorkloadKind.AUDIO_STREAM):
            yield Fault(
                f"{field}.mode", "stream levels and audio_stream workloads need each other", "change one of them"
            )


def _headline_faults(target: Target) -> Iterator[Fault]:
    count = len(target.headlines)
    if target.pareto and count < 2:
        yield Fault("pareto", f"has {count} headline metrics", "mark two or more metrics with headline = true")
    if not target.pareto and count != 1:
        yield Fault("metrics", f"{count} headline metrics", "mark one with headline = true, or set pareto = true")


def _metric_faults(target: Target) -> Iterator[Fault]:
    levels = {level.id: level for level in target.levels}
    own_names = target.workload.kind is WorkloadKind.PROGRAM
    entries: list[tuple[str, TargetMetric | Guard]] = [
        *((f"metrics[{index}]", metric) for index, metric in enumerate(target.metrics)),
        *((f"guards[{index}]", guard) for index, guard in enumerate(target.guards)),
    ]
    for field, row in entries:
        name, level = row.name, row.level
        known = name in LEVEL_METRICS | PROCESS_METRICS
        if not known and not own_names:
            suggestion = did_you_mean(name, sorted(LEVEL_METRICS | PROCESS_METRICS))
            yield Fault(
                f"{field}.name", f"nothing reports {name!r}{suggestion}", "use a key of vLLM's benchmark results"
            )
        if level is None and name in LEVEL_METRICS:
            yield Fault(f"{field}.level", "is missing", f"one of: {', '.join(levels)}")
        elif level is not None and level not in levels:
            suggestion = did_you_mean(level, levels)
            yield Fault(f"{field}.level", f"there is no level {level!r}{suggestion}", f"one of: {', '.join(levels)}")
        elif level is not None and isinstance(levels[level], SweepLevel):
            yield Fault(f"{field}.level", f"{level!r} is a sweep, which decides nothing", "name another level")
        elif level is not None and name == "request_goodput" and levels[level].slo is None and not own_names:
            yield Fault(f"{field}.level", f"{level!r} does not say what is good", "slo = { ttft_ms = 500 } in its row")
        elif level is not None and not own_names:
            yield from _tail_faults(field, row.spec, levels[level], target.workload)


def _tail_faults(field: str, metric: MetricSpec, level: Level, workload: WorkloadSpec) -> Iterator[Fault]:
    """A block may be one window of each side, of one pass over the level's requests: it has to give a value."""
    gaps = workload.output_tokens.most - 1 if metric.quantity == "itl_ms" and workload.output_tokens else 1
    samples, least = gaps * level.requests, metric.stat.least_samples
    if samples < least:
        yield Fault(
            f"{field}.name",
            f"{samples} samples at level {level.id!r} are too few for a {metric.stat}: it takes {least}",
            "more requests there, or a lower percentile",
        )


def _workload_faults(target: Target) -> Iterator[Fault]:
    workload, first = target.workload, target.endpoints[0]
    if workload.temperature > 0:  # what was sampled cannot be held against the truth token by token
        yield Fault(
            "workload.temperature",
            "answers are compared with greedy ones, so no sampled one would be right",
            "set it to 0; whether sampling is right is judged beside the workload",
        )
    if (workload.kind is WorkloadKind.PROGRAM) != (target.programs.benchmark is not None):
        yield Fault("programs.benchmark", 'goes with workload.kind = "program", and only with it', "change one of them")
    if workload.kind is WorkloadKind.PROGRAM:
        return
    modality = _MODALITY_OF.get(workload.kind, Modality.TEXT_GENERATION)
    if target.modality is not modality:
        yield Fault("modality", f"workloads of kind {workload.kind} are {modality}", "change one of them")
    if target.modality is Modality.TEXT_GENERATION and first.path not in _TEXT_ENDPOINTS:
        yield Fault(
            "endpoints[0].path", "cannot carry a text workload", f"one of: {', '.join(sorted(_TEXT_ENDPOINTS))}"
        )
    needed = {_FIELD_OF.get(workload.kind), "ignore_eos" if workload.ignore_eos else None} - {None, *first.fields}
    for name in sorted(filter(None, needed)):
        yield Fault("endpoints[0].fields", f"the workload needs {name!r}", "add it")
    longest = sum(lengths.most for lengths in (workload.prompt_tokens, workload.output_tokens) if lengths)
    longest += workload.options.prefix_tokens or 0
    if longest > target.model.max_context:
        yield Fault(
            "workload",
            f"prompt and output reach {longest} tokens, the model's context is {target.model.max_context}",
            "shorten them",
        )
