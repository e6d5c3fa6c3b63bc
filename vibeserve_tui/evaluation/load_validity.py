"""Whether a window may be believed: every reason why not, by name.

A window with a violation is void: repeated once, never averaged in. A saturated server is no
violation (the client was on time); the summary says so: its latencies are those of its queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from vibeserve_tui.evaluation.arrivals import arrival_times
from vibeserve_tui.evaluation.load_plan import LoadPlan, Mode
from vibeserve_tui.evaluation.load_report import LOST, CallReport, LoadReport
from vibeserve_tui.evaluation.load_summary import percentile, samples_ms

LAG_LIMIT_MS = 5.0
LAG_SHARE_OF_TTFT = 0.10
NEGLIGIBLE_LAG_SHARE = 0.01
LAG_RESOLUTION_MS = 1.0
"""Smaller lags are the operating system's scheduling of any process; a fast server is not to blame for them."""
LOST_TIME_SHARE = 0.01
"""Of a median request, which the client's mean lag may add to it."""
CPU_SHARE_LIMIT = 0.50
"""Of its own core, from which on a client is no longer reliably on time."""
QUEUEING_SHARE_OF_TTFT = 0.01
"""What chunks wait for one another delays all of a stream alike: first tokens come later, gaps stay what they are."""
SUSPENDED_LIMIT_S = 0.05


class Reason(StrEnum):
    PLAN = "plan"
    """Other calls, or in another order, than planned."""
    ERRORS = "errors"
    """More failed calls than the target allows."""
    LOST = "lost"
    """Calls that no reply came to."""
    LOOP_LAG = "loop_lag"
    SCHEDULE_LAG = "schedule_lag"
    CLIENT_CPU = "client_cpu"
    USAGE = "usage"
    """The server's usage is not the number of ids that it sent."""
    COALESCED = "coalesced"
    """More tokens in a chunk than declared."""
    CONCURRENCY = "concurrency"
    """The client did not hold as many calls in flight as the plan says."""
    SUSPENDED = "suspended"
    """The machine slept, or its clock was set."""


@dataclass(frozen=True, slots=True)
class Violation:
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class ValidityRules:
    """What the target declares."""

    error_budget: int = 0
    max_tokens_per_chunk: int = 1
    finest: float = 0.99
    """Highest quantile of a latency that decides anything; what only later ones see is no reason to doubt a window."""
    ids_promised: bool = True
    """Streams carry the id of each token. Where they need not, the server's usage is all there is to count by."""


def violations(report: LoadReport, plan: LoadPlan, rules: ValidityRules | None = None) -> tuple[Violation, ...]:
    """Empty for a window that may be believed."""
    rules = rules or ValidityRules()
    return (
        *_of_the_plan(report, plan),
        *_of_the_calls(report, rules),
        *_of_the_tokens(report, rules),
        *_of_the_lags(report, rules.finest),
        *_of_the_client(report),
    )


def _of_the_plan(report: LoadReport, plan: LoadPlan) -> Iterator[Violation]:
    if report.plan_sha256 != plan.sha256() or [call.id for call in report.calls] != [call.id for call in plan.calls]:
        yield Violation(Reason.PLAN, "the report is of another plan")
    due = sorted(zip(arrival_times(plan), report.calls, strict=False), key=lambda pair: pair[0])
    sent = [call.t_sent for _, call in due if call.t_sent is not None]
    if any(after < before for before, after in pairwise(sent)):
        yield Violation(Reason.PLAN, "calls were not sent in the order of their schedule")
    if plan.mode is Mode.CLOSED and plan.concurrency is not None:
        wanted = min(plan.concurrency, len(plan.calls))
        if report.client.peak_in_flight < wanted:
            yield Violation(Reason.CONCURRENCY, f"{report.client.peak_in_flight} calls in flight of {wanted}")


def _of_the_calls(report: LoadReport, rules: ValidityRules) -> Iterator[Violation]:
    failed = [call for call in report.calls if not call.ok]
    if len(failed) > rules.error_budget:
        labels = sorted({call.error for call in failed})
        yield Violation(Reason.ERRORS, f"{len(failed)} of {len(report.calls)} calls failed: {', '.join(labels)}")
    lost = sum(call.error in LOST for call in failed)
    if lost:
        yield Violation(Reason.LOST, f"{lost} calls got no reply")


def _of_the_tokens(report: LoadReport, rules: ValidityRules) -> Iterator[Violation]:
    streamed = [call for call in report.calls if call.ok and call.chunk_t]
    silent = [call.id for call in streamed if call.usage is None]
    if silent:
        yield Violation(Reason.USAGE, f"no usage in {len(silent)} calls, such as {silent[0]}")
    liars = [call.id for call in streamed if _states_other_usage(call, rules)]
    if liars:
        yield Violation(Reason.USAGE, f"usage is not the number of ids in {len(liars)} calls, such as {liars[0]}")
    allowed = rules.max_tokens_per_chunk
    coalesced = [call.id for call in streamed if max(map(len, call.chunk_ids)) > allowed]
    if coalesced:
        yield Violation(
            Reason.COALESCED, f"more than {allowed} tokens in a chunk in {len(coalesced)} calls, such as {coalesced[0]}"
        )


def _states_other_usage(call: CallReport, rules: ValidityRules) -> bool:
    counts = rules.ids_promised or any(call.chunk_ids)
    return counts and call.usage is not None and call.usage.completion_tokens != len(call.token_ids)


def _of_the_lags(report: LoadReport, finest: float) -> Iterator[Violation]:
    """A late client adds its lag to what it times: quantile to quantile, and the mean to every request of a closed loop.

    On two cores the operating system alone makes p99 lags of several ms: no reason to doubt a median or a p90.
    """
    limit = lag_limit_ms(report)
    for reason, lag in ((Reason.LOOP_LAG, report.client.loop_lag), (Reason.SCHEDULE_LAG, report.client.schedule_lag)):
        name, late = ("p90", lag.p90_ms) if finest <= 0.90 else ("p99", lag.p99_ms)
        if late >= limit:
            yield Violation(reason, f"{name} {late:.2f} ms, limit {limit:.2f} ms")
    whole = samples_ms(report)["e2el_ms"]
    allowed = LOST_TIME_SHARE * percentile(whole, 50) if whole else LAG_LIMIT_MS
    mean = report.client.loop_lag.mean_ms
    if mean >= max(allowed, LAG_RESOLUTION_MS):
        yield Violation(Reason.LOOP_LAG, f"mean {mean:.2f} ms, limit {allowed:.2f} ms")


def _of_the_client(report: LoadReport) -> Iterator[Violation]:
    client = report.client
    share = client.cpu_s / client.wall_s if client.wall_s else 0.0
    waited, allowed = queueing_ms(report), _allowed_queueing_ms(report)
    if share > CPU_SHARE_LIMIT or waited > allowed:
        detail = f"{share:.0%} of a core; a chunk waits {1000 * waited:.0f} µs for it, limit {1000 * allowed:.0f} µs"
        yield Violation(Reason.CLIENT_CPU, detail)
    if client.suspended_s > SUSPENDED_LIMIT_S:
        yield Violation(Reason.SUSPENDED, f"the machine slept for {client.suspended_s:.1f} s")


def queueing_ms(report: LoadReport) -> float:
    """Mean time that a chunk waits for the client to deal with others: M/D/1, the client being the one server."""
    client = report.client
    chunks = sum(len(call.chunk_t) for call in report.calls)
    if not chunks or not client.wall_s:
        return 0.0
    share = min(client.cpu_s / client.wall_s, 0.99)
    return share / (2 * (1 - share)) * 1000 * client.cpu_s / chunks


def _allowed_queueing_ms(report: LoadReport) -> float:
    ttfts = samples_ms(report)["ttft_ms"]
    return QUEUEING_SHARE_OF_TTFT * percentile(ttfts, 50) if ttfts else LAG_RESOLUTION_MS


def lag_limit_ms(report: LoadReport) -> float:
    """A late client adds to every latency, so what it may add depends on what is measured.

    Below one percent of the median TTFT a lag cannot move any figure by more than that, however many ms it is.
    """
    ttfts = samples_ms(report)["ttft_ms"]
    if not ttfts:
        return LAG_LIMIT_MS
    median = percentile(ttfts, 50)
    return max(min(LAG_LIMIT_MS, max(LAG_RESOLUTION_MS, LAG_SHARE_OF_TTFT * median)), NEGLIGIBLE_LAG_SHARE * median)
