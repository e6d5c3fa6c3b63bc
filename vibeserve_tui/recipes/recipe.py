"""recipe.toml: the machine-applicable part of a skill, read and checked once.

The schema holds what a person writes; `Recipe` adds the folder it lies in, `RecipeBook` the relations between
recipes. Nothing here touches a candidate. Wherever a number is expected, text in quotes is an expression.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    model_validator,
)

from vibeserve_tui.errors import SkillError, did_you_mean
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.inputs.toml_files import Section, TomlFile, read_text, section_fault
from vibeserve_tui.recipes.expressions import Expression, ExpressionError, parse
from vibeserve_tui.recipes.facts import METRIC_NAMES

SEED_CAPABILITIES = frozenset({"engine.loop", "engine.kv.dynamic", "http.sse"})
"""What a seed provides unless its own `.vibeserve/capabilities.json` says otherwise."""
MAX_ASSET_BYTES = 1 << 20


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
    if path.startswith("/") or "\\" in path or ".." in parts or not parts:
        raise section_fault(f"{path!r} does not name a place inside the folder", fix="write a relative path")
    return path


def _inside_workspace(path: str) -> str:
    if PurePosixPath(path).parts[0] in {".git", ".vibeserve"}:
        raise section_fault(f"{path!r} is kept by the engine", fix="change the candidate's own files only")
    return path


def _metric(name: str) -> str:
    if name not in METRIC_NAMES:
        raise section_fault(f"no metric {name!r}{did_you_mean(name, METRIC_NAMES)}")
    return name


Expr = Annotated[Expression, PlainValidator(_expression, json_schema_input_type=str), PlainSerializer(str)]
Quantity = Annotated[
    Expression, PlainValidator(_quantity, json_schema_input_type=str | int | float | bool), PlainSerializer(str)
]
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
    low_fidelity: bool = False
    """May be tuned on quarter-length runs."""
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
    low_fidelity: bool = False
    when: Expr | None = None


class EnumParam(Section):
    """One word out of several; the words are literal, not expressions."""

    type: Literal["enum"]
    choices: tuple[str, ...] = Field(min_length=1)
    default: str
    low_fidelity: bool = False
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


@dataclass(frozen=True, slots=True)
class Guard:
    """A metric that may not get worse than `factor` times the champion's."""

    metric: str
    sign: Literal["<=", ">="]
    factor: float

    @classmethod
    def parse(cls, text: object) -> Guard:
        found = _GUARD.match(text) if isinstance(text, str) else None
        if found is None:
            raise section_fault(f"{text!r} is not a guard", fix='write e.g. "peak_rss_mib <= 1.5 * champion"')
        return cls(_metric(found["metric"]), "<=" if found["sign"] == "<=" else ">=", float(found["factor"]))


class Effects(Section):
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


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe and the skill folder that holds its assets."""

    spec: RecipeSpec
    folder: Path
    named_by_others: frozenset[str] = frozenset()
    """Its own capabilities' rivals that only the other side declares: a conflict holds both ways."""

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(self.spec.capabilities.needs)

    @property
    def provides(self) -> frozenset[str]:
        return frozenset(self.spec.capabilities.provides)

    @property
    def conflicts(self) -> frozenset[str]:
        return frozenset(self.spec.capabilities.conflicts) | self.named_by_others

    @property
    def supersedes(self) -> frozenset[str]:
        return frozenset(self.spec.capabilities.supersedes)

    @property
    def prefers_after(self) -> frozenset[str]:
        """Capabilities that its operations ask about: where both are wanted, their providers come first."""
        return frozenset().union(*(op.when.asked("provides") for op in self.spec.apply if op.when is not None))

    def asset(self, name: str) -> str:
        return read_text(self.folder / name, SkillError, max_bytes=MAX_ASSET_BYTES)

    def after(self, capabilities: frozenset[str]) -> frozenset[str]:
        """What the tree provides once this recipe is applied to it."""
        return (capabilities - self.supersedes) | self.provides

    def clashes_with(self, other: Recipe) -> bool:
        """Whether the two can never stand in one tree together."""
        return bool(
            self.conflicts & other.provides or other.conflicts & self.provides or self.provides & other.provides
        )


def load_recipe(path: Path) -> Recipe:
    """Read one recipe.toml. Raises SkillError with file and field, also when an asset is missing."""
    file = TomlFile.read(path, SkillError)
    spec = file.parse(RecipeSpec)
    folder = path.parent
    if spec.id != folder.name:
        what = f"{spec.id!r} is not the name of its folder, {folder.name!r}"
        raise SkillError(what, where=f"{path}: id", fix="give both the same name")
    for field, name in _files_named_by(spec):
        if not (folder / name).is_file():
            raise SkillError(f"there is no file {name!r}", where=f"{path}: {field}", fix="add it to the skill's folder")
    return Recipe(spec, folder)


def _files_named_by(spec: RecipeSpec) -> Iterator[tuple[str, str]]:
    for index, operation in enumerate(spec.apply):
        if isinstance(operation, ReplaceRegion | AddFile):
            yield f"apply[{index}].asset", operation.asset
        if isinstance(operation, ReplaceRegion) and operation.base is not None:
            yield f"apply[{index}].base", operation.base
    if spec.verify.probe is not None:
        yield "verify.probe", spec.verify.probe


class RecipeBook(Mapping[str, Recipe]):
    """All recipes by id, in a fixed order, and the relations between them."""

    def __init__(self, recipes: Iterable[Recipe]) -> None:
        declared = {recipe.id: recipe for recipe in sorted(recipes, key=lambda recipe: recipe.id)}
        self._recipes = {name: _with_all_conflicts(recipe, declared.values()) for name, recipe in declared.items()}

    @classmethod
    def load(cls, library: SkillLibrary) -> RecipeBook:
        """The recipes of all skills that have one."""
        return cls(load_recipe(skill.recipe) for skill in library.values() if skill.recipe is not None)

    def __getitem__(self, name: str) -> Recipe:
        return self._recipes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._recipes)

    def __len__(self) -> int:
        return len(self._recipes)

    def providers(self, capability: str) -> tuple[Recipe, ...]:
        return tuple(recipe for recipe in self.values() if capability in recipe.provides)

    def in_order(self, names: Iterable[str]) -> tuple[Recipe, ...]:
        """The recipes so that each comes after those it builds on. Raises SkillError when two need each other."""
        waiting = {name: self._recipes[name] for name in sorted(set(names))}
        ordered: list[Recipe] = []
        while waiting:
            ready = [name for name in waiting if not any(_before(other, waiting[name]) for other in waiting.values())]
            if not ready:  # a wish may be circular ("each adapts to the other"), a need may not
                ready = [name for name in waiting if not any(_must(other, waiting[name]) for other in waiting.values())]
            if not ready:
                raise SkillError(
                    f"these recipes need each other: {', '.join(waiting)}", fix="break the circle of needs"
                )
            ordered.append(waiting.pop(ready[0]))
        return tuple(ordered)


def _with_all_conflicts(recipe: Recipe, all_recipes: Collection[Recipe]) -> Recipe:
    """The recipe, also in conflict with what marks those that declare a conflict with it."""
    marks: set[str] = set()
    for other in all_recipes:
        if other.conflicts & recipe.provides:
            shared = frozenset().union(*(third.provides for third in all_recipes if third is not other))
            marks |= other.provides - shared - recipe.supersedes  # what it supersedes, it may replace
    return replace(recipe, named_by_others=frozenset(marks))


def _must(first: Recipe, then: Recipe) -> bool:
    """Whether `first` has to be in the tree before `then`: it provides a need, or `then` takes away what it needs."""
    held = (first.provides | first.needs) & then.supersedes
    return first is not then and bool(first.provides & then.needs or held)


def _before(first: Recipe, then: Recipe) -> bool:
    return _must(first, then) or (first is not then and bool(first.provides & then.prefers_after))
