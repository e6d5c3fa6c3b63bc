"""What the load generator is told: where the server listens, which calls, on which schedule.

A plan is complete: the client draws nothing, retries nothing and knows nothing about models, so
two runs of one plan differ only in what the server does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from vibeserve_tui.errors import InputError
from vibeserve_tui.evaluation.strict_json import Fields, Json, parse, without_none

MIB = 1 << 20


class Mode(StrEnum):
    CLOSED = "closed"
    """`concurrency` workers, each sends its next call when the last one is answered."""
    POISSON = "poisson"
    """Absolute times from seeded gamma gaps whose total is exactly calls / rate."""
    BURST = "burst"
    """All at once."""
    TRACE = "trace"
    """At each call's own `at_s`, times `time_scale`."""


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call and how its reply is read."""

    id: str
    path: str
    body: Json = None
    """Sent as JSON; None sends no body."""
    raw: bytes | None = None
    """Sent as it is, in place of `body`: how a malformed request is made."""
    method: str = "POST"
    stream: bool = True
    """Read the reply as server-sent events; else as one JSON document."""
    at_s: float = 0.0
    """When a trace sends it, in seconds from the start."""
    timeout_s: float | None = None
    """Seconds from sending to the end of the reply; None = the plan's."""
    cancel_after: int | None = None
    """Hang up after this many events."""
    keep_events: bool = False
    """Report every event as it came, beside the tokens found in it."""
    prompt_tokens: int | None = None
    """Length of the prompt, where the sender knows it."""

    def to_json(self) -> dict[str, Json]:
        return without_none(
            {
                "id": self.id,
                "path": self.path,
                "body": self.body,
                "raw_base64": None if self.raw is None else base64.b64encode(self.raw).decode(),
                "method": None if self.method == "POST" else self.method,
                "stream": self.stream,
                "at_s": self.at_s,
                "timeout_s": self.timeout_s,
                "cancel_after": self.cancel_after,
                "keep_events": self.keep_events,
                "prompt_tokens": self.prompt_tokens,
            }
        )

    @classmethod
    def from_json(cls, value: Json, where: str) -> Call:
        fields = Fields(value, where)
        call = cls(
            id=fields.text("id"),
            path=fields.text("path"),
            body=fields.json("body"),
            raw=_bytes(fields.optional("raw_base64", fields.text), where),
            method=fields.text("method", "POST"),
            stream=fields.flag("stream", default=True),
            at_s=fields.number("at_s", 0.0),
            timeout_s=fields.optional("timeout_s", fields.number),
            cancel_after=fields.optional("cancel_after", fields.integer),
            keep_events=fields.flag("keep_events", default=False),
            prompt_tokens=fields.optional("prompt_tokens", fields.integer),
        )
        fields.close()
        call.check(where)
        return call

    def check(self, where: str) -> None:
        if not self.path.startswith("/") or any(c in self.path for c in " \r\n"):
            raise InputError(f"path {self.path!r} is not an absolute path without blanks", where=where)
        if self.method not in ("POST", "GET"):
            raise InputError(f"method {self.method!r} is neither POST nor GET", where=where)
        if self.body is not None and self.raw is not None:
            raise InputError("body and raw_base64 exclude one another", where=where)
        if self.at_s < 0 or (self.timeout_s is not None and self.timeout_s <= 0):
            raise InputError("at_s must be ≥ 0 and timeout_s > 0", where=where)


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Everything one window needs. Times are seconds."""

    host: str
    port: int
    mode: Mode
    calls: tuple[Call, ...]
    deadline_s: float
    """From the start of the window; calls still open then are cut and reported so."""
    concurrency: int | None = None
    """Calls in flight at most; None = no cap (needed by closed)."""
    rate: float | None = None
    """Calls per second on average (poisson)."""
    burstiness: float = 1.0
    """Shape of the gamma gaps: 1 = Poisson arrivals, smaller = burstier."""
    seed: int = 0
    """Of the gaps."""
    time_scale: float = 1.0
    """Stretches a trace: 2 = half as fast."""
    timeout_s: float = 120.0
    """Of each call, unless it says otherwise."""
    send_for_s: float | None = None
    """Send nothing later than this; calls not sent are no error (warm-up by time)."""
    cores: tuple[int, ...] = ()
    """Pin the client to these; empty = leave it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to each call, such as an authorization."""
    max_reply_mib: int = 16
    """A longer reply is cut and fails."""

    def __post_init__(self) -> None:
        where = "load plan"
        if not self.calls:
            raise InputError("there are no calls", where=where)
        if len({call.id for call in self.calls}) != len(self.calls):
            raise InputError("two calls have the same id", where=where)
        if self.mode is Mode.CLOSED and self.concurrency is None:
            raise InputError("mode closed needs a concurrency", where=where)
        if self.mode is Mode.POISSON and self.rate is None:
            raise InputError("mode poisson needs a rate", where=where)
        positive = (self.deadline_s, self.burstiness, self.time_scale, self.timeout_s, self.max_reply_mib)
        optional = (self.concurrency, self.rate, self.send_for_s)
        if min(positive) <= 0 or any(value is not None and value <= 0 for value in optional):
            raise InputError("times, rates, counts and limits must be > 0", where=where)
        if any(c in name + value for name, value in self.headers.items() for c in "\r\n"):
            raise InputError("a header may not hold a line break", where=where)
        for index, call in enumerate(self.calls):
            call.check(f"{where}: calls[{index}]")

    def to_json(self) -> dict[str, Json]:
        return without_none(
            {
                "host": self.host,
                "port": self.port,
                "mode": self.mode.value,
                "calls": [call.to_json() for call in self.calls],
                "deadline_s": self.deadline_s,
                "concurrency": self.concurrency,
                "rate": self.rate,
                "burstiness": self.burstiness,
                "seed": self.seed,
                "time_scale": self.time_scale,
                "timeout_s": self.timeout_s,
                "send_for_s": self.send_for_s,
                "cores": list(self.cores),
                "headers": dict(self.headers),
                "max_reply_mib": self.max_reply_mib,
            }
        )

    @classmethod
    def from_json(cls, value: Json, where: str = "load plan") -> LoadPlan:
        fields = Fields(value, where)
        plan = cls(
            host=fields.text("host"),
            port=fields.integer("port"),
            mode=_mode(fields.text("mode"), where),
            calls=tuple(Call.from_json(call, f"{where}: calls[{i}]") for i, call in enumerate(fields.array("calls"))),
            deadline_s=fields.number("deadline_s"),
            concurrency=fields.optional("concurrency", fields.integer),
            rate=fields.optional("rate", fields.number),
            burstiness=fields.number("burstiness", 1.0),
            seed=fields.integer("seed", 0),
            time_scale=fields.number("time_scale", 1.0),
            timeout_s=fields.number("timeout_s", 120.0),
            send_for_s=fields.optional("send_for_s", fields.number),
            cores=tuple(int(core) for core in fields.numbers("cores")),
            headers=fields.text_table("headers"),
            max_reply_mib=fields.integer("max_reply_mib", 16),
        )
        fields.close()
        return plan

    def to_bytes(self) -> bytes:
        return json.dumps(self.to_json(), separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> LoadPlan:
        return cls.from_json(parse(text, "load plan"))

    def sha256(self) -> str:
        """Of the calls alone, in order: equal for both sides of a comparison, whatever their ports."""
        calls: Sequence[Json] = [call.to_json() for call in self.calls]
        return hashlib.sha256(json.dumps(calls, sort_keys=True).encode()).hexdigest()


def _mode(name: str, where: str) -> Mode:
    try:
        return Mode(name)
    except ValueError as error:
        raise InputError(f"mode {name!r} is none of {', '.join(Mode)}", where=where) from error


def _bytes(encoded: str | None, where: str) -> bytes | None:
    if encoded is None:
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise InputError(f"raw_base64: {error}", where=where) from error
