"""Hand-made plans and reports, for tests that need no server."""

from __future__ import annotations

from dataclasses import replace

from vibeserve_tui.evaluation.load_plan import Call, LoadPlan, Mode
from vibeserve_tui.evaluation.load_report import CallReport, ClientUse, Lag, LoadReport, Usage
from vibeserve_tui.evaluation.strict_json import Json

ON_TIME = Lag(mean_ms=0.1, p50_ms=0.1, p90_ms=0.15, p99_ms=0.2, max_ms=0.3)
IDLE_CLIENT = ClientUse(
    cpu_s=0.01,
    wall_s=1.0,
    loop_lag=ON_TIME,
    schedule_lag=ON_TIME,
    reads=10,
    bytes_read=1000,
    connections=1,
    peak_in_flight=1,
    suspended_s=0.0,
)


def calls(count: int, *, max_tokens: int = 8, path: str = "/v1/completions", **fields: Json) -> tuple[Call, ...]:
    """Streaming calls with distinct prompts; `fields` go into every body."""
    return tuple(
        Call(
            id=f"r{number}",
            path=path,
            body={"prompt": [number, 1, 2], "max_tokens": max_tokens, "stream": True, **fields},
            prompt_tokens=3,
        )
        for number in range(count)
    )


def plan(*planned: Call, **fields: object) -> LoadPlan:
    base = LoadPlan("127.0.0.1", 1, Mode.CLOSED, planned or calls(1), deadline_s=20.0, concurrency=1)
    return replace(base, **fields)  # type: ignore[arg-type]


def answered(name: str, sent: float, *chunk_t: float, tokens: int = 1, sched: float | None = None) -> CallReport:
    """An ok call with `tokens` ids in every chunk."""
    return CallReport(
        id=name,
        t_sched=sent if sched is None else sched,
        t_sent=sent,
        t_end=chunk_t[-1],
        status=200,
        chunk_t=list(chunk_t),
        chunk_ids=[list(range(tokens)) for _ in chunk_t],
        chunk_text=["x"] * len(chunk_t),
        finish_reason="length",
        usage=Usage(prompt_tokens=3, completion_tokens=tokens * len(chunk_t)),
        prompt_tokens=3,
    )


def report(*reports: CallReport, of: LoadPlan | None = None, client: ClientUse = IDLE_CLIENT) -> LoadReport:
    of = of or plan(*calls(len(reports)))
    return LoadReport(
        plan_sha256=of.sha256(),
        mode=of.mode.value,
        started_at="2026-01-01T00:00:00.000+00:00",
        t0_monotonic_s=100.0,
        distinct_prompts=len(reports),
        client=client,
        calls=reports,
        concurrency=of.concurrency,
        rate=of.rate,
    )
