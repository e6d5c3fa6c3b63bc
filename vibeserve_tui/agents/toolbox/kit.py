"""Which tools a role gets: the list is its rights.

| tools | roles |
|---|---|
| read, glob, skill, issues | all |
| grep | all that have a box |
| memory | all but the judge, whose context is fresh |
| rounds, diff, list_recipes | orchestrator, analyst; recipes also for who writes |
| write, edit or apply_patch, apply_recipe | implementer, mutator |
| bash | implementer, mutator; judge and evaluator with the workspace read-only |
| run_check, run_bench | implementer, mutator, judge, evaluator |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vibeserve_tui.agents.protocol import Role, Tool
from vibeserve_tui.agents.toolbox.places import Places
from vibeserve_tui.agents.toolbox.reading import reading_tools
from vibeserve_tui.agents.toolbox.recipes import RecipeDesk, apply_tool, list_tool
from vibeserve_tui.agents.toolbox.record import diff_tool, issues_tool, memory_tool, rounds_tool
from vibeserve_tui.agents.toolbox.rehearsal import Rehearsal, rehearsal_tools
from vibeserve_tui.agents.toolbox.shell import Shell, bash_tool
from vibeserve_tui.agents.toolbox.skills import Shelf, skill_tool
from vibeserve_tui.agents.toolbox.writing import EditTool, writing_tools
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state.workspace import Store

WRITERS = frozenset({Role.IMPLEMENTER, Role.MUTATOR})
READERS_OF_HISTORY = frozenset({Role.ORCHESTRATOR, Role.ANALYST})


@dataclass(frozen=True, slots=True)
class Kit:
    """What the tools of one call can reach; None = that is not there."""

    places: Places
    shelf: Shelf
    state: RunState
    store: Store
    shell: Shell | None = None
    recipes: RecipeDesk | None = None
    rehearsal: Rehearsal | None = None
    edit_tool: EditTool = "edit"


def tools_for(role: Role, kit: Kit) -> tuple[Tool, ...]:
    """In a fixed order: the list is a part of every request and must not change between two of them."""
    return tuple(_tools_for(role, kit))


def _tools_for(role: Role, kit: Kit) -> Iterator[Tool]:
    outputs = kit.places.outputs
    yield from reading_tools(kit.places, kit.shell)
    if kit.shelf.offers:
        yield skill_tool(kit.shelf, outputs)
    yield issues_tool(kit.state, outputs)
    if role is not Role.JUDGE:
        yield memory_tool(kit.state, outputs)
    if role in READERS_OF_HISTORY:
        yield rounds_tool(kit.state, outputs)
        yield diff_tool(kit.state, kit.store, outputs)
    if kit.recipes is not None and role in WRITERS | READERS_OF_HISTORY:
        yield list_tool(kit.recipes, outputs)
    if role in WRITERS:
        yield from writing_tools(kit.places, kit.edit_tool, kit.shelf.must_have_read)
        if kit.recipes is not None:
            yield apply_tool(kit.recipes, kit.places.workspace, outputs)
    if role not in READERS_OF_HISTORY:
        if kit.shell is not None:
            yield bash_tool(kit.places, kit.shell)
        if kit.rehearsal is not None:
            yield from rehearsal_tools(kit.rehearsal)
