"""What the load generator saw: every call with its times, tokens and end; and its own cost.

All times are seconds on one monotonic clock, counted from the start of the window. The report
holds observations only; what they mean is said in `load_summary` and `load_validity`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from vibeserve_tui.evaluation.strict_json import Fields, Json, parse, without_none


class Fault(StrEnum):
    """Why a call failed. A status of 400 or more is `http_<status>` instead."""

    REFUSED = "refused"
    """Nobody listens."""
    UNREACHABLE = "unreachable"
    """The connection could not be made for another reason."""
    DROPPED = "dropped"
    """Closed before the first byte of a reply."""
    RESET = "reset"
    """The connection was reset."""
    EARLY_CLOSE = "early_close"
    """Closed within the reply."""
    TIMEOUT = "timeout"
    """No byte of a reply in time."""
    STALL = "stall"
    """The reply began and did not end in time."""
    DEADLINE = "deadline"
    """Still open when the window was cut."""
    NOT_SENT = "not_sent"
    """Still waiting for its turn when the window was cut."""
    CANCELLED = "cancelled"
    """Hung up by us, as planned."""
    BAD_HTTP = "bad_http"
    TOO_LARGE = "too_large"
    NOT_SSE = "not_sse"
    """Answered in another content type than text/event-stream."""
    BAD_UTF8 = "bad_utf8"
    BAD_JSON = "bad_json"
    BAD_SHAPE = "bad_shape"
    """JSON, but not the fields that the API promises."""
    STREAM_ERROR = "stream_error"
    """The stream carried an `error` object."""
    EMPTY = "empty"
    """A complete stream without one token or character."""
    NO_FINISH = "no_finish"
    """The stream ended without a finish_reason."""
    NO_DONE = "no_done"
    """The stream ended without `data: [DONE]`."""


LOST = frozenset({Fault.DROPPED, Fault.TIMEOUT, Fault.DEADLINE})
"""Sent, and no whole reply of any kind came."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the server states them; a claim, not a measurement."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(slots=True)
class CallReport:
    """One call. `chunk_*` are parallel; a chunk carries ≥ 1 token id or some text."""

    id: str
    t_sched: float
    """When the schedule wanted it; equal to t_sent in a closed loop."""
    t_sent: float | None = None
    t_end: float | None = None
    """Last byte of the reply, or the moment of the failure."""
    error: str = ""
    """A `Fault` or `http_<status>`; "" = ok."""
    detail: str = ""
    status: int | None = None
    content_type: str = ""
    chunk_t: list[float] = field(default_factory=list)
    chunk_ids: list[list[int]] = field(default_factory=list)
    chunk_text: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Usage | None = None
    prompt_tokens: int | None = None
    """As planned by the sender."""
    body: Json = None
    """The reply of a call without streaming, or of a failed one, if it was JSON."""
    events: list[Json] | None = None
    """Every event of the stream, if the plan asked for them."""

    @property
    def ok(self) -> bool:
        return not self.error

    @property
    def token_ids(self) -> list[int]:
        return [token for ids in self.chunk_ids for token in ids]

    @property
    def text(self) -> str:
        return "".join(self.chunk_text)

    @property
    def output_tokens(self) -> int | None:
        """Ids counted by us; without ids the server's usage; else unknown."""
        counted = sum(map(len, self.chunk_ids))
        if counted:
            return counted
        return None if self.usage is None else self.usage.completion_tokens

    def to_json(self) -> dict[str, Json]:
        return without_none(
            {
                "id": self.id,
                "t_sched": round(self.t_sched, 6),
                "t_sent": _rounded(self.t_sent),
                "t_end": _rounded(self.t_end),
                "error": self.error,
                "detail": self.detail,
                "status": self.status,
                "content_type": self.content_type,
                "chunk_t": [round(t, 6) for t in self.chunk_t],
                "chunk_ids": [list(ids) for ids in self.chunk_ids],
                "chunk_text": list(self.chunk_text),
                "finish_reason": self.finish_reason,
                "usage": None if self.usage is None else asdict(self.usage),
                "prompt_tokens": self.prompt_tokens,
                "body": self.body,
                "events": self.events,
            }
        )

    @classmethod
    def from_json(cls, value: Json, where: str) -> CallReport:
        fields = Fields(value, where)
        report = cls(
            id=fields.text("id"),
            t_sched=fields.number("t_sched"),
            t_sent=fields.optional("t_sent", fields.number),
            t_end=fields.optional("t_end", fields.number),
            error=fields.text("error"),
            detail=fields.text("detail"),
            status=fields.optional("status", fields.integer),
            content_type=fields.text("content_type"),
            chunk_t=fields.numbers("chunk_t"),
            chunk_ids=_id_lists(fields.array("chunk_ids"), where),
            chunk_text=fields.texts("chunk_text"),
            finish_reason=fields.optional("finish_reason", fields.text),
            usage=usage_from_json(fields.json("usage"), where),
            prompt_tokens=fields.optional("prompt_tokens", fields.integer),
            body=fields.json("body"),
            events=fields.optional("events", fields.array),
        )
        fields.close()
        return report


@dataclass(frozen=True, slots=True)
class Lag:
    """How late something happened, in ms."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class ClientUse:
    """What the client itself cost and whether it kept up, between start and end of the window."""

    cpu_s: float
    wall_s: float
    loop_lag: Lag
    """Of a timer that ticks all the time: how long a ready socket may have waited."""
    schedule_lag: Lag
    """Of the calls of an open loop against their schedule."""
    reads: int
    bytes_read: int
    connections: int
    peak_in_flight: int
    suspended_s: float
    """The machine slept, or the wall clock jumped, for so long."""

    def to_json(self) -> dict[str, Json]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Json, where: str) -> ClientUse:
        fields = Fields(value, where)
        use = cls(
            cpu_s=fields.number("cpu_s"),
            wall_s=fields.number("wall_s"),
            loop_lag=_lag(fields.json("loop_lag"), f"{where}.loop_lag"),
            schedule_lag=_lag(fields.json("schedule_lag"), f"{where}.schedule_lag"),
            reads=fields.integer("reads"),
            bytes_read=fields.integer("bytes_read"),
            connections=fields.integer("connections"),
            peak_in_flight=fields.integer("peak_in_flight"),
            suspended_s=fields.number("suspended_s"),
        )
        fields.close()
        return use


@dataclass(frozen=True, slots=True)
class LoadReport:
    """One window. `calls` are in the plan's order."""

    plan_sha256: str
    mode: str
    started_at: str
    """Wall clock, ISO 8601, UTC."""
    t0_monotonic_s: float
    """The window's start on the machine's monotonic clock."""
    distinct_prompts: int
    client: ClientUse
    calls: tuple[CallReport, ...]
    concurrency: int | None = None
    rate: float | None = None
    burstiness: float = 1.0
    seed: int = 0

    def to_json(self) -> dict[str, Json]:
        return without_none(
            {
                "plan_sha256": self.plan_sha256,
                "mode": self.mode,
                "started_at": self.started_at,
                "t0_monotonic_s": self.t0_monotonic_s,
                "distinct_prompts": self.distinct_prompts,
                "client": self.client.to_json(),
                "calls": [call.to_json() for call in self.calls],
                "concurrency": self.concurrency,
                "rate": self.rate,
                "burstiness": self.burstiness,
                "seed": self.seed,
            }
        )

    @classmethod
    def from_json(cls, value: Json, where: str = "load report") -> LoadReport:
        fields = Fields(value, where)
        calls = fields.array("calls")
        report = cls(
            plan_sha256=fields.text("plan_sha256"),
            mode=fields.text("mode"),
            started_at=fields.text("started_at"),
            t0_monotonic_s=fields.number("t0_monotonic_s"),
            distinct_prompts=fields.integer("distinct_prompts"),
            client=ClientUse.from_json(fields.json("client"), f"{where}: client"),
            calls=tuple(CallReport.from_json(call, f"{where}: calls[{i}]") for i, call in enumerate(calls)),
            concurrency=fields.optional("concurrency", fields.integer),
            rate=fields.optional("rate", fields.number),
            burstiness=fields.number("burstiness"),
            seed=fields.integer("seed"),
        )
        fields.close()
        return report

    def to_bytes(self) -> bytes:
        return json.dumps(self.to_json(), separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> LoadReport:
        return cls.from_json(parse(text, "load report"))


def usage_from_json(value: Json, where: str) -> Usage | None:
    """From an API's `usage` object, which may hold more than we read."""
    if value is None:
        return None
    if not isinstance(value, dict):
        value = {}
    fields = Fields({key: value.get(key) for key in ("prompt_tokens", "completion_tokens")}, f"{where}: usage")
    return Usage(fields.integer("prompt_tokens"), fields.integer("completion_tokens"))


def _id_lists(values: Iterable[Json], where: str) -> list[list[int]]:
    lists = []
    for value in values:
        fields = Fields({"ids": value}, where)
        lists.append([int(token) for token in fields.numbers("ids")])
    return lists


def _lag(value: Json, where: str) -> Lag:
    fields = Fields(value, where)
    lag = Lag(*(fields.number(name) for name in ("mean_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms")))
    fields.close()
    return lag


def _rounded(t: float | None) -> float | None:
    return None if t is None else round(t, 6)
