"""write, edit and apply_patch: the ways to change files; which of them a model gets depends on the model.

Every change is made in memory first and written whole. A failed edit says what stands nearest, because a model that
only hears "not found" tries the same again.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from pydantic import Field

from vibeserve_tui.agents.protocol import Tool, ToolError
from vibeserve_tui.agents.toolbox.arguments import Arguments, told
from vibeserve_tui.agents.toolbox.patches import patched
from vibeserve_tui.agents.toolbox.places import Places
from vibeserve_tui.recipes.apply import syntax_problem
from vibeserve_tui.recipes.tree import Tree, write_changes

EditTool = Literal["edit", "apply_patch", "write"]
MAX_TEXT = 1 << 20
NEAR = 0.5
"""Similarity from which on a passage is worth showing."""

Guard = Callable[[], None]
"""Raises ToolError while nothing may be written yet."""


class Write(Arguments):
    path: str
    text: str = Field(max_length=MAX_TEXT, description="the whole file")


class Edit(Arguments):
    path: str
    old: str = Field(
        min_length=1, max_length=MAX_TEXT, description="exact text, without line numbers; it must occur once"
    )
    new: str = Field(max_length=MAX_TEXT)
    all: bool = Field(default=False, description="replace every occurrence")


class ApplyPatch(Arguments):
    patch: str = Field(
        max_length=MAX_TEXT,
        description="*** Begin Patch, then *** Update File: / *** Add File: / *** Delete File: sections, then *** End Patch",
    )


def edit_tool_for(model: str) -> EditTool:
    """What a model was trained on, by its name."""
    name = model.lower().rpartition("/")[2]
    if name.startswith(("gpt-5", "gpt-6", "codex", "o3", "o4")):
        return "apply_patch"
    return "edit"


def writing_tools(places: Places, kind: EditTool, guard: Guard) -> tuple[Tool, ...]:
    """`write` for everybody, and the way of editing that fits the model."""

    async def write(arguments: Write) -> str:
        return _change(places, guard, lambda tree: tree.write(places.own(arguments.path), arguments.text))

    async def edit(arguments: Edit) -> str:
        return _change(places, guard, lambda tree: _edited(tree, places.own(arguments.path), arguments))

    async def apply_patch(arguments: ApplyPatch) -> str:
        return _change(places, guard, lambda tree: patched(tree, arguments.patch, places.own))

    def tool(name: str, description: str, kind: type[Arguments], call: Callable[[Any], Awaitable[str]]) -> Tool:
        return Tool(name, description, kind, call, read_only=False)

    tools = [tool("write", "Write a whole file of the workspace, new or instead of what is there.", Write, write)]
    if kind == "edit":
        tools.append(tool("edit", "Replace an exact passage of a file.", Edit, edit))
    elif kind == "apply_patch":
        tools.append(tool("apply_patch", "Change several files at once; nothing is written if a part does not fit.", ApplyPatch, apply_patch))  # fmt: skip
    return tuple(tools)


def _change(places: Places, guard: Guard, change: Callable[[Tree], None]) -> str:
    """Make a change in memory, write it, and say what it came to."""
    guard()
    tree = Tree(places.workspace)
    with told():
        change(tree)
        changes = tree.changes()
        write_changes(places.workspace, changes)
    if not changes:
        return "nothing changed: the text was there already"
    said = [
        f"{'deleted' if one.after is None else 'new' if one.before is None else 'changed'} {one.path}"
        for one in changes
    ]
    if problem := syntax_problem(changes):
        said.append(f"but it does not compile: {problem}")
    return "\n".join(said)


def _edited(tree: Tree, path: str, arguments: Edit) -> None:
    text = tree.read(path)
    if text is None:
        raise ToolError(f"{path}: there is no such file; write makes one")
    count = text.count(arguments.old)
    if count == 0:
        raise ToolError(f"{path}: {_why_absent(text, arguments)}")
    if count > 1 and not arguments.all:
        places = ", ".join(str(text[:at].count("\n") + 1) for at in _starts(text, arguments.old)[:10])
        raise ToolError(f"{path}: `old` occurs {count} times (lines {places}): make it longer, or set all")
    tree.write(path, text.replace(arguments.old, arguments.new))


def _starts(text: str, part: str) -> list[int]:
    found, at = [], text.find(part)
    while at >= 0:
        found.append(at)
        at = text.find(part, at + len(part))
    return found


def _why_absent(text: str, arguments: Edit) -> str:
    if arguments.new.strip() and arguments.new in text:
        return "`old` is not there, and `new` is: this edit was made already"
    near = nearest(text, arguments.old)
    return f"`old` is not there. {near}" if near else "`old` is not there, nor anything like it; read the file again"


def nearest(text: str, wanted: str) -> str:
    """The passage most like the wanted one, with its line numbers; "" when nothing is."""
    lines, size = text.split("\n"), max(1, wanted.rstrip("\n").count("\n") + 1)
    matcher = difflib.SequenceMatcher(b=wanted, autojunk=False)
    best, at = NEAR, -1
    for start in range(min(len(lines) - size + 1, 3000)):
        matcher.set_seq1("\n".join(lines[start : start + size]))
        if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best and (ratio := matcher.ratio()) > best:
            best, at = ratio, start
    if at < 0:
        return ""
    shown = "\n".join(f"{number:>5}  {line}" for number, line in enumerate(lines[at : at + size][:40], at + 1))
    return f"Nearest, {best:.0%} alike:\n{shown}"
