"""read, grep and glob: the way to see files, for every role."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from pydantic import Field

from vibeserve_tui.agents.protocol import Tool, ToolError
from vibeserve_tui.agents.toolbox.arguments import Arguments, told
from vibeserve_tui.agents.toolbox.places import TARGET, Places
from vibeserve_tui.agents.toolbox.shell import Shell
from vibeserve_tui.inputs.target_files import IGNORED_NAMES

READ_LIMIT = 30_000
SEARCH_LIMIT = 10_000
MOST_LINES = 2000
MOST_HITS = 200
MOST_FILES = 5000
GREP_S = 20.0

# A pattern is the agent's own: one that takes for ever is ended with its box, not with the engine.
_GREP = """
import json, os, re, sys
task = json.loads(sys.stdin.read())
pattern, hits = re.compile(task["pattern"]), 0
for folder, folders, names in os.walk("."):
    folders[:] = sorted(name for name in folders if name not in task["ignored"])
    for name in sorted(names):
        path = os.path.normpath(os.path.join(folder, name))
        if os.path.islink(path) or not os.path.isfile(path) or not path.startswith(task["below"]):
            continue
        with open(path, "rb") as file:
            data = file.read(10 << 20)
        if b"\\0" in data:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").split("\\n"), 1):
            if pattern.search(line):
                hits += 1
                if hits > task["most"]:
                    print("… more than", task["most"], "hits: narrow the pattern or the path")
                    raise SystemExit
                print(f"{path}:{number}: {line[:300]}")
"""


class Read(Arguments):
    path: str = Field(description="relative to the workspace, or @target/… or @outputs/…")
    start: int = Field(default=1, ge=1, description="first line")
    limit: int = Field(default=MOST_LINES, ge=1, le=MOST_LINES, description="number of lines")


class Grep(Arguments):
    pattern: str = Field(min_length=1, max_length=500, description="a Python regular expression, searched line by line")
    path: str = Field(default="", description="only files whose path begins so")


class Glob(Arguments):
    pattern: str = Field(
        default="**", max_length=300, description="such as server/*.py or **/*.json; @target/* for the target"
    )


def reading_tools(places: Places, shell: Shell | None) -> tuple[Tool, ...]:
    """Without a shell there is no grep: patterns are matched in a box."""

    async def read(arguments: Read) -> str:
        return numbered(places.text(arguments.path), arguments.start, arguments.limit)

    async def glob(arguments: Glob) -> str:
        with told():
            return places.outputs.cut(_listing(places, arguments.pattern), SEARCH_LIMIT)

    tools = [
        Tool("read", f"Read a text file, with line numbers (at most {READ_LIMIT:,} characters a call).", Read, read),
        Tool("glob", "List files by a pattern, with their sizes.", Glob, glob),
    ]
    if shell is not None:
        tools.append(_grep_tool(places, shell))
    return tuple(tools)


def _grep_tool(places: Places, shell: Shell) -> Tool:
    async def grep(arguments: Grep) -> str:
        task = {
            "pattern": arguments.pattern, "below": arguments.path, "most": MOST_HITS, "ignored": sorted(IGNORED_NAMES)
        }  # fmt: skip
        with told():
            argv = (sys.executable, "-I", "-S", "-c", _GREP)
            result = await shell.run(places, argv, GREP_S, stdin=json.dumps(task).encode(), read_only=True)
        if result.killed is not None:
            raise ToolError(f"the search was ended ({result.killed.value}): use a simpler pattern")
        if result.returncode != 0:
            lines = result.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
            raise ToolError(f"not a pattern: {lines[-1]}")
        return places.outputs.cut(result.stdout.decode("utf-8", "replace") or "no line matches", SEARCH_LIMIT)

    return Tool("grep", f"Search the workspace's files line by line (at most {MOST_HITS} hits).", Grep, grep)


def numbered(text: str, start: int, limit: int) -> str:
    """Lines as `12  text`, as many as fit, and how to go on."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if start > max(1, len(lines)):
        raise ToolError(f"the file has {len(lines)} lines")
    shown: list[str] = []
    room = READ_LIMIT
    for number, line in enumerate(lines[start - 1 : start - 1 + limit], start):
        entry = f"{number:>5}  {line}"
        if len(entry) > room:
            if not shown:
                shown.append(entry[:room] + f" … {len(entry) - room:,} characters more in this line")
                number += 1
            break
        shown.append(entry)
        room -= len(entry) + 1
    last = start + len(shown) - 1
    if last < len(lines):
        shown.append(f"… {len(lines) - last} more lines: start={last + 1}")
    return "\n".join(shown) or "the file is empty"


def _listing(places: Places, pattern: str) -> str:
    root, prefix = places.workspace, ""
    if pattern.startswith(TARGET):
        root, prefix, pattern = places.public, TARGET, pattern.removeprefix(TARGET)
    found = [f"{prefix}{path}  {size:,} B" for path, size in _files(root) if _matches(path, pattern)]
    return "\n".join(found) or "no file matches"


def _files(root: Path) -> Iterator[tuple[str, int]]:
    """Files of a folder before those of the folders in it. It may be deeper than paths can be long."""
    count, pending = 0, [(root, "")]
    while pending and count < MOST_FILES:
        folder, above = pending.pop()
        inside: list[tuple[Path, str]] = []
        for entry in _entries(folder):
            if entry.is_dir(follow_symlinks=False):
                inside += [(Path(entry.path), f"{above}{entry.name}/")] if entry.name not in IGNORED_NAMES else []
            elif count < MOST_FILES:
                count += 1
                yield above + entry.name, entry.stat(follow_symlinks=False).st_size
        pending += reversed(inside)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
    return []


def _matches(path: str, pattern: str) -> bool:
    return _fits(PurePosixPath(path).parts, PurePosixPath(pattern).parts)


def _fits(parts: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    """`**` stands for any number of folders; at the end of a pattern also for the file.

    All ways to read the pattern are followed side by side: one after the other they would be too many.
    """
    reached = _beyond({0}, patterns)
    for part in parts:
        stays = {at for at in reached if at < len(patterns) and patterns[at] == "**"}
        steps = {at + 1 for at in reached if at < len(patterns) and at not in stays and fnmatchcase(part, patterns[at])}
        reached = _beyond(stays | steps, patterns)
    return len(patterns) in reached


def _beyond(reached: set[int], patterns: tuple[str, ...]) -> set[int]:
    """Also the places behind a `**`, which may stand for nothing."""
    for at in sorted(reached):
        while at < len(patterns) and patterns[at] == "**":
            at += 1
            reached.add(at)
    return reached
