"""What a target's own programs say: a stream of JSON records, believed only if it keeps every rule.

    {"kind":"hello","protocol":3,"role":"benchmark","metrics":{"tok_per_s":{"unit":"tok/s","direction":"max","required":true}}}
    {"kind":"sample","level":"c1","request":4,"ttft_ms":12.1,"e2el_ms":240.0,"output_tokens":64}
    {"kind":"check","id":"greedy-17","passed":false,"detail":"token 12: 417, reference 88"}
    {"kind":"result","label":"c1","values":{"tok_per_s":231.4}}       benchmarks: one per label
    {"kind":"result","label":"","verdict":"fail","values":{}}         checkers: one
    {"kind":"error","message":"data set missing","retryable":false}   instead of any result

`hello` comes first. A stream that breaks a rule is void with a reason code: nobody passed, nobody was measured. What the
program prints elsewhere is for people and never read. Protocol 2, the original system's, is read too: its hello names no
role and need not name units and directions, its one result has no label, and it may be an error from the start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.strict_json import Json, is_finite

PROTOCOL = 3
OLD_PROTOCOL = 2
MAX_LINE = 64 << 10
MAX_STREAM = 16 << 20
_NAME = re.compile(r"[!-~]{1,80}")


class StreamVoid(MeasurementError):
    """The program's records cannot be believed."""

    def __init__(self, code: str, detail: str, *, retryable: bool = False) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.retryable = retryable


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class MetricRow(_Record):
    unit: str | None = None
    direction: Literal["max", "min"] | None = None
    required: bool = True


class Hello(_Record):
    kind: Literal["hello"]
    protocol: int
    role: Literal["benchmark", "checker"] | None = None
    metrics: dict[str, MetricRow] = {}


class Sample(_Record):
    kind: Literal["sample"]
    level: str = ""
    request: int
    ttft_ms: float | None = None
    e2el_ms: float | None = None
    output_tokens: int | None = None


class Check(_Record):
    kind: Literal["check"]
    id: str
    passed: bool
    detail: str = ""


class Result(_Record):
    kind: Literal["result"]
    label: str = ""
    verdict: Literal["pass", "fail"] | None = None
    values: dict[str, float | int | None] = {}
    unit: str | None = None
    artifacts: object = None
    metadata: object = None
    """These three are for people: benchmarks of the original write them beside their figures."""


class Failure(_Record):
    kind: Literal["error"]
    message: Annotated[str, Field(min_length=1)]
    retryable: bool = False
    partial: object = None
    """What was measured until then: no figure."""


Record = Hello | Sample | Check | Result | Failure
_KINDS = frozenset({"hello", "sample", "check", "result", "error"})
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


@dataclass(frozen=True, slots=True)
class Declared:
    """What target.toml says that a program reports: (unit, direction) by metric name, and the labels it may use."""

    metrics: Mapping[str, tuple[str, str]]
    labels: tuple[str, ...]


@dataclass(slots=True)
class Stream:
    """The records of a program that kept the rules."""

    samples: list[Sample] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    """By label."""

    @property
    def verdict(self) -> str | None:
        return next((result.verdict for result in self.results.values()), None)

    def values(self, label: str) -> dict[str, float]:
        """Of one label, with what was reported for none in particular."""
        found = {**self._values_of(""), **self._values_of(label)}
        return {name: value for name, value in found.items() if value is not None}

    def _values_of(self, label: str) -> Mapping[str, float | int | None]:
        result = self.results.get(label)
        return result.values if result else {}


def read_stream(content: bytes, role: Literal["benchmark", "checker"], declared: Declared) -> Stream:
    """The stream that a program of this role left; StreamVoid for the first rule that it breaks."""
    if len(content) > MAX_STREAM:
        raise StreamVoid("TOO_LARGE", f"{len(content):,} bytes, at most {MAX_STREAM:,}")
    records = [_parsed(number, line) for number, line in enumerate(content.splitlines(), 1) if line.strip()]
    if records and not isinstance(records[0], Hello | Failure):
        late = any(isinstance(record, Hello) for record in records)
        raise StreamVoid("HELLO_NOT_FIRST" if late else "MISSING_HELLO", "the first record is no hello")
    reader = _Reader(role, declared)
    for record in records:
        reader.take(record)
    return reader.ended()


def _parsed(number: int, line: bytes) -> Record:
    where = f"line {number}"
    if len(line) > MAX_LINE:
        raise StreamVoid("TOO_LARGE", f"{where} has {len(line):,} bytes, at most {MAX_LINE:,}")
    try:
        found: Json = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise StreamVoid("MALFORMED_LINE", f"{where} is not JSON") from error
    if not isinstance(found, dict):
        raise StreamVoid("MALFORMED_LINE", f"{where} is no JSON object")
    if found.get("kind") not in _KINDS:
        raise StreamVoid("UNKNOWN_KIND", f"{where}: {str(found.get('kind'))[:40]!r}")
    _check_values(where, found.get("values"))
    try:
        return _RECORD.validate_python(found)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        code = "UNKNOWN_KEY" if fault["type"] == "extra_forbidden" else "INVALID_RECORD"
        place = ".".join(map(str, fault["loc"][1:]))
        raise StreamVoid(code, f"{where}: {place}: {fault['msg']}") from error


def _check_values(where: str, values: Json) -> None:
    """Figures have codes of their own: the commonest mistakes of benchmarks."""
    for name, value in values.items() if isinstance(values, dict) else ():
        if not _NAME.fullmatch(name):
            raise StreamVoid("INVALID_METRIC_NAME", f"{where}: {name[:80]!r}")
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise StreamVoid("NON_NUMERIC_VALUE", f"{where}: {name} is {value!r}"[:200])
        if value is not None and not is_finite(value):
            raise StreamVoid("NON_FINITE_VALUE", f"{where}: {name} is {value!r}")


class _Reader:
    """The rules that span several records."""

    def __init__(self, role: str, declared: Declared) -> None:
        self._role = role
        self._declared = declared
        self._stream = Stream()
        self._hello: Hello | None = None
        self._old = False
        self._failure: Failure | None = None

    def take(self, record: Record) -> None:
        if self._failure is not None:
            if self._hello is None or self._old:
                return  # what follows is not read
            raise StreamVoid("CONTRADICTION", "something follows the error")
        match record:
            case Hello():
                self._greet(record)
            case Sample():
                self._stream.samples.append(record)
            case Check():
                self._stream.checks.append(record)
            case Failure():
                self._failure = record
            case Result():
                self._conclude(record)

    def _greet(self, hello: Hello) -> None:
        if self._hello is not None:
            raise StreamVoid("DUPLICATE_HELLO", "hello is said once")
        if hello.protocol not in (OLD_PROTOCOL, PROTOCOL):
            raise StreamVoid("UNSUPPORTED_PROTOCOL", f"{hello.protocol}, known are {OLD_PROTOCOL} and {PROTOCOL}")
        self._old = hello.protocol == OLD_PROTOCOL
        if hello.role != self._role and not (self._old and hello.role is None):
            raise StreamVoid("INVALID_RECORD", f"it calls itself {hello.role or 'nothing'}, not a {self._role}")
        if self._role == "benchmark" and not hello.metrics:
            raise StreamVoid("EMPTY_METRICS", "it announces no metric")
        for name, row in hello.metrics.items():
            self._check_row(name, row)
        self._hello = hello

    def _check_row(self, name: str, row: MetricRow) -> None:
        if not _NAME.fullmatch(name):
            raise StreamVoid("INVALID_METRIC_NAME", f"{name[:80]!r}")
        if not self._old and (row.unit is None or row.direction is None):
            raise StreamVoid("INVALID_RECORD", f"hello: {name} needs a unit and a direction")
        declared = self._declared.metrics.get(name)
        if declared is None:
            return
        # There, a unit is for people, and the target's is a guess of whoever imported it.
        unit = declared[0] if self._old else row.unit
        if declared != (unit, row.direction or declared[1]):
            said = f"{name}: {row.unit}, {row.direction}; target.toml says {declared[0]}, {declared[1]}"
            raise StreamVoid("DIRECTION_MISMATCH", said)

    def _conclude(self, result: Result) -> None:
        if result.label in self._stream.results:
            raise StreamVoid("INVALID_RECORD" if self._old else "DUPLICATE_LABEL", f"two results for {result.label!r}")
        if result.label and result.label not in self._declared.labels:
            raise StreamVoid("UNSUPPORTED_LABEL", f"{result.label[:40]!r} is no level of the target")
        if (result.verdict is not None) != (self._role == "checker") and not self._old:
            raise StreamVoid("INVALID_RECORD", "a verdict belongs to a checker's result, and to no other")
        if self._hello is not None and self._role == "benchmark":
            for name in result.values:
                if name not in self._hello.metrics:
                    raise StreamVoid("UNKNOWN_METRIC", f"{name} was not announced")
        self._stream.results[result.label] = result

    def ended(self) -> Stream:
        if self._failure is not None:
            raise StreamVoid("ERROR", self._failure.message[:200], retryable=self._failure.retryable)
        if self._hello is None:
            raise StreamVoid("MISSING_HELLO", "it wrote nothing")
        if not self._stream.results:
            raise StreamVoid("NO_OUTCOME", "it ended without a result")
        if self._role == "checker" and len(self._stream.results) > 1:
            raise StreamVoid("DUPLICATE_LABEL", "a checker gives one result")
        self._check_required(self._hello)
        return self._stream

    def _check_required(self, hello: Hello) -> None:
        required: Sequence[str] = [name for name, row in hello.metrics.items() if row.required]
        for label, result in self._stream.results.items():
            for name in required:
                if result.values.get(name) is None and self._role == "benchmark":
                    raise StreamVoid("MISSING_METRIC", f"{name} of {label or 'the whole'}")
