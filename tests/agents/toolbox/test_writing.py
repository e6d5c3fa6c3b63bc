from __future__ import annotations

import os

import pytest

from tests.agents.toolbox.bench import call, nothing_forbids, refusal
from vibeserve_tui.agents.protocol import Tool, ToolError
from vibeserve_tui.agents.toolbox.places import Places
from vibeserve_tui.agents.toolbox.writing import edit_tool_for, writing_tools

FILE = "server/engine.py"


def tools_of(places: Places) -> tuple[Tool, ...]:
    return writing_tools(places, "edit", nothing_forbids)


def text_of(places: Places, path: str = FILE) -> str:
    return (places.workspace / path).read_text()


async def test_an_edit_replaces_the_one_passage(places: Places) -> None:
    done = await call(tools_of(places), "edit", path=FILE, old="    total = 0\n", new="    total = 1\n")
    assert done == f"changed {FILE}"
    assert "total = 1" in text_of(places)


async def test_a_failed_edit_shows_the_nearest_lines(places: Places) -> None:
    says = await refusal(
        tools_of(places), "edit", path=FILE, old="    for item in batch:\n        total += item\n", new="x"
    )
    assert "`old` is not there. Nearest" in says
    assert "6      for one in batch:\n    7          total += one" in says
    assert "for one in batch" in text_of(places)


async def test_an_edit_made_before_is_recognised(places: Places) -> None:
    tools = tools_of(places)
    await call(tools, "edit", path=FILE, old="total = 0", new="total = 10")
    assert "was made already" in await refusal(tools, "edit", path=FILE, old="total = 0\n", new="total = 10")


async def test_an_ambiguous_edit_says_where_it_could_be(places: Places) -> None:
    says = await refusal(tools_of(places), "edit", path=FILE, old="total", new="sum")
    assert "occurs 3 times (lines 5, 7, 8): make it longer, or set all" in says
    await call(tools_of(places), "edit", path=FILE, old="total", new="amount", all=True)
    assert "total" not in text_of(places)


async def test_code_that_does_not_compile_is_written_and_said(places: Places) -> None:
    done = await call(tools_of(places), "write", path="server/new.py", text="def broken(:\n")
    assert done.splitlines() == ["new server/new.py", "but it does not compile: server/new.py:1: invalid syntax"]


async def test_writing_what_is_there_changes_nothing(places: Places) -> None:
    done = await call(tools_of(places), "write", path=FILE, text=text_of(places))
    assert done == "nothing changed: the text was there already"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("@target/OBJECTIVE.md", "can only be read"),
        ("../secret", "outside the workspace"),
        (".vibeserve/capabilities.json", "kept by the engine"),
        ("link/x.py", "holds no links"),
    ],
)
async def test_only_the_workspace_is_written(places: Places, path: str, says: str) -> None:
    (places.workspace / "link").symlink_to(places.workspace.parent)
    assert says in await refusal(tools_of(places), "write", path=path, text="x")
    assert (places.workspace.parent / "secret").read_text() == "key\n"


async def test_nothing_is_written_before_the_skills_of_the_task_are_read(places: Places) -> None:
    def forbids() -> None:
        raise ToolError("read first, then write: skill x")

    tools = writing_tools(places, "edit", forbids)
    for name, arguments in (("write", {"text": "x"}), ("edit", {"old": "total", "new": "x"})):
        assert "read first" in await refusal(tools, name, path=FILE, **arguments)


@pytest.mark.parametrize(
    ("model", "tool"),
    [
        ("claude-sonnet-5-5", "edit"),
        ("gpt-5.6", "apply_patch"),
        ("openai/gpt-5.5-codex", "apply_patch"),
        ("qwen3-coder", "edit"),
    ],
)
def test_a_model_gets_the_way_of_editing_that_it_knows(places: Places, model: str, tool: str) -> None:
    assert edit_tool_for(model) == tool


def test_small_models_write_whole_files(places: Places) -> None:
    assert [tool.name for tool in writing_tools(places, "write", nothing_forbids)] == ["write"]


async def test_what_lies_in_the_place_of_the_half_written_file_is_not_waited_for(places: Places) -> None:
    os.mkfifo(places.workspace / "server" / ".engine.py.new")
    await call(tools_of(places), "write", path=FILE, text="new = 1\n")
    assert text_of(places) == "new = 1\n"
    assert not (places.workspace / "server" / ".engine.py.new").exists()
