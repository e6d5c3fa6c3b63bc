from __future__ import annotations

import os

import pytest

from tests.agents.toolbox.bench import call, refusal
from tests.test_foreign_trees import deep
from vibeserve_tui import foreign_trees
from vibeserve_tui.agents.toolbox.places import Places
from vibeserve_tui.agents.toolbox.reading import READ_LIMIT, reading_tools


async def test_a_file_is_read_with_line_numbers_in_pieces(places: Places) -> None:
    tools = reading_tools(places, None)
    text = await call(tools, "read", path="server/engine.py", start=4, limit=2)
    assert text == "    4  def step(batch):\n    5      total = 0\n… 3 more lines: start=6"


async def test_an_absolute_path_into_the_workspace_is_as_good_as_a_relative_one(places: Places) -> None:
    tools = reading_tools(places, None)
    here = await call(tools, "read", path=str(places.workspace / "server" / "config.json"))
    assert here == await call(tools, "read", path="./server/../server/config.json")


async def test_the_targets_public_files_are_shown_beside_the_workspace(places: Places) -> None:
    tools = reading_tools(places, None)
    assert "faster" in await call(tools, "read", path="@target/OBJECTIVE.md")
    assert await call(tools, "glob", pattern="@target/*") == "@target/OBJECTIVE.md  15 B"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("../secret", "outside the workspace"),
        ("server/../../secret", "outside the workspace"),
        ("/etc/passwd", "outside the workspace"),
        ("@target/../secret", "outside the workspace"),
        ("server", "not a regular file"),
        ("server/none.py", "there is no such file"),
        ("@outputs/0123", "there is no output"),
        ("a\0b", "no NUL"),
        (".", "name a file"),
    ],
)
async def test_what_is_not_to_be_seen_is_refused_with_a_reason(places: Places, path: str, says: str) -> None:
    assert says in await refusal(reading_tools(places, None), "read", path=path)


async def test_links_are_never_followed(places: Places) -> None:
    (places.workspace / "link").symlink_to(places.workspace.parent / "secret")
    (places.workspace / "folder").symlink_to(places.workspace.parent)
    tools = reading_tools(places, None)
    assert "holds no links" in await refusal(tools, "read", path="link")
    assert "holds no links" in await refusal(tools, "read", path="folder/secret")


async def test_what_is_no_text_is_said_to_be_none(places: Places) -> None:
    (places.workspace / "weights.bin").write_bytes(b"\xff\xfe\0\1" * 10)
    os.mkfifo(places.workspace / "pipe")
    tools = reading_tools(places, None)
    assert "not UTF-8 text" in await refusal(tools, "read", path="weights.bin")
    assert "not a regular file" in await refusal(tools, "read", path="pipe")


async def test_a_long_file_ends_with_the_way_to_go_on(places: Places) -> None:
    (places.workspace / "long.txt").write_text("".join(f"line {n} {'x' * 90}\n" for n in range(1, 1001)))
    tools = reading_tools(places, None)
    first = await call(tools, "read", path="long.txt")
    assert len(first) <= READ_LIMIT + 100
    following = int(first.rsplit("start=", 1)[1])
    assert (await call(tools, "read", path="long.txt", start=following)).startswith(
        f"{following:>5}  line {following} "
    )


async def test_one_endless_line_does_not_fill_the_context(places: Places) -> None:
    (places.workspace / "one.json").write_text("x" * 200_000)
    text = await call(reading_tools(places, None), "read", path="one.json")
    assert len(text) < READ_LIMIT + 100
    assert "characters more in this line" in text


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("**", ["server/config.json", "server/engine.py"]),
        ("**/*.py", ["server/engine.py"]),
        ("server/*", ["server/config.json", "server/engine.py"]),
        ("*.py", []),
    ],
)
async def test_files_are_listed_by_a_pattern(places: Places, pattern: str, found: list[str]) -> None:
    (places.workspace / "server" / "__pycache__").mkdir()
    (places.workspace / "server" / "__pycache__" / "engine.pyc").write_bytes(b"")
    listed = await call(reading_tools(places, None), "glob", pattern=pattern)
    assert [line.split("  ")[0] for line in listed.splitlines() if "  " in line] == found


async def test_a_hostile_pattern_costs_no_time(places: Places) -> None:
    (places.workspace / ("a" * 200)).write_text("")
    (places.workspace / "/".join("d" * 40)).mkdir(parents=True)
    (places.workspace / "/".join("d" * 41)).write_text("")
    for pattern in ("*a" * 40 + "b", "**/" * 60 + "b", "**/d/" * 40 + "b"):
        assert await call(reading_tools(places, None), "glob", pattern=pattern) == "no file matches"


async def test_folders_that_are_too_deep_to_be_named_do_not_end_the_listing(places: Places) -> None:
    deep(places.workspace)
    listed = await call(reading_tools(places, None), "glob", pattern="server/*")
    foreign_trees.remove(places.workspace)  # pytest could not
    assert len(listed.splitlines()) == 2
