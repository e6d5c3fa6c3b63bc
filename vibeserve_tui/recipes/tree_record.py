"""What a candidate's tree says about itself: `.vibeserve/capabilities.json`.

It lists what the tree provides and the answers that led there (recipe, version, parameters, digests), in the
order of application. It is part of the commit, so it travels with every checkpoint and needs no other state.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vibeserve_tui.errors import WorkspaceError
from vibeserve_tui.recipes.recipe import SEED_CAPABILITIES, Recipe
from vibeserve_tui.recipes.tree import Tree

RECORD_PATH = ".vibeserve/capabilities.json"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AppliedRecipe(_Strict):
    """One recipe in the tree and the answers it was applied with."""

    recipe: str
    version: str
    params: dict[str, bool | int | float | str] = {}
    parts: dict[str, str] = {}
    """`file#region` or `file` to the digest of the text that was put there."""
    superseded: tuple[str, ...] = ()
    """Capabilities that were there before and that it took away."""
    merged: tuple[str, ...] = ()
    """Parts whose text was merged with a change made by somebody else."""


class TreeRecord(_Strict):
    """The capabilities of a tree and the recipes that gave them."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    capabilities: tuple[str, ...] = tuple(sorted(SEED_CAPABILITIES))
    applied: tuple[AppliedRecipe, ...] = ()

    def of(self, recipe: str) -> AppliedRecipe | None:
        return next((entry for entry in self.applied if entry.recipe == recipe), None)

    def with_applied(self, recipe: Recipe, entry: AppliedRecipe) -> TreeRecord:
        """The record after a recipe went in; one applied before keeps its place in the order."""
        earlier = self.of(entry.recipe)
        if earlier is None:
            applied = (*self.applied, entry)
        else:
            applied = tuple(entry if old is earlier else old for old in self.applied)
        if earlier and earlier.version == entry.version:
            # Other parameters only: what a later recipe superseded does not come back.
            return TreeRecord(schema=1, capabilities=self.capabilities, applied=applied)
        capabilities = recipe.after(frozenset(self.capabilities))
        return TreeRecord(schema=1, capabilities=tuple(sorted(capabilities)), applied=applied)


def read_record(tree: Tree) -> TreeRecord:
    """The tree's record, or that of an untouched seed. Raises WorkspaceError when it is damaged."""
    text = tree.read(RECORD_PATH)
    return TreeRecord() if text is None else parse_record(text)


def parse_record(text: str) -> TreeRecord:
    """Raises WorkspaceError for what is none: whoever runs commands in a workspace can write there."""
    try:
        return TreeRecord.model_validate_json(text)
    except ValidationError as error:
        what = f"is damaged ({error.errors()[0]['msg']})"
        raise WorkspaceError(what, where=RECORD_PATH, fix="restore it from the parent checkpoint") from error


def write_record(tree: Tree, record: TreeRecord) -> None:
    tree.write(RECORD_PATH, json.dumps(record.model_dump(mode="json", by_alias=True), indent=2) + "\n")
