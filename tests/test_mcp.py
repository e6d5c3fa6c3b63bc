"""`vibeserve mcp` as a coding assistant meets it: a real process, spoken to over stdin and stdout."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.processes import ROOT, vibeserve
from tests.recorded_run import SEED, Played, record_run
from vibeserve_tui import events as ev
from vibeserve_tui.state.issues import from_operator
from vibeserve_tui.state.journal import Journal
from vibeserve_tui.state.run_dir import RunDir

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client


@pytest.fixture
def recorded(tmp_path: Path) -> RunDir:
    return record_run(tmp_path / "runs" / "one", [Played(SEED, "batch requests", ratio=2.0)])


@asynccontextmanager
async def connected(run: RunDir, *options: str) -> AsyncIterator[Client]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}"}
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "vibeserve_tui", "mcp", str(run.path), *options], env=environment, cwd=ROOT
    )
    async with Client(stdio_client(server)) as client:
        yield client


async def ask(client: Client, tool: str, **arguments: object) -> tuple[str, bool]:
    result = await client.call_tool(tool, arguments)
    return result.content[0].text, not result.is_error


async def test_a_run_can_be_looked_at(recorded: RunDir) -> None:
    async with connected(recorded) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "apply_recipe" not in names
        text, ok = await ask(client, "run_state")
        assert ok
        assert "champion: round 1" in text
        assert "batch requests" in (await ask(client, "rounds"))[0]
        assert (await ask(client, "diff", number=1))[0] == "no difference"
        assert await ask(client, "issues", id="I-9") == ("there is no issue 'I-9'", False)
        assert (await ask(client, "memory"))[1]
        recipes, _ = await ask(client, "list_recipes")
        assert "within reach" in recipes
        assert "kv-cache-preallocate" in recipes
        assert "continuous-batching" in recipes
        # Nobody would see an issue of a run that is over.
        text, ok = await ask(client, "file_issue", title="try tiling")
        assert not ok
        assert "no engine works on" in text
    assert list(recorded.inbox.glob("*.json")) == []


@pytest.mark.slow
async def test_a_recipe_is_applied_to_the_named_folder_and_nowhere_else(recorded: RunDir, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(SEED, work)
    before = {path: path.stat().st_mtime_ns for path in recorded.path.rglob("*") if path.is_file()}
    async with connected(recorded, "--workspace", str(work)) as client:
        text, ok = await ask(client, "apply_recipe", id="kv-cache-preallocate")
        wrong, wrong_ok = await ask(client, "apply_recipe", id="kv-cache-preallocat")
    assert ok, text
    assert "+++" in text
    assert not wrong_ok
    assert "did you mean" in wrong
    assert {path: path.stat().st_mtime_ns for path in recorded.path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
async def test_an_issue_is_filed_through_the_inbox_of_a_live_run(tmp_path: Path) -> None:
    """The test is the engine: it holds the lock and answers as one."""
    run = record_run(tmp_path / "runs" / "two", confirmed=None)
    journal = Journal(run.journal)
    async with connected(run) as client:
        with run.owned():
            filing = asyncio.create_task(ask(client, "file_issue", title="try tiling", body="because"))
            while not run.waiting_commands():
                await asyncio.sleep(0.02)
            (path, command), *_ = run.waiting_commands()
            journal.append(from_operator({}, command), ev.CommandAccepted(id=command.id, command=command.kind))
            path.unlink()
            assert await filing == ("filed", True)
        text, _ = await ask(client, "issues", query="tiling")
    assert "try tiling" in text
    journal.close()


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    done = vibeserve("mcp", "no-such-run", "--runs-dir", str(tmp_path))
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    run = record_run(tmp_path / "three")
    done = vibeserve("mcp", str(run.path), "--workspace", str(tmp_path / "nowhere"))
    assert done.code == 2
    assert "is not a folder" in done.err
