"""The schema of recipe.toml: what a person writes, read and checked once.

Wherever a number is expected, text in quotes is an expression. Nothing here knows the folder a recipe lies in or
the other recipes; `recipe` does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    PlainValidator,
    StringConstraints,
    model_validator,
)
from pydantic_core import core_schema

from vibeserve_tui.errors import did_you_mean
from vibeserve_tui.inputs.target_rules import PROCESS_METRICS
from vibeserve_tui.inputs.toml_files import MAX_PATH, Section, section_fault
from vibeserve_tui.metrics import Direction, MetricSpec, Role
from vibeserve_tui.recipes.expression_syntax import ExpressionError
from vibeserve_tui.recipes.expressions import Expression, parse
from vibeserve_tui.recipes.facts import METRIC_NAMES


class Layer(StrEnum):
    """The part of a server that a recipe changes; the planner learns across recipes of one layer."""

    LAUNCH = "launch"
    MODEL = "model"
    KV = "kv"
    KERNEL = "kernel"
    DTYPE = "dtype"
    SCHEDULE = "schedule"
    SAMPLE = "sample"
    GRAMMAR = "grammar"
    HTTP = "http"


class Risk(StrEnum):
    """What a recipe may change about the answers."""

    BIT_EXACT = "bit-exact"
    NUMERICS = "numerics"
    SAMPLING = "sampling"
    PROTOCOL = "protocol"


def _expression(value: object) -> Expression:
    if not isinstance(value, str):
        raise section_fault("must be an expression in quotes")
    try:
        return parse(value)
    except ExpressionError as error:
        raise section_fault(f"{error.what} in {error.where!r}", fix=error.fix) from error


def _quantity(value: object) -> Expression:
    return _expression(repr(value) if isinstance(value, bool | int | float) else value)


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or "\\" in path or ".." in parts or not parts or len(path) > MAX_PATH:
        raise section_fault(f"{path[:60]!r} does not name a place inside the folder", fix="write a relative path")
    return path


def _inside_workspace(path: str) -> str:
    if PurePosixPath(path).parts[0] in {".git", ".vibeserve"}:
        raise section_fault(f"{path!r} is kept by the engine", fix="change the candidate's own files only")
    return path


def _metric(name: str) -> str:
    if name not in METRIC_NAMES:
        raise section_fault(f"no metric {name[:60]!r}{did_you_mean(name, METRIC_NAMES)}")
    return name


@dataclass(frozen=True, slots=True, eq=False)
class _ReadBy:
    """What is written as text and kept as a value of ours. A `PlainValidator` would have pydantic look into the value's
    class, once for every field that has it: a fifth of a second at every start.
    """

    read: Callable[[object], object]
    written: core_schema.CoreSchema

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read, json_schema_input_schema=self.written, serialization=core_schema.to_string_ser_schema()
        )


_TEXT = core_schema.str_schema()
_TEXT_OR_NUMBER = core_schema.union_schema(
    [_TEXT, core_schema.int_schema(), core_schema.float_schema(), core_schema.bool_schema()]
)
Expr = Annotated[Expression, _ReadBy(_expression, _TEXT)]
Quantity = Annotated[Expression, _ReadBy(_quantity, _TEXT_OR_NUMBER)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Capability = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+$", max_length=60)]
RegionName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]*$", max_length=60)]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Digests = Annotated[
    tuple[Digest, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v), Field(min_length=1)
]
SkillPath = Annotated[str, AfterValidator(_inside)]
WorkspacePath = Annotated[str, AfterValidator(_inside), AfterValidator(_inside_workspace)]
MetricName = Annotated[str, AfterValidator(_metric)]


class Capabilities(Section):
    """What a recipe needs from, adds to and removes from the candidate's tree."""

    needs: tuple[Capability, ...] = ()
    provides: tuple[Capability, ...] = ()
    conflicts: tuple[Capability, ...] = ()
    supersedes: tuple[Capability, ...] = ()


class Requires(Section):
    """All of it must hold; what is unknown makes the recipe not applicable."""

    backends: tuple[str, ...] = Field(min_length=1)
    tools: tuple[str, ...] = ()
    """Tools that must answer when they are run, e.g. "cxx"."""
    device: Expr | None = None
    hw: Expr | None = None
    model: Expr | None = None
    workload: Expr | None = None
    target: Expr | None = None

    def conditions(self) -> Iterator[Expression]:
        for condition in (self.device, self.hw, self.model, self.workload, self.target):
            if condition is not None:
                yield condition


class Evidence(Section):
    """A reason to expect a gain here and now."""

    expr: Expr
    weight: float = Field(default=1.0, gt=0, le=1)
    bound: Expr | None = None
    """The share of the time that can be saved at all (Amdahl)."""


class Prior(Section):
    """What was measured elsewhere, before this run knows anything."""

    log_gain: float
    """Natural logarithm of the expected ratio."""
    sd: float = Field(gt=0, le=3)
    metric: MetricName
    source: str = Field(min_length=1)


class NumberParam(Section):
    """An integer or a real number, out of a range or out of choices."""

    type: Literal["int", "float"]
    range: tuple[Quantity, Quantity] | None = None
    choices: tuple[Quantity, ...] | None = Field(default=None, min_length=1)
    default: Quantity
    """Moved to the nearest legal value, so that it is legal on every machine."""
    log: bool = False
    """Neighbours are found by doubling and halving."""
    when: Expr | None = None
    """Only tuned where this holds."""

    @model_validator(mode="after")
    def _one_domain(self) -> Self:
        if (self.range is None) == (self.choices is None):
            raise section_fault("needs either range or choices", fix="e.g. range = [1, 'hw.cores']")
        return self


class BoolParam(Section):
    type: Literal["bool"]
    default: Quantity
    when: Expr | None = None


class EnumParam(Section):
    """One word out of several; the words are literal, not expressions."""

    type: Literal["enum"]
    choices: tuple[str, ...] = Field(min_length=1)
    default: str
    when: Expr | None = None

    @model_validator(mode="after")
    def _default_is_a_choice(self) -> Self:
        if self.default not in self.choices:
            what = f"{self.default!r} is not among the choices{did_you_mean(self.default, self.choices)}"
            raise section_fault(what, field="default")
        return self


Param = Annotated[NumberParam | BoolParam | EnumParam, Field(discriminator="type")]


class RegionTarget(Section):
    file: WorkspacePath
    region: RegionName


class FileTarget(Section):
    file: WorkspacePath


class KeyTarget(Section):
    file: WorkspacePath
    key: Identifier


class ReplaceRegion(Section):
    """Put an asset between the markers of a region."""

    op: Literal["replace_region"]
    target: RegionTarget
    asset: SkillPath
    """Ending in .j2: rendered with `params` and the facts in scope; else taken as it is."""
    expects: Digests
    """Digest of the region's text that the asset was written against; several when it fits several."""
    base: SkillPath | None = None
    """That text itself, needed to merge when somebody changed the region."""
    when: Expr | None = None


class AddFile(Section):
    op: Literal["add_file"]
    target: FileTarget
    asset: SkillPath
    expects: Digests | None = None
    """Digest of the whole file that the asset takes the place of; without it there must be no such file yet."""
    when: Expr | None = None


class DeleteFile(Section):
    op: Literal["delete_file"]
    target: FileTarget
    when: Expr | None = None


class SetConfig(Section):
    """Set one key of a JSON file of the candidate; an existing key keeps its type."""

    op: Literal["set_config"]
    target: KeyTarget
    value: Quantity
    """A number or yes/no; text in quotes is an expression, e.g. "params.threads"."""
    when: Expr | None = None


Operation = Annotated[ReplaceRegion | AddFile | DeleteFile | SetConfig, Field(discriminator="op")]


class Verify(Section):
    """Cheap checks before the real judge; Python files are always compiled, the others run in the candidate's box."""

    static: tuple[Annotated[str, StringConstraints(pattern=r"^(py_compile|import [A-Za-z_][\w.]*)$")], ...] = ()
    probe: SkillPath | None = None
    activation: Expr | None = None
    """Holds after traffic if the new code really ran."""
    max_seconds: float = Field(default=60, gt=0, le=600)


_GUARD = re.compile(r"^(?P<metric>\w+) (?P<sign><=|>=) (?P<factor>\d+(\.\d+)?) \* champion$")
_MORE_IS_BETTER = frozenset({"request_throughput", "output_throughput", "total_token_throughput", "request_goodput"})
_UNITS = {
    "_ms": "ms",
    "_ms_per_token": "ms",
    "_mib": "MiB",
    "_throughput": "1/s",
    "_goodput": "req/s",
    "_rate": "share",
}


@dataclass(frozen=True, slots=True)
class Guard:
    """A metric that may not get worse than `factor` times the champion's: the gate holds the recipe to it."""

    metric: str
    sign: Literal["<=", ">="]
    factor: float

    @classmethod
    def parse(cls, text: object) -> Guard:
        found = _GUARD.match(text) if isinstance(text, str) else None
        if found is None:
            raise section_fault(f"{str(text)[:60]!r} is not a guard", fix='write e.g. "peak_rss_mib <= 1.5 * champion"')
        metric, factor = _metric(found["metric"]), float(found["factor"])
        sign: Literal["<=", ">="] = ">=" if metric in _MORE_IS_BETTER else "<="
        if found["sign"] != sign:
            what = "more" if sign == ">=" else "less"
            raise section_fault(f"{what} of {metric} is better", fix=f"write {metric} {sign} … * champion")
        if not (0 < factor <= 1 if sign == ">=" else factor >= 1):
            side = "at most" if sign == ">=" else "at least"
            raise section_fault(f"{factor:g} asks for a gain", fix=f"a guard says what may be lost: {side} 1.0")
        return cls(metric, sign, factor)

    def spec(self, level: str | None) -> MetricSpec:
        """As the gate takes it; `level` is where figures of requests are read."""
        return MetricSpec(
            name=self.metric,
            unit=next(unit for ending, unit in _UNITS.items() if self.metric.endswith(ending)),
            direction=Direction.MAX if self.sign == ">=" else Direction.MIN,
            level=None if self.metric in PROCESS_METRICS else level,
            role=Role.GUARD,
            tolerance=abs(math.log(self.factor)),
        )


class Effects(Section):
    """What a change may cost elsewhere."""

    guards: tuple[Annotated[Guard, PlainValidator(Guard.parse, json_schema_input_type=str)], ...] = ()


class RecipeSpec(Section):
    """One recipe.toml."""

    schema_: Literal[1] = Field(alias="schema")
    id: Name
    """The skill's name."""
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+$")]
    title: str = Field(min_length=1, max_length=120)
    layer: Layer
    risk: Risk
    capabilities: Capabilities = Capabilities()
    requires: Requires
    evidence: tuple[Evidence, ...] = ()
    prior: Prior
    params: Mapping[Identifier, Param] = Field(default_factory=dict)
    apply: tuple[Operation, ...] = Field(min_length=1)
    verify: Verify = Verify()
    effects: Effects = Effects()

    @model_validator(mode="after")
    def _params_are_declared(self) -> Self:
        for index, operation in enumerate(self.apply):
            readers = [operation.when, operation.value if isinstance(operation, SetConfig) else None]
            for expression in filter(None, readers):
                if unknown := expression.params - set(self.params):
                    name = min(unknown)
                    what = f"no parameter {name!r}{did_you_mean(name, self.params)}"
                    raise section_fault(what, field=f"apply[{index}]", fix="declare it under [params]")
        return self

    @model_validator(mode="after")
    def _only_operations_read_params(self) -> Self:
        for place, expression in self._judged_before_params():
            if expression.params or expression.asked("counter"):
                raise section_fault(f"{expression.source!r} reads what is not known yet", field=place)
        return self

    def _judged_before_params(self) -> Iterator[tuple[str, Expression]]:
        for condition in self.requires.conditions():
            yield "requires", condition
        for index, evidence in enumerate(self.evidence):
            for expression in filter(None, (evidence.expr, evidence.bound)):
                yield f"evidence[{index}]", expression
        for name, param in self.params.items():
            if param.when is not None:
                yield f"params.{name}", param.when
            if isinstance(param, NumberParam):
                for bound in (*(param.range or ()), *(param.choices or ()), param.default):
                    yield f"params.{name}", bound

    @model_validator(mode="after")
    def _capabilities_agree(self) -> Self:
        own = self.capabilities
        for other, names in (("needs", own.needs), ("conflicts", own.conflicts), ("supersedes", own.supersedes)):
            if both := set(own.provides) & set(names):
                raise section_fault(f"{min(both)!r} stands under provides and {other}", field="capabilities")
        return self
