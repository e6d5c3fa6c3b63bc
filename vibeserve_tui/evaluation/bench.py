"""`vibeserve bench URL --workload FILE`: any OpenAI-compatible server under a declared load.

The same client, the same definitions and the same keys as in a run, without a target, a box or
a verdict: to look at a server, or to compare one with what another benchmark says about it.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, NonNegativeInt, PositiveInt

from vibeserve_tui.errors import InputError, MeasurementError
from vibeserve_tui.evaluation.load_client import run_load_here
from vibeserve_tui.evaluation.load_level import Address, plan_of, timed
from vibeserve_tui.evaluation.load_plan import Call, LoadPlan, Mode
from vibeserve_tui.evaluation.load_summary import Slos, WindowContext, summarise
from vibeserve_tui.evaluation.load_validity import ValidityRules, violations
from vibeserve_tui.evaluation.strict_json import Json
from vibeserve_tui.evaluation.workload import Workload, calls_of
from vibeserve_tui.inputs.toml_files import Section, TomlFile
from vibeserve_tui.inputs.workload_spec import Level, Slo, TraceLevel, WorkloadSpec

CONNECT_S = 5.0


class BenchFile(Section):
    """A workload file; its paths are relative to it."""

    tokenizer: str
    """Folder with the served model's tokenizer.json and tokenizer_config.json."""
    path: str = "/v1/completions"
    """The endpoint: /v1/completions takes the prompt's token ids, /v1/chat/completions its text."""
    model: str | None = None
    """Sent as `model`, for servers that insist on it."""
    level: Level
    """How the requests arrive, as one of a target's levels."""
    workload: WorkloadSpec
    """What is asked, as a target's [workload]."""
    slo: Slo | None = None
    """Which requests count for the goodput."""
    warmup_requests: NonNegativeInt = 1
    """Sent ahead, one after the other, and not measured."""
    max_tokens_per_chunk: PositiveInt = 1
    """More for servers that speculate or coalesce."""
    timeout_s: Annotated[float, Field(gt=0, le=24 * 3600)] = 600.0
    """Of the warm-up, and of the measurement."""


async def bench(
    url: str, workload_file: Path, *, seed: int | None = None, headers: Mapping[str, str] | None = None
) -> dict[str, Json]:
    """One window against `url`: the summary, with `violations` beside our own figures.

    Without a seed each run draws anew, so no cache has seen the prompts.
    """
    file = TomlFile.read(workload_file, InputError).parse(BenchFile)
    root = workload_file.parent
    workload = Workload.read(file.workload, root, root / file.tokenizer)
    seed = secrets.randbits(32) if seed is None else seed
    requests = workload.slice(seed, 0, file.level.requests)
    if isinstance(file.level, TraceLevel):
        requests = timed(requests, root / file.level.file)
    parts = _split(url)
    host, port = await _listening(parts)
    plan = plan_of(file.level, requests, Address(host, port, file.path), deadline_s=file.timeout_s, seed=seed)
    plan = replace(plan, headers={"Host": parts.netloc, **(headers or {})}, calls=_for_model(plan.calls, file.model))
    if file.warmup_requests:
        warmup = calls_of(workload.slice(seed, 1, file.warmup_requests), file.path)
        await run_load_here(replace(plan, mode=Mode.CLOSED, concurrency=1, calls=_for_model(warmup, file.model)))
    return await _measure(plan, file, workload.sha256)


async def _measure(plan: LoadPlan, file: BenchFile, workload_sha256: str) -> dict[str, Json]:
    report = await run_load_here(plan)
    slo = file.slo or file.level.slo
    slos = Slos(**slo.model_dump()) if slo else None
    table = summarise(report, slos, WindowContext(workload_sha256=workload_sha256))
    found = violations(report, plan, ValidityRules(max_tokens_per_chunk=file.max_tokens_per_chunk, ids_promised=False))
    own = table["vibeserve"]
    assert isinstance(own, dict)
    own["violations"] = [asdict(violation) for violation in found]
    return table


def _for_model(calls: Sequence[Call], model: str | None) -> tuple[Call, ...]:
    if model is None:
        return tuple(calls)
    return tuple(replace(call, body={"model": model, **call.body}) for call in calls if isinstance(call.body, dict))


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    try:
        usable = parts.scheme == "http" and parts.hostname and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"{url!r} is no address to measure", fix="give the server's root, like http://127.0.0.1:8000")
    return parts


async def _listening(parts: SplitResult) -> tuple[str, int]:
    """The numeric address that answers: names are looked up here, not within the measurement."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InputError(f"{parts.hostname!r} is not known: {error}", fix="check the spelling") from error
    for *_, address in found:
        host, port = str(address[0]), int(address[1])
        try:
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(host, port)
        except OSError:
            continue
        writer.close()
        return host, port
    raise MeasurementError(f"nobody listens at {parts.netloc}", fix="start the server, or check the port")


_COUNTS = (
    ("completed", "requests completed", "{:.0f}"),
    ("failed", "requests failed", "{:.0f}"),
    ("duration", "duration, s", "{:.2f}"),
    ("total_input_tokens", "input tokens", "{:.0f}"),
    ("total_output_tokens", "output tokens", "{:.0f}"),
    ("request_throughput", "requests per second", "{:.2f}"),
    ("request_goodput", "good requests per second", "{:.2f}"),
    ("output_throughput", "output tokens per second", "{:.1f}"),
    ("max_concurrent_requests", "requests in flight, at most", "{:.0f}"),
)
_LATENCIES = (
    ("ttft_ms", "TTFT, ms"),
    ("tpot_ms", "TPOT, ms"),
    ("itl_ms", "ITL, ms"),
    ("e2el_ms", "E2EL, ms"),
    ("client_queue_time_ms", "client queue, ms"),
)
_STATISTICS = ("mean", "p50", "p90", "p95", "p99")


def render(table: Mapping[str, Json]) -> str:
    """A summary as plain text for a terminal of 80 columns."""
    lines = [f"{label:<28}{_shown(table.get(key), form):>12}" for key, label, form in _COUNTS]
    lines += ["", f"{'':<18}" + "".join(f"{name:>10}" for name in _STATISTICS)]
    for quantity, label in _LATENCIES:
        cells = (_shown(table.get(f"{name}_{quantity}"), "{:.2f}") for name in _STATISTICS)
        lines.append(f"{label:<18}" + "".join(f"{cell:>10}" for cell in cells))
    own = table.get("vibeserve")
    lines += _remarks(own if isinstance(own, dict) else {})
    return "\n".join(lines) + "\n"


def _shown(value: Json, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else "–"


def _remarks(own: Mapping[str, Json]) -> list[str]:
    remarks = []
    labels = own.get("error_labels")
    if isinstance(labels, dict) and labels:
        remarks.append("failures: " + ", ".join(f"{label} {count}" for label, count in labels.items()))
    if own.get("saturated"):
        remarks.append("saturated: the server fell behind the requested rate, its latencies are those of its queue")
    found = own.get("violations")
    remarks += (
        f"not to be relied upon: {violation['reason']}: {violation['detail']}"
        for violation in (found if isinstance(found, list) else [])
        if isinstance(violation, dict)
    )
    return ["", *remarks] if remarks else []
