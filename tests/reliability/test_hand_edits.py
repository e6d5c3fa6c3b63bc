"""Somebody edits the workspace between two rounds: nothing of it is lost, and none of it becomes a candidate's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fakes import FakeImplementer, open_run
from tests.reliability.outcome import git
from tests.test_halting import until_paused, watched
from vibeserve_tui import commands as cmd
from vibeserve_tui import events as ev
from vibeserve_tui.errors import RunPaused
from vibeserve_tui.round import Work
from vibeserve_tui.state.run import Run
from vibeserve_tui.steering import Desk

TASK = ev.TaskPlan(title="batch")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path)


async def play(run: Run, *, fails: bool = False) -> None:
    """Round 1, whose attempt leaves its tree in the workspace."""
    run.emit(ev.RoundPlanned(number=1, task=TASK), ev.AttemptStarted(round=1, attempt=1))
    committed = await FakeImplementer(run).implement(Work(1, 1, TASK, run.state.champion_commit))
    commit, tree = ("", "") if fails else (committed.commit, committed.tree)
    if not fails:
        run.emit(committed)
    record = ev.RoundRecord(number=1, task=TASK, outcome="reverted", reason="no gain", commit=commit, tree=tree)
    run.emit(ev.RoundFinished(record=record))


def headless(run: Run) -> Desk:
    return Desk(run, approval_timeout_s=0)


def edit(run: Run, text: str = "mine = 1\n") -> None:
    with (run.dir.workspace / "server.py").open("a") as file:
        file.write(text)


def kept(run: Run, ref: str) -> str:
    return git(run.dir.store, "show", f"refs/edits/{ref}:server.py")


async def test_without_an_operator_the_run_pauses_and_names_where_the_edit_is(run: Run) -> None:
    await play(run)
    edit(run)
    with pytest.raises(RunPaused, match="kept as refs/edits/001/1") as caught:
        await headless(run).boundary()
    assert caught.value.exit_code == 4
    assert kept(run, "001/1").endswith("mine = 1\n")
    assert git(run.dir.store, "rev-parse", "refs/edits/001/1^").strip() == run.state.attempts[-1].commit


async def test_who_resumes_goes_on_without_it_and_a_second_edit_is_kept_beside_the_first(run: Run) -> None:
    await play(run)
    edit(run)
    with pytest.raises(RunPaused):
        await headless(run).boundary()
    await headless(run).boundary()
    edit(run, "more = 2\n")
    with pytest.raises(RunPaused, match="refs/edits/001/2"):
        await headless(run).boundary()
    assert "more" not in kept(run, "001/1")


async def test_an_operator_who_looks_on_is_waited_for(run: Run) -> None:
    await play(run)
    edit(run)
    desk = Desk(run, approval_timeout_s=None)
    async with watched(desk):
        waiting = asyncio.create_task(desk.boundary())
        await until_paused(run)
        assert "edited by hand" in run.state.status_reason
        run.dir.post(cmd.Resume(id="x"))
        await asyncio.wait_for(waiting, 5)
    assert run.state.status == "running"


@pytest.mark.parametrize("fails", [False, True], ids=["after a commit", "after an attempt that came to nothing"])
async def test_an_untouched_workspace_is_passed_over(run: Run, fails: bool) -> None:
    await play(run, fails=fails)
    (run.dir.workspace / "__pycache__").mkdir()
    (run.dir.workspace / "__pycache__" / "server.pyc").write_bytes(b"x")
    await headless(run).boundary()
    assert run.store.refs("edits") == {}


async def test_what_git_cannot_hold_is_left_where_it_is_and_named(run: Run) -> None:
    await play(run)
    (run.dir.workspace / ".git").mkdir()
    with pytest.raises(RunPaused, match="cannot be kept: a nested repository"):
        await headless(run).boundary()
    assert (run.dir.workspace / ".git").is_dir()
