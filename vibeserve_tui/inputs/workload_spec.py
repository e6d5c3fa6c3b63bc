"""The workload part of target.toml: which requests arrive, how many at once, how long.

Declarations only; drawing requests from them is the evaluation's business.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from vibeserve_tui.inputs.toml_files import MAX_PATH, Section, section_fault


def _relative_path(value: str) -> str:
    parts = value.split("/")
    odd = not value or value.startswith("/") or "\\" in value or not value.isprintable() or len(value) > MAX_PATH
    if odd or {"", ".", ".."} & set(parts):
        raise section_fault(
            f"{value[:60]!r} is not a plain path inside the target's folder",
            fix="write it relative to target.toml, with / and without . or ..",
        )
    return value


def _identifier(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,39}", value):
        raise section_fault(
            f"{value[:60]!r} is not an identifier", fix="1 to 40 of a-z 0-9 - _ . beginning with a letter or digit"
        )
    return value


RelativePath = Annotated[str, AfterValidator(_relative_path)]
Identifier = Annotated[str, AfterValidator(_identifier)]


class FixedLength(Section):
    dist: Literal["fixed"]
    value: PositiveInt

    @property
    def most(self) -> int:
        return self.value


class ChosenLength(Section):
    dist: Literal["choice"]
    values: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Each is equally likely."""

    @property
    def most(self) -> int:
        return max(self.values)


class _RangedLength(Section):
    min: PositiveInt
    max: PositiveInt
    """Included."""

    @model_validator(mode="after")
    def _ordered(self) -> _RangedLength:
        if self.min > self.max:
            raise section_fault(f"min {self.min} is larger than max {self.max}", fix="swap them", field="min")
        return self

    @property
    def most(self) -> int:
        return self.max


class UniformLength(_RangedLength):
    dist: Literal["uniform"]


class LognormalLength(_RangedLength):
    """Drawn again while outside min…max."""

    dist: Literal["lognormal"]
    median: PositiveFloat
    sigma: PositiveFloat


Lengths = Annotated[FixedLength | ChosenLength | UniformLength | LognormalLength, Field(discriminator="dist")]


class Slo(Section):
    """Which requests count for the goodput: those that keep all of these."""

    ttft_ms: PositiveFloat | None = None
    tpot_ms: PositiveFloat | None = None
    e2el_ms: PositiveFloat | None = None


class _Level(Section):
    id: Identifier
    """How metrics, guards and result files name this level."""
    requests: PositiveInt
    """Fixed work: the same list for champion and candidate."""
    slo: Slo | None = None
    """Which requests count for request_goodput."""


class ClosedLevel(_Level):
    mode: Literal["closed"]
    concurrency: PositiveInt
    """Clients, each of which sends its next request when the last one is answered."""


class PoissonLevel(_Level):
    mode: Literal["poisson"]
    rate: PositiveFloat
    """Requests per second."""
    burstiness: PositiveFloat = 1.0
    """Shape of the gamma-distributed gaps; 1 is a Poisson process, less is burstier."""
    max_concurrency: PositiveInt | None = None


class BurstLevel(_Level):
    """All requests at once."""

    mode: Literal["burst"]


class TraceLevel(_Level):
    mode: Literal["trace"]
    file: RelativePath
    """JSON lines, each with `at_s`: when a request is sent, in seconds from the start."""
    factor: PositiveFloat = 1.0
    """Multiplies the recorded time stamps."""


class StreamLevel(_Level):
    """Paced streams: audio in real time."""

    mode: Literal["stream"]
    concurrency: PositiveInt


class SweepLevel(_Level):
    """Geometric request rates until the server saturates; drawn as a chart, never used by a gate."""

    mode: Literal["sweep"]
    start: PositiveFloat
    stop: PositiveFloat

    @model_validator(mode="after")
    def _ordered(self) -> SweepLevel:
        if self.start >= self.stop:
            raise section_fault(f"start {self.start:g} is not below stop {self.stop:g}", field="start")
        return self


Level = Annotated[
    ClosedLevel | PoissonLevel | BurstLevel | TraceLevel | StreamLevel | SweepLevel, Field(discriminator="mode")
]


class WorkloadKind(StrEnum):
    CHAT = "chat"
    TEXT = "text"
    SHARED_PREFIX = "shared_prefix"
    PREDICTED_EDIT = "predicted_edit"
    JSON_SCHEMA = "json_schema"
    AUDIO_STREAM = "audio_stream"
    IMAGE = "image"
    PROGRAM = "program"


class WorkloadOptions(Section):
    """What only some kinds of workload have."""

    prefix_tokens: PositiveInt | None = None
    """shared_prefix: length of the prefix that all requests begin with."""
    draft: str | None = None
    """predicted_edit: the corpus field that is sent as `prediction`."""
    schemas: RelativePath | None = None
    """json_schema: folder of JSON schemas."""
    chunk_s: PositiveFloat | None = None
    """audio_stream: seconds of audio in one message."""
    realtime: bool | None = None
    """audio_stream: whether chunks are sent at the pace of speech."""
    steps: PositiveInt | None = None
    """image: denoising steps."""
    guidance: NonNegativeFloat | None = None
    """image: guidance scale."""
    size: Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=2)] | None = None
    """image: width and height in pixels."""


_OPTIONS: dict[WorkloadKind, tuple[str, ...]] = {
    WorkloadKind.SHARED_PREFIX: ("prefix_tokens",),
    WorkloadKind.PREDICTED_EDIT: ("draft",),
    WorkloadKind.JSON_SCHEMA: ("schemas",),
    WorkloadKind.AUDIO_STREAM: ("chunk_s", "realtime"),
    WorkloadKind.IMAGE: ("steps", "guidance", "size"),
}


class WorkloadSpec(Section):
    """[workload]: what is asked, drawn anew for every judgement and every block of a comparison."""

    kind: WorkloadKind
    """Which generator draws the requests; `program` leaves it to programs.benchmark."""
    corpus: RelativePath | None = None
    """JSON lines `{"id", "messages" | "text"}`, held out from the model's training."""
    prompt_tokens: Lengths | None = None
    """Length of a prompt."""
    output_tokens: Lengths | None = None
    """max_tokens of a request."""
    temperature: NonNegativeFloat = 0.0
    """0 is greedy, as a target's has to be: its answers are compared. `vibeserve bench` may sample."""
    ignore_eos: bool = False
    """Generate all of max_tokens: end-of-text is a token like any other."""
    distinct: bool = True
    """No prompt occurs twice in a window."""
    public_draw: NonNegativeInt = 7
    """Seed of the one draw that agents may see."""
    options: WorkloadOptions = WorkloadOptions()
    """Settings of this kind."""

    @model_validator(mode="after")
    def _complete(self) -> WorkloadSpec:
        needed: list[str] = []
        if self.kind is not WorkloadKind.PROGRAM:
            needed.append("corpus")
            if self.kind not in (WorkloadKind.AUDIO_STREAM, WorkloadKind.IMAGE):
                needed += ["prompt_tokens", "output_tokens"]
        for field in needed:
            if getattr(self, field) is None:
                raise section_fault("is missing", fix=f"workloads of kind {self.kind} need it", field=field)
        self._check_options()
        return self

    def _check_options(self) -> None:
        allowed = _OPTIONS.get(self.kind, ())
        for option in WorkloadOptions.model_fields:
            given = getattr(self.options, option) is not None
            if given and option not in allowed:
                raise section_fault(
                    f"is no option of workload kind {self.kind}",
                    fix=f"options of this kind: {', '.join(allowed) or 'none'}",
                    field=f"options.{option}",
                )
            if option in allowed and not given:
                raise section_fault(
                    "is missing", fix=f"workloads of kind {self.kind} need it", field=f"options.{option}"
                )
