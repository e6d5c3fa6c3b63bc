"""A window's figures, in the keys and by the definitions of vLLM's serving benchmark.

So results compare with published ones. What vLLM does not report stands under "vibeserve".
Failed calls are counted, never averaged in; a figure that cannot be had is None, never 0.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from vibeserve_tui.evaluation.load_plan import Mode
from vibeserve_tui.evaluation.load_report import LOST, CallReport, LoadReport
from vibeserve_tui.evaluation.strict_json import Json
from vibeserve_tui.metrics import Stat

T = TypeVar("T")
SCHEMA_VERSION = 1
PERCENTILES = (50, 90, 95, 99)
SATURATED_BELOW = 0.95
MIN_FOR_SATURATION = 8


@dataclass(frozen=True, slots=True)
class Slos:
    """A call is good if it keeps all of these; None = not asked for."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2el_ms: float | None = None


@dataclass(frozen=True, slots=True)
class WindowContext:
    """What the client cannot know about its window; None = not reported."""

    commit: str | None = None
    workload_sha256: str | None = None
    fingerprint: str | None = None
    windows: tuple[str, ...] = ()
    activation: Mapping[str, int] | None = None
    """Counters of the server after the window minus before."""
    server_cpu_s: float | None = None
    peak_rss_mib: float | None = None


def summarise(report: LoadReport, slos: Slos | None = None, context: WindowContext | None = None) -> dict[str, Json]:
    """One flat table in vLLM's keys, with our own below `vibeserve`."""
    context = context or WindowContext()
    completed = [call for call in report.calls if call.ok]
    duration = duration_s(report)
    inputs, outputs = _total(map(input_tokens, completed)), _total(call.output_tokens for call in completed)
    good = None if slos is None else sum(_is_good(call, slos, report.mode) for call in completed)
    table: dict[str, Json] = {
        "date": report.started_at,
        "num_prompts": len(report.calls),
        "request_rate": "inf" if report.rate is None else report.rate,
        "burstiness": report.burstiness,
        "max_concurrency": report.concurrency,
        "seed": report.seed,
        "duration": duration,
        "completed": len(completed),
        "failed": len(report.calls) - len(completed),
        "total_input_tokens": inputs,
        "total_output_tokens": outputs,
        "request_throughput": _rate(len(completed), duration),
        "request_goodput": _rate(good, duration),
        "output_throughput": _rate(outputs, duration),
        "total_token_throughput": _rate(None if inputs is None or outputs is None else inputs + outputs, duration),
        "max_output_tokens_per_s": _max_output_tokens_per_s(completed),
        "max_concurrent_requests": report.client.peak_in_flight,
    }
    pooled = samples_ms(report)
    for quantity in VLLM_QUANTITIES:
        table |= statistics_of(quantity, pooled[quantity])
    table |= _per_call(report.calls)
    table["vibeserve"] = _own(report, context, pooled, outputs)
    return table


def figures(table: Mapping[str, Json]) -> dict[str, float | None]:
    """The single figures of a summary by metric name, vLLM's and ours; None = not reported."""
    own = table.get("vibeserve")
    every = {**table, **(own if isinstance(own, dict) else {})}
    return {
        name: value
        for name, value in every.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }


def input_tokens(call: CallReport) -> int | None:
    if call.prompt_tokens is not None:
        return call.prompt_tokens
    return None if call.usage is None else call.usage.prompt_tokens


def duration_s(report: LoadReport) -> float | None:
    """From the first call sent to the last token that came."""
    sent = [call.t_sent for call in report.calls if call.t_sent is not None]
    last = [call.chunk_t[-1] for call in report.calls if call.ok and call.chunk_t]
    return max(last) - min(sent) if last else None


def achieved_rate(report: LoadReport) -> float | None:
    """Completions per second, between the first and the last of them.

    Like this a constant latency does not count as a backlog, however short the window.
    """
    return _pace([call.chunk_t[-1] for call in report.calls if call.ok and call.chunk_t])


def is_saturated(report: LoadReport) -> bool:
    """The server fell behind the requested rate: its latencies are then those of its queue.

    Two signs are asked for, because the ends of a short window are two requests' luck: fewer completions than
    arrivals per second, and a latency that grew as that says.
    """
    finished = sorted((call.t_sched, call.chunk_t[-1]) for call in report.calls if call.ok and call.chunk_t)
    achieved, offered = achieved_rate(report), _pace([t_sched for t_sched, _ in finished])
    if report.rate is None or achieved is None or offered is None or len(finished) < MIN_FOR_SATURATION:
        return False
    half = len(finished) // 2
    early, late = finished[:half], finished[-half:]
    grown = _median_latency(late) - _median_latency(early)
    elapsed = statistics.fmean(t for t, _ in late) - statistics.fmean(t for t, _ in early)
    return achieved < SATURATED_BELOW * offered and grown > (1 / SATURATED_BELOW - 1) * elapsed


def _pace(times: Sequence[float]) -> float | None:
    return (len(times) - 1) / (max(times) - min(times)) if len(times) > 1 and max(times) > min(times) else None


def _median_latency(finished: Sequence[tuple[float, float]]) -> float:
    return statistics.median(end - t_sched for t_sched, end in finished)


VLLM_QUANTITIES = ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms", "client_queue_time_ms", "e2el_including_client_queue_ms")
OWN_QUANTITIES = ("ttft_including_client_queue_ms", "itl_per_token_ms")


def samples_ms(report: LoadReport) -> dict[str, list[float]]:
    """Every sample of every quantity, of calls that succeeded; concatenate them to pool windows."""
    pooled: dict[str, list[float]] = {name: [] for name in (*VLLM_QUANTITIES, *OWN_QUANTITIES)}
    for call in report.calls:
        if not call.ok or not call.chunk_t or call.t_sent is None:
            continue
        first, last = call.chunk_t[0], call.chunk_t[-1]
        queue_s = max(0.0, call.t_sent - call.t_sched)
        pooled["ttft_ms"].append(1000 * (first - call.t_sent))
        pooled["ttft_including_client_queue_ms"].append(1000 * (first - call.t_sent + queue_s))
        pooled["e2el_ms"].append(1000 * (last - call.t_sent))
        pooled["client_queue_time_ms"].append(1000 * queue_s)
        pooled["e2el_including_client_queue_ms"].append(1000 * (last - call.t_sent + queue_s))
        pooled["itl_ms"] += (1000 * gap for gap in _gaps(call))
        pooled["itl_per_token_ms"] += _gaps_per_token_ms(call)
        tpot = _tpot_ms(call)
        if tpot is not None:
            pooled["tpot_ms"].append(tpot)
    return pooled


SINCE_SCHEDULED = {"ttft_ms": "ttft_including_client_queue_ms", "e2el_ms": "e2el_including_client_queue_ms"}


def since_scheduled(values: Mapping[str, T]) -> dict[str, T]:
    """Figures or samples with latencies from when the schedule wanted a call: an open loop's do not wait for one another,
    so a server answers for those that it keeps waiting.
    """
    counted = dict(values)
    for quantity, whole in SINCE_SCHEDULED.items():
        for name in values:
            prefix = name.removesuffix(quantity)
            if name.endswith(quantity) and prefix + whole in values:
                counted[name] = values[prefix + whole]
    return counted


def statistics_of(quantity: str, values: Sequence[float]) -> dict[str, Json]:
    """mean, median, std and percentiles under vLLM's names; None where there are too few samples."""
    table: dict[str, Json] = {
        f"mean_{quantity}": statistics.fmean(values) if values else None,
        f"median_{quantity}": percentile(values, 50) if values else None,
        f"std_{quantity}": statistics.pstdev(values) if values else None,
    }
    for p in PERCENTILES:
        table[f"p{p}_{quantity}"] = percentile(values, p) if len(values) >= Stat(f"p{p}").least_samples else None
    return table


def percentile(values: Sequence[float], p: float) -> float:
    """Linear interpolation between ranks, as numpy does by default. Needs ≥ 1 value."""
    ordered = sorted(values)
    rank = (len(ordered) - 1) * p / 100
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def _own(
    report: LoadReport, context: WindowContext, pooled: Mapping[str, Sequence[float]], tokens: int | None
) -> dict[str, Json]:
    client = report.client
    cpu_s = context.server_cpu_s
    table: dict[str, Json] = {
        "schema_version": SCHEMA_VERSION,
        "commit": context.commit,
        "workload_sha256": context.workload_sha256,
        "fingerprint": context.fingerprint,
        "windows": list(context.windows),
        "mode": report.mode,
        "distinct_prompts": report.distinct_prompts,
        "lost_responses": sum(call.error in LOST for call in report.calls),
        "achieved_rate": achieved_rate(report),
        "saturated": is_saturated(report),
        "schedule_lag_p99_ms": client.schedule_lag.p99_ms,
        "loop_lag_p99_ms": client.loop_lag.p99_ms,
        "client_cpu_share": client.cpu_s / client.wall_s if client.wall_s else None,
        "error_labels": dict(Counter(call.error for call in report.calls if not call.ok)),
        "activation": None if context.activation is None else dict(context.activation),
        "cpu_ms_per_token": 1000 * cpu_s / tokens if cpu_s is not None and tokens else None,
        "peak_rss_mib": context.peak_rss_mib,
        "itl_per_token": statistics_of("ms", pooled["itl_per_token_ms"]),
    }
    return table | statistics_of("ttft_including_client_queue_ms", pooled["ttft_including_client_queue_ms"])


def _per_call(calls: Sequence[CallReport]) -> dict[str, Json]:
    """Detailed lists as vLLM saves them: one entry per call in the plan's order, in seconds."""
    table: dict[str, list[Json]] = {
        "input_lens": [input_tokens(call) for call in calls],
        "output_lens": [call.output_tokens if call.ok else None for call in calls],
        "ttfts": [_since_sent(call, 0) for call in calls],
        "itls": [list(_gaps(call)) for call in calls],
        "latencies": [_since_sent(call, -1) for call in calls],
        "start_times": [call.t_sent for call in calls],
        "queue_times": [None if call.t_sent is None else max(0.0, call.t_sent - call.t_sched) for call in calls],
        "errors": [f"{call.error}: {call.detail}" if call.detail else call.error for call in calls],
    }
    return dict(table)


def _since_sent(call: CallReport, chunk: int) -> float | None:
    return call.chunk_t[chunk] - call.t_sent if call.ok and call.chunk_t and call.t_sent is not None else None


def _gaps(call: CallReport) -> list[float]:
    return [after - before for before, after in pairwise(call.chunk_t)]


def _gaps_per_token_ms(call: CallReport) -> list[float]:
    """A chunk of k tokens counts as k tokens, each a k-th of its gap."""
    spread: list[float] = []
    for gap, ids in zip(_gaps(call), call.chunk_ids[1:], strict=True):
        tokens = max(1, len(ids))
        spread += [1000 * gap / tokens] * tokens
    return spread


def _tpot_ms(call: CallReport) -> float | None:
    """Time per output token after the first; undefined for a single token."""
    tokens = call.output_tokens
    if tokens is None or tokens < 2:
        return None
    return 1000 * (call.chunk_t[-1] - call.chunk_t[0]) / (tokens - 1)


def _is_good(call: CallReport, slos: Slos, mode: str) -> bool:
    """Whether it keeps them all, in an open loop from when the schedule wanted it."""
    if not call.chunk_t or call.t_sent is None:
        return False
    began = call.t_sent if mode == Mode.CLOSED else min(call.t_sched, call.t_sent)
    ttft_ms, e2el_ms = 1000 * (call.chunk_t[0] - began), 1000 * (call.chunk_t[-1] - began)
    kept = ((ttft_ms, slos.ttft_ms), (_tpot_ms(call) or 0.0, slos.tpot_ms), (e2el_ms, slos.e2el_ms))
    return all(limit is None or value <= limit for value, limit in kept)


def _max_output_tokens_per_s(calls: Sequence[CallReport]) -> int | None:
    """In the fullest of the seconds that are counted from the first call sent."""
    begin = min((call.t_sent for call in calls if call.t_sent is not None), default=0.0)
    seconds: Counter[int] = Counter()
    for call in calls:
        for t, ids in zip(call.chunk_t, call.chunk_ids, strict=True):
            seconds[int(t - begin)] += max(1, len(ids))
    return max(seconds.values(), default=None)


def _total(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def _rate(count: int | None, duration: float | None) -> float | None:
    return count / duration if count is not None and duration else None
