from __future__ import annotations

from textwrap import dedent

import pytest

from tests.agents.toolbox.bench import call, nothing_forbids, refusal
from vibeserve_tui.agents.toolbox.places import Places
from vibeserve_tui.agents.toolbox.writing import writing_tools


def patch(*lines: str) -> str:
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch"])


UPDATE = (
    "*** Update File: server/engine.py",
    "@@ def step(batch):",
    "     total = 0",
    "-    for one in batch:",
    "-        total += one",
    "-    return total",
    "+    return sum(batch)",
)


async def apply(places: Places, text: str) -> str:
    return await call(writing_tools(places, "apply_patch", nothing_forbids), "apply_patch", patch=text)


async def test_several_files_change_at_once(places: Places) -> None:
    done = await apply(
        places,
        patch(
            *UPDATE,
            "*** Add File: server/extra.py",
            "+x = 1",
            "*** Delete File: server/config.json",
        ),
    )
    assert done.splitlines() == ["deleted server/config.json", "changed server/engine.py", "new server/extra.py"]
    assert (places.workspace / "server" / "extra.py").read_text() == "x = 1\n"
    text = (places.workspace / "server" / "engine.py").read_text()
    assert text.endswith("def step(batch):\n    total = 0\n    return sum(batch)\n")


async def test_nothing_is_written_when_a_part_does_not_fit(places: Places) -> None:
    before = (places.workspace / "server" / "engine.py").read_text()
    bad = patch(*UPDATE, "*** Update File: server/config.json", "-not there", "+x")
    says = await refusal(writing_tools(places, "apply_patch", nothing_forbids), "apply_patch", patch=bad)
    assert "server/config.json, hunk 1: this passage is not there, nothing was applied" in says
    assert (places.workspace / "server" / "engine.py").read_text() == before


async def test_blanks_at_line_ends_and_indentation_may_differ(places: Places) -> None:
    await apply(
        places,
        patch(
            "*** Update File: server/engine.py",
            " total = 0  ",
            "-for one in batch:",
            "+    for one in reversed(batch):",
        ),
    )
    assert "reversed(batch)" in (places.workspace / "server" / "engine.py").read_text()


async def test_a_file_can_be_moved_while_it_changes(places: Places) -> None:
    await apply(
        places,
        patch("*** Update File: server/engine.py", "*** Move to: server/core.py", "-    total = 0", "+    total = 1"),
    )
    assert not (places.workspace / "server" / "engine.py").exists()
    assert "total = 1" in (places.workspace / "server" / "core.py").read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no patch at all", "begins with"),
        (patch(), "names no file"),
        (patch("+x"), "stands before the first file"),
        (patch("*** Add File: server/engine.py", "+x"), "is there already"),
        (patch("*** Update File: server/none.py", "-x", "+y"), "there is no such file"),
        (patch("*** Delete File: ../secret"), "outside the workspace"),
        (patch("*** Update File: server/engine.py", "?x"), "is no part of a patch"),
        (patch("*** Update File: server/engine.py", "@@ def nowhere():", "-x"), "there is no line"),
    ],
)
async def test_a_patch_that_makes_no_sense_is_refused(places: Places, text: str, says: str) -> None:
    tools = writing_tools(places, "apply_patch", nothing_forbids)
    assert says in await refusal(tools, "apply_patch", patch=text)


async def test_hunks_are_searched_below_one_another(places: Places) -> None:
    (places.workspace / "two.py").write_text(
        dedent("""\
        def a():
            return 1


        def b():
            return 1
        """)
    )
    await apply(places, patch("*** Update File: two.py", "@@ def b():", "-    return 1", "+    return 2"))
    assert (places.workspace / "two.py").read_text().count("return 1\n") == 1
    assert (places.workspace / "two.py").read_text().endswith("def b():\n    return 2\n")
