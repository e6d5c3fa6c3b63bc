"""Proof that a recipe made from a change is that change, before it joins the user's own skills.

It must pass the linter with all others, go onto the tree that it was made on, give that round's tree byte for byte, and
change nothing the second time. What fails is not written.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from vibeserve_tui.errors import SkillError
from vibeserve_tui.inputs.skills import LONGEST_NAME, NAME, SkillLibrary
from vibeserve_tui.recipes.apply import Applied, edit
from vibeserve_tui.recipes.chain import explain
from vibeserve_tui.recipes.lint import SPECIMEN, lint
from vibeserve_tui.recipes.promote import Files, Origin, skill_files
from vibeserve_tui.recipes.recipe import Recipe, RecipeBook, load_recipe
from vibeserve_tui.recipes.tree import write_changes
from vibeserve_tui.recipes.tree_record import RECORD_PATH


@dataclass(frozen=True, slots=True)
class Change:
    """What the round did, and the seed that recipes are tried on."""

    before: Files
    after: Files
    seed: Path


def promote(origin: Origin, change: Change, library: Sequence[Path], destination: Path) -> Path:
    """The new skill's folder below `destination`. Raises SkillError naming what is in the way; then nothing is written."""
    if not NAME.fullmatch(origin.name) or len(origin.name) > LONGEST_NAME:
        fix = f"lower-case letters, digits and single hyphens, {LONGEST_NAME} at most"
        raise SkillError(f"{origin.name!r} is no name of a skill", where="--as", fix=fix)
    folder = destination / origin.name
    known = SkillLibrary.load(library)
    if folder.exists() or origin.name in known:
        raise SkillError(
            f"there is a skill {origin.name!r} already", where=str(folder), fix="give another name with --as"
        )
    with TemporaryDirectory(prefix="vibeserve-promote-") as scratch:
        draft = _written(
            Path(scratch, "skills", origin.name),
            skill_files(origin, change.before, change.after, RecipeBook.load(known)),
        )
        _prove(load_recipe(draft / "recipe.toml"), change, Path(scratch, "tree"))
        faults = [
            fault.removeprefix(f"{draft}: ").replace(f"{draft}/", "")
            for fault in lint(SkillLibrary.load([*library, draft.parent]), change.seed)
            if str(draft) in fault
        ]
        if faults:
            raise SkillError(
                f"the change makes no recipe of its own: {faults[0]}",
                where=f"round {origin.record.number}",
                fix="promote the rounds first that it builds on",
            )
        destination.mkdir(parents=True, exist_ok=True)
        shutil.copytree(draft, folder)
    return folder


def _prove(recipe: Recipe, change: Change, tree: Path) -> None:
    _written(tree, change.before)
    result = edit(recipe, {}, tree, SPECIMEN)
    if not isinstance(result, Applied):
        raise SkillError(f"it does not go onto its own parent: {explain(result)}", where=recipe.id)
    write_changes(tree, result.changes)
    found = {path.relative_to(tree).as_posix(): path.read_text("utf-8") for path in tree.rglob("*") if path.is_file()}
    names = (found.keys() | change.after.keys()) - {RECORD_PATH}
    if differing := sorted(name for name in names if found.get(name) != change.after.get(name)):
        raise SkillError(f"it gives another tree than the round's: {', '.join(differing)}", where=recipe.id)
    again = edit(recipe, {}, tree, SPECIMEN)
    if not isinstance(again, Applied) or again.changes:
        raise SkillError("applied twice it changes something again", where=recipe.id)


def _written(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder
