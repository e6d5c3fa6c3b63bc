"""Applying a recipe: a workspace in, a diff out.

All edits are computed in memory first and written together or not at all. Applying twice changes nothing the
second time. In doubt nothing changes: whoever asked gets the reason, or the three texts of a conflict. No code
of the candidate or of the recipe is run here; what has to be run comes back as `checks` for the sandbox.
"""

from __future__ import annotations

import fnmatch
import json
import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from vibeserve_tui.errors import SkillError, WorkspaceError
from vibeserve_tui.recipes.applicability import why_not_here, why_not_on
from vibeserve_tui.recipes.assets import asset_text
from vibeserve_tui.recipes.expressions import Expression, Scope, Unknown, Value
from vibeserve_tui.recipes.facts import Facts
from vibeserve_tui.recipes.merge import merged
from vibeserve_tui.recipes.params import Params, resolve
from vibeserve_tui.recipes.recipe import Recipe
from vibeserve_tui.recipes.recipe_spec import AddFile, DeleteFile, Operation, ReplaceRegion, SetConfig
from vibeserve_tui.recipes.regions import digest, regions, replaced
from vibeserve_tui.recipes.tree import FileChange, Tree, unified_diff, write_changes
from vibeserve_tui.recipes.tree_record import AppliedRecipe, TreeRecord, read_record, write_record


@dataclass(frozen=True, slots=True)
class Check:
    """A command to run in the candidate's box with the changed tree as its working directory; 0 means right."""

    name: str
    argv: tuple[str, ...]
    """`{python}` stands for the candidate's interpreter."""
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Applied:
    """The recipe fits; `changes` is empty when it was there already."""

    changes: tuple[FileChange, ...]
    diff: str
    capabilities: frozenset[str]
    """What the tree provides now."""
    params: Params
    merged: tuple[str, ...] = ()
    """Parts in which somebody else's change was kept; such a tree deserves the full battery."""
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class NotApplicable:
    reason: str


@dataclass(frozen=True, slots=True)
class PartConflict:
    """One region (`file#region`) or file that was changed in a way the recipe does not know."""

    part: str
    base: str
    """What the recipe expected; "" when it brought no copy of it."""
    ours: str
    """What is there."""
    theirs: str
    """What the recipe would put there."""


@dataclass(frozen=True, slots=True)
class Conflict:
    parts: tuple[PartConflict, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    step: str
    output: str


Application = Applied | NotApplicable | Conflict | Failed
Known = TypeVar("Known", bound=Value)


def apply(
    recipe: Recipe, params: Params, workspace: Path, facts: Facts, *, protected: Collection[str] = ()
) -> Application:
    """Apply a recipe to the files below `workspace`; `protected` are globs that it may not touch.

    `facts.capabilities` is not read: what the tree provides stands in the tree.
    """
    if reason := why_not_here(recipe, facts):
        return NotApplicable(reason)
    result = edit(recipe, params, workspace, facts, protected=protected)
    if isinstance(result, Applied):
        try:
            write_changes(workspace, result.changes)
        except WorkspaceError as error:
            return Failed("write", str(error))
    return result


def edit(
    recipe: Recipe, params: Params, workspace: Path, facts: Facts, *, protected: Collection[str] = ()
) -> Application:
    """What `apply` would do on a machine that has all the recipe requires; writes nothing."""
    tree = Tree(workspace)
    try:
        record = read_record(tree)
        previous = record.of(recipe.id)
        capabilities = _capabilities_below(recipe, record, previous)
        here = replace(facts, capabilities=capabilities)
        values = resolve(recipe, params, here)
        if isinstance(values, Unknown):
            return NotApplicable(f"{values} in its parameters")
        if previous and previous.version == recipe.spec.version and previous.params == values:
            return Applied((), "", frozenset(record.capabilities), values)
        if reason := why_not_on(recipe, capabilities):
            return NotApplicable(reason)
        editor = _Editor(recipe, tree, Scope(here, values), previous, tuple(protected))
        return editor.result(record)
    except _NotKnown as unknown:
        return NotApplicable(str(unknown))
    except SkillError as error:
        return Failed("recipe", str(error))
    except WorkspaceError as error:
        return Failed("workspace", str(error))


def _capabilities_below(recipe: Recipe, record: TreeRecord, previous: AppliedRecipe | None) -> frozenset[str]:
    """What the tree provides to this recipe; for one that is in it already, without its own effect."""
    present = frozenset(record.capabilities)
    return (present - recipe.provides).union(previous.superseded) if previous else present


class _NotKnown(Exception):
    """A condition or value of an operation depends on a fact nobody has."""


@dataclass
class _Editor:
    """The edits of one application, in the order of the recipe's operations."""

    recipe: Recipe
    tree: Tree
    scope: Scope
    previous: AppliedRecipe | None
    protected: tuple[str, ...]
    parts: dict[str, str] = field(default_factory=dict)
    merged: list[str] = field(default_factory=list)
    conflicts: list[PartConflict] = field(default_factory=list)

    def result(self, record: TreeRecord) -> Application:
        for operation in self.recipe.spec.apply:
            if self._wanted(operation.when):
                self._perform(operation)
        if self.conflicts:
            return Conflict(tuple(self.conflicts))
        entry = AppliedRecipe(
            recipe=self.recipe.id,
            version=self.recipe.spec.version,
            params={name: value for name, value in self.scope.params.items() if not isinstance(value, tuple)},
            parts=self.parts,
            superseded=tuple(sorted(self.recipe.supersedes & (self.scope.facts.capabilities or frozenset()))),
            merged=tuple(self.merged),
        )
        after = record.with_applied(self.recipe, entry)
        write_record(self.tree, after)
        changes = self.tree.changes()
        if problem := syntax_problem(changes):
            return Failed("py_compile", problem)
        return Applied(
            changes=changes,
            diff=unified_diff(changes),
            capabilities=frozenset(after.capabilities),
            params=self.scope.params,
            merged=tuple(self.merged),
            checks=checks(self.recipe),
        )

    def _wanted(self, when: Expression | None) -> bool:
        return True if when is None else _known(when.holds(self.scope), when)

    def _perform(self, operation: Operation) -> None:
        path = operation.target.file
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in self.protected):
            raise WorkspaceError("is protected by the target", where=path, fix="this recipe cannot be used here")
        match operation:
            case ReplaceRegion():
                self._replace_region(operation)
            case AddFile():
                self._add_file(operation)
            case DeleteFile():
                self.tree.write(path, None)
            case SetConfig():
                self._set_config(operation)

    def _replace_region(self, operation: ReplaceRegion) -> None:
        path, name = operation.target.file, operation.target.region
        text = self.tree.read(path)
        if text is None:
            raise WorkspaceError("there is no such file", where=path, fix="restore it from the parent checkpoint")
        region = regions(text).get(name)
        if region is None:
            raise WorkspaceError(f"has no region {name!r}", where=path, fix="restore the region's markers")
        body = self._settle(f"{path}#{name}", region.text, operation)
        if body is not None:
            self.tree.write(path, replaced(text, region, body))

    def _add_file(self, operation: AddFile) -> None:
        path = operation.target.file
        present = self.tree.read(path)
        if present is None:
            text = asset_text(self.recipe, operation.asset, self.scope)
            if operation.expects:
                self.conflicts.append(PartConflict(path, "", "", text))
                return
            self.parts[path] = digest(text)
            self.tree.write(path, text)
        else:
            body = self._settle(path, present, operation)
            if body is not None:
                self.tree.write(path, body)

    def _settle(self, part: str, ours: str, operation: ReplaceRegion | AddFile) -> str | None:
        """The text that belongs into a part that holds `ours`, or None after noting a conflict."""
        theirs = asset_text(self.recipe, operation.asset, self.scope)
        expected = operation.expects or ()
        own = (self.previous.parts.get(part),) if self.previous else ()
        if ours == theirs or digest(ours) in (*expected, *own):
            self.parts[part] = digest(theirs)
            return theirs
        base = self._base(part, operation)
        both = None if base is None else merged(base, ours, theirs)
        if both is None:
            self.conflicts.append(PartConflict(part, base or "", ours, theirs))
            return None
        self.parts[part] = digest(both)
        self.merged.append(part)
        return both

    def _base(self, part: str, operation: ReplaceRegion | AddFile) -> str | None:
        """The text that `ours` and `theirs` both come from, if anybody still has it."""
        if self.previous and self.previous.version == self.recipe.spec.version:
            before = asset_text(self.recipe, operation.asset, Scope(self.scope.facts, self.previous.params))
            if digest(before) == self.previous.parts.get(part):
                return before
        if isinstance(operation, ReplaceRegion) and operation.base is not None:
            return asset_text(self.recipe, operation.base, self.scope)
        return None

    def _set_config(self, operation: SetConfig) -> None:
        path, key = operation.target.file, operation.target.key
        where = f"{path}: {key}"
        value = _known(operation.value.evaluate(self.scope), operation.value)
        text = self.tree.read(path)
        try:
            table: object = json.loads(text or "")
        except ValueError as error:
            raise WorkspaceError(f"is not JSON ({error})", where=path, fix="mend it") from error
        if not isinstance(table, dict):
            raise WorkspaceError("is not a JSON object", where=path, fix="recipes set keys of an object")
        old: object = table.get(key)
        if key in table and not _same_type(old, value):
            kinds = f"{type(value).__name__}, but the key holds a {type(old).__name__}"
            raise SkillError(f"the recipe sets a {kinds}", where=where, fix="keep the key's type")
        if key not in table or old != value:
            self.tree.write(path, json.dumps({**table, key: value}, indent=2) + "\n")


def _known(answer: Known | Unknown, expression: Expression) -> Known:
    if isinstance(answer, Unknown):
        raise _NotKnown(f"{answer} in {expression.source}")
    return answer


def _same_type(old: object, new: Value) -> bool:
    return type(old) is type(new) or (isinstance(old, float) and type(new) is int)


def checks(recipe: Recipe) -> tuple[Check, ...]:
    """The commands that verify an applied recipe, for the sandbox: imports first, then the recipe's own probe."""
    verify = recipe.spec.verify
    imports = [line for line in verify.static if line != "py_compile"]
    found = [Check(line, ("{python}", "-c", line), verify.max_seconds) for line in imports]
    if verify.probe is not None:
        found.append(Check("probe", ("{python}", str(recipe.folder / verify.probe)), verify.max_seconds))
    return tuple(found)


def syntax_problem(changes: Iterable[FileChange]) -> str:
    """The first Python file that does not compile, as `file:line: message`; "" when all do."""
    for change in changes:
        if not change.path.endswith(".py") or change.after is None:
            continue
        try:
            with warnings.catch_warnings(action="ignore"):
                compile(change.after, change.path, "exec", dont_inherit=True)
        except SyntaxError as error:
            return f"{change.path}:{error.lineno}: {error.msg}"
        except (ValueError, RecursionError, MemoryError) as error:
            return f"{change.path}: {error}"
    return ""
