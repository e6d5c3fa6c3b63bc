"""From an accepted change to a recipe: what an agent wrote once, the playbook can apply from then on.

Pure: two trees and what was measured in, the files of a skill folder out. Edits inside regions become replacements of
those regions, keys of a JSON file become settings, everything else whole files, each with the digest of what it expects.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from vibeserve_tui.errors import SkillError, WorkspaceError
from vibeserve_tui.events import Figure, RoundRecord
from vibeserve_tui.metrics import gain_in_words
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.regions import Region, digest, regions
from vibeserve_tui.recipes.tree_record import RECORD_PATH, TreeRecord, parse_record
from vibeserve_tui.recipes.trials import Z_95

PHASES = {"schedule": "schedule", "sample": "sample", "grammar": "grammar", "http": "http"}
"""Part of the server to the phases that a skill is tagged with; the others are about the model."""
LEAST_SD = 0.02
CAPABILITY = "written"
"""Of what a promoted recipe provides: one capability of its own, by which others may name it."""

Files = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change comes from and what it gave."""

    name: str
    """Of the skill to be."""
    record: RoundRecord
    run: str
    backend: str
    device: str
    architecture: str
    accuracy: str


@dataclass(slots=True)
class _Draft:
    operations: list[dict[str, object]] = field(default_factory=list)
    assets: dict[str, str] = field(default_factory=dict)
    parts: set[str] = field(default_factory=set)
    """`file` and `file#region`, as in a tree's record."""

    def add(self, op: str, target: dict[str, str], **more: object) -> None:
        self.operations.append({"op": op, "target": target, **more})

    def asset(self, name: str, text: str) -> str:
        path = f"assets/{name.replace('/', '_')}"
        # A name that ends so would be rendered as a template.
        path += ".txt" if path.endswith(".j2") else ""
        self.assets[path] = text
        return path


def skill_files(origin: Origin, before: Files, after: Files, book: RecipeBook) -> dict[str, str]:
    """Relative path to text. Raises SkillError for a change that makes no recipe."""
    draft = _Draft()
    for path in sorted((before.keys() | after.keys()) - {RECORD_PATH}):
        if before.get(path) != after.get(path):
            _file(draft, path, before.get(path), after.get(path))
    if not draft.operations:
        raise SkillError("the round changed nothing that a recipe could do", where=f"round {origin.record.number}")
    needs = sorted(_needs(draft.parts, before, book))
    return {
        "SKILL.md": _skill(origin, needs),
        "recipe.toml": _recipe(origin, draft.operations, needs),
        **draft.assets,
    }


# ---- operations ---------------------------------------------------------------------------------------------------


def _file(draft: _Draft, path: str, before: str | None, after: str | None) -> None:
    if after is None:
        draft.add("delete_file", {"file": path})
        draft.parts.add(path)
    elif before is None:
        draft.add("add_file", {"file": path}, asset=draft.asset(path, after))
    elif (keys := _changed_keys(before, after)) is not None:
        for key, value in keys.items():
            draft.add("set_config", {"file": path, "key": key}, value=value)
    elif changed := _changed_regions(before, after):
        for was, now in changed:
            name = draft.asset(f"{path}.{now.name}.{path.rpartition('.')[2]}", now.text)
            target = {"file": path, "region": now.name}
            draft.add("replace_region", target, asset=name, expects=digest(was.text))
            draft.parts.add(f"{path}#{now.name}")
    else:
        draft.add("add_file", {"file": path}, asset=draft.asset(path, after), expects=digest(before))
        draft.parts |= {path, *(f"{path}#{name}" for name in _regions(before))}


def _changed_keys(before: str, after: str) -> dict[str, bool | int | float | str] | None:
    """The keys that differ, if setting them gives the very same text; else None."""
    try:
        old, new = json.loads(before), json.loads(after)
    except ValueError:
        return None
    if not isinstance(old, dict) or not isinstance(new, dict) or not old.keys() <= new.keys():
        return None
    changed = {key: value for key, value in new.items() if key not in old or old[key] != value}
    plain = all(isinstance(value, bool | int | float | str) and key.isidentifier() for key, value in changed.items())
    if not plain or json.dumps(old | changed, indent=2) + "\n" != after:
        return None
    # Text is an expression there: a word in quotes of its own.
    return {key: repr(value) if isinstance(value, str) else value for key, value in changed.items()}


def _changed_regions(before: str, after: str) -> list[tuple[Region, Region]]:
    """Pairs of the same region before and after, if nothing outside of regions differs; else nothing."""
    old, new = _regions(before), _regions(after)
    if list(old) != list(new) or _outside(before, old) != _outside(after, new):
        return []
    return [(old[name], new[name]) for name in old if old[name].text != new[name].text]


def _regions(text: str) -> Mapping[str, Region]:
    try:
        return regions(text)
    except WorkspaceError:
        return {}


def _outside(text: str, found: Mapping[str, Region]) -> list[str]:
    inside = {line for region in found.values() for line in range(region.first, region.last)}
    return [line for number, line in enumerate(text.split("\n")) if number not in inside]


def _needs(parts: set[str], before: Files, book: RecipeBook) -> set[str]:
    """Capabilities of the recipes that wrote what this change builds on."""
    text = before.get(RECORD_PATH)
    record = parse_record(text) if text else TreeRecord()
    files = {part.partition("#")[0] for part in parts}
    found: set[str] = set()
    for entry in record.applied:
        builds_on_it = any(part in parts or part in files for part in entry.parts)
        if builds_on_it and entry.recipe in book:
            found |= book[entry.recipe].provides & set(record.capabilities)
    return found


# ---- texts --------------------------------------------------------------------------------------------------------


def _recipe(origin: Origin, operations: list[dict[str, object]], needs: list[str]) -> str:
    record = origin.record
    figure = record.measured.headline if record.measured else None
    if figure is None or not figure.ratio:
        raise SkillError("it was never measured, so nothing is known of its worth", where=f"round {record.number}")
    hypothesis = record.task.hypothesis
    own = f"{CAPABILITY}.{origin.name.replace('-', '_')}"
    head = {
        "schema": 1,
        "id": origin.name,
        "version": "1.0",
        "title": record.task.title[:120],
        "layer": record.task.family or "model",
        # What passes an exact target's battery changes no answer; elsewhere only the class is known.
        "risk": "bit-exact" if origin.accuracy == "exact" else "numerics",
        "capabilities": {"needs": needs, "provides": [own]},
    }
    prior = {
        "log_gain": round(math.log(figure.ratio), 4),
        "sd": round(_sd(figure), 4),
        "metric": figure.metric,
        "source": f"measured: {origin.device}, run {origin.run}, round {record.number}",
    }
    tables = [
        _rows(head),
        "[requires]\n"
        + _rows({"backends": [origin.backend], "model": f"model.architecture == '{origin.architecture}'"}),
        "[prior]\n" + _rows(prior),
        *("[[apply]]\n" + _rows(operation) for operation in operations),
    ]
    if hypothesis is not None and hypothesis.activation:
        tables.append("[verify]\n" + _rows({"activation": f"counter('{hypothesis.activation}') > 0"}))
    return "\n".join(tables)


def _sd(figure: Figure) -> float:
    if not figure.ci_low or not figure.ci_high:
        return 0.1
    return max(LEAST_SD, (math.log(figure.ci_high) - math.log(figure.ci_low)) / (2 * Z_95))


def _rows(table: Mapping[str, object]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in table.items())


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_value(inner)}" for name, inner in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)  # TOML's strings, numbers, booleans and lists are JSON's


def _skill(origin: Origin, needs: list[str]) -> str:
    record = origin.record
    task, hypothesis = record.task, record.task.hypothesis
    figure = record.measured.headline if record.measured else None
    claim = hypothesis.claim if hypothesis else task.title
    description = " ".join(f"{task.title}. {claim}".split())[:1000]
    phases = PHASES.get(task.family, "prefill decode")
    tags = {"backends": origin.backend, "kind": "technique", "phases": phases, "modalities": "text", "class": "C", "recipe": "recipe.toml", "verified": origin.backend}  # fmt: skip
    head = ["---", f"name: {origin.name}", f"description: {json.dumps(description, ensure_ascii=False)}", "metadata:"]
    head += [f"  vibe-{name}: {json.dumps(value)}" for name, value in tags.items()]
    parts = [f"# {task.title}", claim]
    if hypothesis is not None:
        parts += [f"**Mechanism.** {hypothesis.mechanism}"] if hypothesis.mechanism else []
        kept = [f"- {invariant}" for invariant in hypothesis.invariants]
        parts += ["## Invariants", "\n".join(kept)] if kept else []
        if hypothesis.activation:
            parts += ["## Is it on, is it right?", f"`{hypothesis.activation}` in /health grows under load."]
    parts += ["## Measured effect", _effect(origin, figure)]
    builds_on = (
        f"Builds on what provides {', '.join(f'`{need}`' for need in needs)}." if needs else "Builds on the seed."
    )
    parts += ["## Interactions", builds_on]
    parts += [
        "## Sources",
        f"Written by an agent in run {origin.run}, round {record.number}, and accepted by its judge and gate.",
    ]
    return "\n".join([*head, "---", "\n\n".join(parts), ""])


def _effect(origin: Origin, figure: Figure | None) -> str:
    if figure is None or figure.ratio is None:
        return "Not measured."
    gain = gain_in_words(figure.ratio, figure.ci_low, figure.ci_high, places=3)
    return f"{gain} on {figure.metric} at {figure.level}, over the champion of that time, on {origin.device}."
