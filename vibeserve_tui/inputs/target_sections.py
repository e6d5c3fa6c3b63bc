"""The tables of target.toml: endpoints, metrics, guards, model, serve, accuracy, programs.

Each checks itself; what has to agree between them is checked by `inputs.target`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
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

from vibeserve_tui.errors import did_you_mean
from vibeserve_tui.inputs.toml_files import Section, section_fault
from vibeserve_tui.inputs.workload_spec import Identifier, RelativePath
from vibeserve_tui.metrics import Basis, Direction, MetricSpec, Role

SERVE_PLACEHOLDERS = frozenset({"python"})
PROGRAM_PLACEHOLDERS = frozenset(
    {"python", "url", "ws_url", "port", "model_dir", "target", "reference", "out", "draw", "level", "workspace"}
)
_ENGINES_OWN_ENV = frozenset({"PATH", "HOME", "LANG", "TMPDIR", "BUILD_DIR", "MODEL_DIR", "HOST", "PORT"})
_SECRET_WORDS = frozenset({"KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIALS"})


def _word(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", value):
        raise section_fault(f"{value[:60]!r} is not a plain word", fix="write it as a-z 0-9 _ -")
    return value


def _metric_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*", value) or len(value) > 80:
        raise section_fault(
            f"{value[:60]!r} is not a metric's name", fix="letters, digits and _, beginning with a letter; paths with ."
        )
    return value


def _endpoint_path(value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
        raise section_fault(f"{value[:60]!r} is not a URL path", fix="write it like /v1/completions")
    return value


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise section_fault(
            "is not a SHA-256 digest", fix="64 hexadecimal digits; `vibeserve target check` prints them"
        )
    return value


def _argument(value: str) -> str:
    if not value or "\0" in value:
        raise section_fault("an argument is empty or holds a NUL", fix="give each argument as text of its own")
    return value


Word = Annotated[str, AfterValidator(_word)]
Argv = Annotated[tuple[Annotated[str, AfterValidator(_argument)], ...], Field(min_length=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class Modality(StrEnum):
    TEXT_GENERATION = "text_generation"
    SPEECH_TO_TEXT = "speech_to_text"
    IMAGE_GENERATION = "image_generation"


class Limits(Section):
    """What the candidate's box may use."""

    memory_mib: PositiveInt = 4096
    processes: PositiveInt = 64
    disk_mib: PositiveInt = 512


class Endpoint(Section):
    path: Annotated[str, AfterValidator(_endpoint_path)]
    stream: Literal["none", "sse", "websocket"] = "none"
    max_tokens_per_chunk: PositiveInt = 1
    """More than 1 for speculation, where a verify step yields several tokens."""
    fields: tuple[
        Literal[
            "temperature", "top_p", "seed", "stop", "ignore_eos", "logprobs", "return_token_ids", "prediction",
            "response_format",
        ],
        ...,
    ] = ()  # fmt: skip
    """Optional request fields that must work."""


class _Figure(Section):
    name: Annotated[str, AfterValidator(_metric_name)]
    """A key of the load generator (vLLM's names), or of programs.benchmark."""
    level: Identifier | None = None
    """The level it is taken from; none for figures of the whole process."""
    unit: Annotated[str, Field(min_length=1, max_length=16)]
    direction: Direction


class TargetMetric(_Figure):
    headline: bool = False
    """The figure that decides what is better."""
    min_effect: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Smallest relative gain worth keeping; it may raise the gate's own, never lower it."""

    @property
    def spec(self) -> MetricSpec:
        return MetricSpec(
            name=self.name,
            unit=self.unit,
            direction=self.direction,
            level=self.level,
            role=Role.HEADLINE if self.headline else Role.INFO,
            min_effect=math.log1p(self.min_effect),
        )


class Guard(_Figure):
    """A figure that may not get worse, whatever the headline gains."""

    tolerance: Annotated[float | None, Field(ge=0, lt=1)] = None
    """Relative worsening that is let pass: 0.05 if neither this nor max is given."""
    basis: Basis = Basis.CHAMPION
    """Compared with the champion at each gate, or with the baseline at confirmations."""
    at_most: Annotated[PositiveFloat | None, Field(alias="max")] = None
    """Absolute bound, in the metric's unit."""

    @model_validator(mode="after")
    def _bounded_from_the_right_side(self) -> Guard:
        if self.at_most is not None and self.direction is Direction.MAX:
            raise section_fault(
                "means nothing where more is better", fix='remove it, or set direction "min"', field="max"
            )
        return self

    @property
    def spec(self) -> MetricSpec:
        return MetricSpec(
            name=self.name,
            unit=self.unit,
            direction=self.direction,
            level=self.level,
            role=Role.GUARD,
            tolerance=None if self.tolerance is None else math.log1p(self.tolerance),
            basis=self.basis,
            max=self.at_most,
        )


class Hub(Section):
    id: str = ""
    revision: str = ""
    """The full commit hash: branches move."""


class ModelSpec(Section):
    """[model]: the weights that the server gets in $MODEL_DIR."""

    source: Literal["bundled", "local", "hub"]
    """bundled: path · local: `--model DIR` · hub: from the local cache. A run never downloads."""
    path: RelativePath | None = None
    """bundled only: the model's folder inside the target."""
    hub: Hub = Hub()
    """hub only: repository and revision."""
    architecture: Word
    """transformers' model_type; recipes look at it."""
    format: Literal["safetensors", "gguf", "mlx"] = "safetensors"
    """Pickles (.bin .pt .pth) are refused."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the truth."""
    exact_in: Literal["", "bfloat16", "float16"] = ""
    """A smaller type that holds the weights without loss: an engine may store it and still be exact."""
    max_context: PositiveInt
    """Longest prompt and output together, in tokens."""
    sha256: Annotated[str, AfterValidator(_sha256)] | None = None
    """Digest of the model folder, checked when a run starts; bundled weights need it."""

    @model_validator(mode="after")
    def _source_is_complete(self) -> ModelSpec:
        if (self.source == "bundled") != (self.path is not None):
            raise section_fault(
                "is missing" if self.path is None else f"means nothing with source {self.source!r}",
                fix="bundled weights have a path, others do not",
                field="path",
            )
        if self.source == "bundled" and self.sha256 is None:
            raise section_fault("is missing", fix="`vibeserve target check` prints it", field="sha256")
        if (self.source == "hub") != bool(self.hub.id and re.fullmatch(r"[0-9a-f]{40}", self.hub.revision)):
            raise section_fault(
                "needs an id and a revision of 40 hexadecimal digits"
                if self.source == "hub"
                else f"means nothing with source {self.source!r}",
                fix='hub = { id = "owner/name", revision = "<commit>" } together with source = "hub"',
                field="hub",
            )
        return self


class ServeTimeouts(Section):
    build: PositiveFloat = 180.0
    ready: PositiveFloat = 120.0
    stop: PositiveFloat = 10.0


class ServeSpec(Section):
    """[serve]: how a candidate is built and started; no shell."""

    command: Argv
    """Started in a fresh read-only checkout; {python} is the interpreter."""
    build: tuple[str, ...] = ()
    """Run once per tree, boxed, without network; writes to $BUILD_DIR."""
    timeout_s: ServeTimeouts = ServeTimeouts()
    """Seconds for the build, until healthy, and to stop."""
    env: Mapping[str, str] = {}
    """Extra literals; never secrets."""

    @model_validator(mode="after")
    def _usable(self) -> ServeSpec:
        _check_placeholders(self.command, SERVE_PLACEHOLDERS, "command")
        _check_placeholders(self.build, SERVE_PLACEHOLDERS, "build")
        for name in self.env:
            _check_variable(name)
        return self


def _check_variable(name: str) -> None:
    field = f"env.{name}"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise section_fault("is not a variable's name", fix="letters, digits and _", field="env")
    if name in _ENGINES_OWN_ENV or name.startswith("VIBESERVE_"):
        raise section_fault("is set by the engine itself", fix="choose another name", field=field)
    if _SECRET_WORDS & set(name.upper().split("_")):
        raise section_fault("looks like a secret", fix="a server gets none; remove it", field=field)


def _check_placeholders(argv: tuple[str, ...], known: frozenset[str], field: str) -> None:
    for index, argument in enumerate(argv):
        for name in re.findall(r"\{(\w*)\}", argument):
            if name not in known:
                raise section_fault(
                    f"unknown placeholder {{{name}}}{did_you_mean(name, known)}",
                    fix=f"known here: {', '.join(f'{{{one}}}' for one in sorted(known))}",
                    field=f"{field}[{index}]",
                )


class GapLimits(Section):
    """Bounds on log p(best) − log p(emitted) over all positions, as the reference sees them."""

    max: NonNegativeFloat | None = None
    p99: NonNegativeFloat | None = None
    mean: NonNegativeFloat | None = None
    share_05: Annotated[float | None, Field(ge=0, le=1)] = None
    """Share of positions with a gap above 0.05."""
    share_2: Annotated[float | None, Field(ge=0, le=1)] = None
    """Share of positions with a gap above 0.2."""


CLASS_LIMITS: Mapping[str, GapLimits] = {
    # Of rounding arithmetic only the share of positions with a gap is bounded, not the largest gap: in 11,280 positions
    # of the shipped Llama bf16 shows 17 gaps above 0.05, 7 above 0.2 and one of 6.6; int8 weights 15 of 8,112 above
    # 0.05; dynamic int8 in batches of sixteen 2.9 % of 5,120 above 0.2, up to 7.7. A skipped layer: 27 % above 0.2. A
    # trained 5 M-parameter Llama has a third to a tenth of these. `vibeserve target calibrate` finds a checkpoint's own.
    "exact": GapLimits(max=0.002),
    "numeric": GapLimits(share_05=0.002, share_2=0.001, mean=0.001),
    "quantised": GapLimits(share_2=0.005, p99=0.15, mean=0.005),
}


class Battery(Section):
    """Counts that may raise the run profile's."""

    held_out: NonNegativeInt = 0
    """Held-out prompts, teacher-forced."""
    perturb: NonNegativeInt = 0
    """Prompts changed at one token."""
    batch_invariance: NonNegativeInt = 0
    """Prompts sent alone, in a full batch, permuted and after a restart."""
    sampling: NonNegativeInt = 0
    """Samples of a first token at temperature 1."""


class AccuracySpec(Section):
    """[accuracy]: when an answer is right."""

    tolerance_class: Annotated[Literal["exact", "numeric", "quantised"], Field(alias="class")] = "numeric"
    """exact: greedy tokens but for ties of rounding size · numeric: bf16 arithmetic · quantised: 4 to 8 bits."""
    task: Literal["", "json", "wer", "pixel"] = ""
    """Scores content instead of tokens."""
    limits: GapLimits = GapLimits()
    """Overrides of the class; set by `vibeserve target calibrate`."""
    weight_swap: Literal["accept", "new_best", "off"] = "accept"
    """When a candidate must also serve perturbed weights, against a new truth."""
    battery: Battery = Battery()
    """May raise the run profile's counts."""
    timed_share: Share = 0.15
    """Share of the timed run's own answers that is verified."""
    error_budget: NonNegativeInt = 0
    """Failed requests allowed in a timed run."""

    @property
    def gap_limits(self) -> GapLimits:
        """The class's bounds with this target's overrides in place."""
        return CLASS_LIMITS[self.tolerance_class].model_copy(update=self.limits.model_dump(exclude_none=True))


class Program(Section):
    command: Argv
    timeout_s: PositiveFloat = 300.0

    @model_validator(mode="after")
    def _usable(self) -> Program:
        _check_placeholders(self.command, PROGRAM_PLACEHOLDERS, "command")
        return self


class Programs(Section):
    """[programs]: the user's own; each runs as a process of its own, without the candidate's files."""

    checker: Program | None = None
    """A further gate beside the built-in battery; both must pass."""
    benchmark: Program | None = None
    """Replaces the built-in load generator; only with workload.kind = "program"."""
