"""target.toml: the machine contract of a target, and what it takes to load one.

A target says what is served, on what, how it is judged and how it is measured. This module
reads and checks it; it starts nothing and imports none of the target's code.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat

from vibeserve_tui.errors import InputError, TargetError, did_you_mean
from vibeserve_tui.inputs.model_folder import find_in_hub_cache, model_faults
from vibeserve_tui.inputs.target_files import copy_tree, tree_digest
from vibeserve_tui.inputs.target_rules import disagreements
from vibeserve_tui.inputs.target_sections import (
    AccuracySpec,
    Endpoint,
    Guard,
    Limits,
    Modality,
    ModelSpec,
    Programs,
    ServeSpec,
    TargetMetric,
    Word,
)
from vibeserve_tui.inputs.toml_files import Fault, Section, TomlFile, merged, read_text, section_fault, validate
from vibeserve_tui.inputs.workload_spec import Level, RelativePath, TraceLevel, WorkloadSpec
from vibeserve_tui.metrics import MetricSpec

FILE_NAME = "target.toml"
_FIXED_FIELDS = frozenset({"schema", "name", "backends", "backend"})


def _target_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", value):
        raise section_fault(f"{value[:60]!r} is not a target name", fix="1 to 40 of a-z 0-9 and -, like the folder's")
    return value


def _entry_point(value: str) -> str:
    path, _, name = value.partition(":")
    if not re.fullmatch(r"[\w-]+(/[\w-]+)*\.py", path, re.ASCII) or not name.isidentifier():
        raise section_fault(f"{value[:60]!r} names no class", fix="write it like reference/reference.py:Reference")
    return value


class Target(Section):
    """One target.toml."""

    format_version: Annotated[Literal[1], Field(alias="schema")]
    """Version of this format."""
    name: Annotated[str, AfterValidator(_target_name)]
    """The folder's name."""
    title: Annotated[str, Field(min_length=1, max_length=120)]
    """One line for people."""
    modality: Modality
    """What is generated."""
    backends: Annotated[tuple[Word, ...], Field(min_length=1)]
    """The first is the default; a run on another is refused."""
    license: Annotated[str, Field(min_length=1, max_length=120)]
    """Of the target's own files; README.md says more about weights and data."""
    seed: RelativePath = "seed"
    """Folder of the simplest correct server: round 0, whose judged and measured result is the baseline."""
    reference: Annotated[str, AfterValidator(_entry_point)] = "reference/reference.py:Reference"
    """The truth: a class made with (model_dir, device, dtype)."""
    constraints: tuple[str, ...] = ()
    """Told to every role; no agent may change them."""
    forbids: tuple[Word, ...] = ()
    """What recipes may not do: quantisation, compiler, threads, extra_memory, …"""
    limits: Limits = Limits()
    """Of the candidate's box."""
    goal_speedup: NonNegativeFloat = 0.0
    """Stop once the headline's lower bound reaches this multiple of the baseline; 0 = never for that reason."""
    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1)]
    """What the server must offer; the first carries the load."""
    levels: Annotated[tuple[Level, ...], Field(min_length=1)]
    """Loads under which it is measured."""
    metrics: Annotated[tuple[TargetMetric, ...], Field(min_length=1)]
    """What is measured; one headline, or several with pareto = true."""
    pareto: bool = False
    """Several headlines: better means better in one and worse in none."""
    guards: tuple[Guard, ...] = ()
    """What may not get worse."""
    model: ModelSpec
    serve: ServeSpec
    workload: WorkloadSpec
    accuracy: AccuracySpec = AccuracySpec()
    programs: Programs = Programs()
    backend: Mapping[str, Mapping[str, object]] = {}
    """[backend.NAME]: overrides for one backend; tables are merged, anything else is replaced."""

    @property
    def headlines(self) -> tuple[TargetMetric, ...]:
        return tuple(metric for metric in self.metrics if metric.headline)

    @property
    def metric_specs(self) -> tuple[MetricSpec, ...]:
        """All rows of metrics and guards as the gate takes them: relative bounds become log ratios."""
        return (*(metric.spec for metric in self.metrics), *(guard.spec for guard in self.guards))

    @property
    def full_batch(self) -> int:
        """The highest concurrency that any level asks for."""
        return max(getattr(level, "concurrency", None) or 1 for level in self.levels)

    def level(self, level_id: str) -> Level:
        """The declared level; KeyError for an unknown one."""
        return {level.id: level for level in self.levels}[level_id]

    def overridden(self, backend: str) -> tuple[Target | None, list[Fault]]:
        """The target with `[backend.NAME]` in place; None and the faults if that does not hold together."""
        plain = self.model_dump(mode="json", by_alias=True, exclude={"backend"}, exclude_none=True)
        overrides = self.backend.get(backend, {})
        fixed = sorted(_FIXED_FIELDS & set(overrides))
        if fixed:
            return None, [Fault(fixed[0], "cannot differ between backends", "set it at the top of the file")]
        target, faults = validate(merged(plain, overrides), Target)
        return target, faults if target is None else list(disagreements(target))


@dataclass(frozen=True, slots=True)
class LoadedTarget:
    """A target whose files were found, checked and hashed."""

    root: Path
    """Absolute, as is `model_dir`."""
    spec: Target
    objective: str
    """The text of OBJECTIVE.md."""
    digest: str
    """The trust hash: over every file of the folder."""
    model_dir: Path

    def file(self, relative: str) -> Path:
        return self.root / relative

    def for_backend(self, name: str) -> LoadedTarget:
        """The same target with the overrides of `[backend.NAME]` in place."""
        if name not in self.spec.backends:
            raise TargetError(
                f"is not made for backend {name!r}",
                where=str(self.root / FILE_NAME),
                fix=f"choose one of: {', '.join(self.spec.backends)}",
            )
        spec, faults = self.spec.overridden(name)
        assert spec is not None, faults  # checked when the target was loaded
        return replace(self, spec=spec)

    def copied(self, parent: Path) -> LoadedTarget:
        """A read-only copy in `parent/NAME`; the digest is taken from the copied bytes, so nothing can slip between."""
        root = parent / self.spec.name
        digest = copy_tree(self.root, root)
        inside = self.spec.model.source == "bundled"
        return replace(
            self,
            root=root,
            digest=digest,
            model_dir=root / self.model_dir.relative_to(self.root) if inside else self.model_dir,
        )


def load_target(path: Path, *, model: Path | None = None) -> LoadedTarget:
    """The target in folder `path`, ready to run; the first fault is raised as a TargetError.

    `model` is the folder of weights for targets whose `model.source` is local.
    """
    file = TomlFile.read(path / FILE_NAME, TargetError)
    spec = file.parse(Target)
    root = path.resolve()
    for fault in _faults_of(root, spec, model):
        raise file.problem(fault)
    return LoadedTarget(
        root=root,
        spec=spec,
        objective=read_text(root / "OBJECTIVE.md", TargetError),
        digest=tree_digest(root),
        model_dir=_model_dir(root, spec, model).absolute(),
    )


def read_definition(path: Path) -> Target:
    """Only what target.toml says: for lists, and for targets whose weights are not on this machine."""
    file = TomlFile.read(path / FILE_NAME, TargetError)
    spec = file.parse(Target)
    for fault in _faults_of_definition(spec):
        raise file.problem(fault)
    return spec


def target_faults(path: Path, *, model: Path | None = None) -> list[InputError]:
    """Everything that is wrong with a target, for `target check`; empty when it can be loaded."""
    try:
        file = TomlFile.read(path / FILE_NAME, TargetError)
        faults = file.faults(Target) or list(_faults_of(path.resolve(), file.parse(Target), model))
        tree_digest(path)
    except TargetError as problem:
        return [problem]
    return [file.problem(fault) for fault in faults]


def _faults_of(path: Path, spec: Target, model: Path | None) -> Iterator[Fault]:
    if path.name != spec.name:
        yield Fault("name", f"the folder is called {path.name!r}", "give both the same name")
    yield from _faults_of_definition(spec)
    yield from _missing_files(path, spec)
    yield from _weights_faults(path, spec, model)


def _faults_of_definition(spec: Target) -> Iterator[Fault]:
    faults = list(disagreements(spec))
    yield from faults
    for name in spec.backend:
        if name not in spec.backends:
            yield Fault(f"backend.{name}", "is not among the target's backends", "add it to backends, or remove it")
        elif not faults:  # what is wrong at the top would only be repeated
            for fault in spec.overridden(name)[1]:
                yield replace(fault, field=f"backend.{name}.{fault.field}")


def _missing_files(path: Path, spec: Target) -> Iterator[Fault]:
    objective, write_it = path / "OBJECTIVE.md", "write the goal, the interface and what may be exploited"
    if not objective.is_file():
        yield Fault("", "OBJECTIVE.md is missing beside it", write_it)
    elif not objective.read_bytes().strip():
        yield Fault("", "OBJECTIVE.md beside it is empty", write_it)
    if not _has_files(path / spec.seed):
        yield Fault("seed", f"folder {spec.seed} is missing or empty", "put the simplest correct server there")
    yield from _reference_faults(path, spec)
    wanted: dict[str, str | None] = {"workload.corpus": spec.workload.corpus}
    traces = {f"levels[{i}].file": level for i, level in enumerate(spec.levels) if isinstance(level, TraceLevel)}
    wanted |= {field: level.file for field, level in traces.items()}
    for field, relative in wanted.items():
        if relative is not None and not (path / relative).is_file():
            yield Fault(field, f"there is no file {relative}", "add it, or correct the path")
        elif relative is not None and field in traces:
            yield from _short_trace(field, path / relative, traces[field].requests)
    schemas = spec.workload.options.schemas
    if schemas is not None and not _has_files(path / schemas):
        yield Fault("workload.options.schemas", f"folder {schemas} is missing or empty", "put the schemas there")


def _short_trace(field: str, trace: Path, requests: int) -> Iterator[Fault]:
    with trace.open("rb") as lines:
        times = sum(1 for _ in lines)
    if times < requests:
        yield Fault(field, f"has {times} times for {requests} requests", "add lines, or lower requests")


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _reference_faults(path: Path, spec: Target) -> Iterator[Fault]:
    relative, _, name = spec.reference.partition(":")
    if not (path / relative).is_file():
        yield Fault("reference", f"there is no file {relative}", "add it, or correct the path")
        return
    try:
        module = ast.parse(read_text(path / relative, TargetError))
    except (SyntaxError, ValueError, RecursionError, TargetError) as problem:
        yield Fault("reference", f"{relative} is not Python: {problem}", "mend it")
        return
    classes = [node.name for node in module.body if isinstance(node, ast.ClassDef)]
    if name not in classes:
        yield Fault(
            "reference", f"{relative} has no class {name}{did_you_mean(name, classes)}", "name the class it has"
        )


def _weights_faults(path: Path, spec: Target, model: Path | None) -> Iterator[Fault]:
    if spec.model.source != "local" and model is not None:
        yield Fault("model.source", f"is {spec.model.source}: a model folder cannot be given", "leave out --model")
        return
    try:
        folder = _model_dir(path, spec, model)
    except TargetError as problem:
        yield Fault("model.source", problem.what, problem.fix)
    else:
        yield from model_faults(folder, spec.model)


def _model_dir(path: Path, spec: Target, model: Path | None) -> Path:
    if spec.model.source == "bundled":
        return path / (spec.model.path or "")
    if spec.model.source == "local":
        if model is None:
            raise TargetError("is local, but no folder of weights was given", fix="add --model DIR")
        return model
    hub = spec.model.hub
    found = find_in_hub_cache(hub.id, hub.revision, os.environ)
    if found is None:
        raise TargetError(
            f"{hub.id} at {hub.revision[:12]} is not in the local cache",
            fix=f"hf download {hub.id} --revision {hub.revision}",
        )
    return found
