"""The patch format that OpenAI's models write: sections by file, hunks found by their context, all or nothing.

Between `*** Begin Patch` and `*** End Patch` stand sections (`*** Update File: PATH`, `*** Add File:`, `*** Delete File:`);
an update has hunks, each after `@@` and, if wanted, a line to look for first, of lines that begin with a blank, - or +.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vibeserve_tui.agents.protocol import ToolError
from vibeserve_tui.recipes.tree import Tree

BEGIN, END = "*** Begin Patch", "*** End Patch"
UPDATE, ADD, DELETE, MOVE = "*** Update File: ", "*** Add File: ", "*** Delete File: ", "*** Move to: "
END_OF_FILE = "*** End of File"


@dataclass(slots=True)
class Hunk:
    header: str = ""
    """A line to look for first, after `@@`."""
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Section:
    kind: str
    path: str
    lines: list[str] = field(default_factory=list)
    """Of an added file."""
    hunks: list[Hunk] = field(default_factory=list)
    moved_to: str = ""


def patched(tree: Tree, patch: str, own: Callable[[str], str]) -> None:
    """Apply every section to the tree, in memory; `own` maps a path or refuses it. Raises ToolError naming the part."""
    for section in parse(patch):
        path = own(section.path)
        if section.kind == ADD:
            if tree.read(path) is not None:
                raise ToolError(f"{path}: is there already; update it instead")
            tree.write(path, "".join(f"{line}\n" for line in section.lines))
            continue
        text = tree.read(path)
        if text is None:
            raise ToolError(f"{path}: there is no such file; nothing was applied")
        if section.kind == DELETE:
            tree.write(path, None)
            continue
        after = updated(text, section)
        if section.moved_to:
            tree.write(path, None)
            path = own(section.moved_to)
        tree.write(path, after)


def parse(patch: str) -> list[Section]:
    lines = patch.strip("\n").split("\n")
    if not lines or lines[0].strip() != BEGIN or lines[-1].strip() != END:
        raise ToolError(f"a patch begins with `{BEGIN}` and ends with `{END}`")
    sections: list[Section] = []
    for line in lines[1:-1]:
        kind = next((kind for kind in (UPDATE, ADD, DELETE) if line.startswith(kind)), "")
        if kind:
            sections.append(Section(kind, line.removeprefix(kind).strip()))
        elif not sections:
            raise ToolError(f"`{line[:60]}` stands before the first file")
        else:
            _add_line(sections[-1], line)
    if not sections:
        raise ToolError("the patch names no file")
    return sections


def _add_line(section: Section, line: str) -> None:
    if section.kind == UPDATE and line.startswith(MOVE):
        section.moved_to = line.removeprefix(MOVE).strip()
    elif section.kind == ADD and line.startswith("+"):
        section.lines.append(line[1:])
    elif section.kind == UPDATE and line.startswith("@@"):
        section.hunks.append(Hunk(header=line[2:].strip()))
    elif section.kind == UPDATE and (line[:1] in ("+", "-", " ") or not line):
        hunks = section.hunks or [Hunk()]
        section.hunks = hunks
        if line[:1] != "+":
            hunks[-1].old.append(line[1:])
        if line[:1] != "-":
            hunks[-1].new.append(line[1:])
    elif line.strip() != END_OF_FILE:
        raise ToolError(f"{section.path}: `{line[:60]}` is no part of a patch; lines begin with + - or a blank")


def updated(text: str, section: Section) -> str:
    """The file's text with every hunk in place, each searched below the one before."""
    lines, at = text.split("\n"), 0
    for number, hunk in enumerate(section.hunks, 1):
        where = f"{section.path}, hunk {number}"
        if hunk.header:
            at = _header(lines, hunk.header, at, where)
        start = _find(lines, hunk.old, at)
        if start is None:
            wanted = "\n".join(hunk.old[:8])
            raise ToolError(f"{where}: this passage is not there, nothing was applied:\n{wanted}")
        lines[start : start + len(hunk.old)] = hunk.new
        at = start + len(hunk.new)
    return "\n".join(lines)


def _header(lines: list[str], header: str, at: int, where: str) -> int:
    """A header may also be the line numbers of an ordinary diff, which say nothing here."""
    if header.startswith("-") or header.endswith("@@"):
        return at
    found = next((n for n in range(at, len(lines)) if lines[n].strip() == header), None)
    if found is None:
        raise ToolError(f"{where}: there is no line `{header[:80]}`, nothing was applied")
    return found + 1


def _find(lines: list[str], old: list[str], at: int) -> int | None:
    """Exactly, or else but for blanks at line ends, or else but for indentation."""
    if not old:
        return at or len(lines) - (not lines[-1])  # with nothing to find: below the hunk before, or at the end
    for alike in (str, str.rstrip, str.strip):
        wanted = [alike(line) for line in old]
        for start in _candidates(len(lines) - len(old), at):
            if [alike(line) for line in lines[start : start + len(old)]] == wanted:
                return start
    return None


def _candidates(last: int, at: int) -> Iterator[int]:
    """Below the hunk before; only then above it, for hunks out of order."""
    yield from range(at, last + 1)
    yield from range(min(at, last + 1))
