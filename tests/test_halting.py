"""When no agent can go on: with an operator the run waits for help, without one it ends, resumably, with exit code 4."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes import open_run
from vibeserve_tui import commands as cmd
from vibeserve_tui.errors import AgentsHalted
from vibeserve_tui.state.run import Run
from vibeserve_tui.steering import Desk

HALT = AgentsHalted("the run's budget of $1.00 is spent", fix="vibeserve resume run --max-usd USD")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path, allowance={"usd": 1.0})


@contextlib.asynccontextmanager
async def watched(desk: Desk) -> AsyncIterator[None]:
    watching = asyncio.create_task(desk.watch())
    yield
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


async def until_paused(run: Run) -> None:
    async with asyncio.timeout(5):
        while run.state.status != "paused":
            await asyncio.sleep(0.01)


async def test_with_an_operator_the_run_waits_for_a_larger_budget(run: Run) -> None:
    desk = Desk(run, approval_timeout_s=None)
    async with watched(desk):
        holding = asyncio.create_task(desk.hold(HALT))
        await until_paused(run)
        assert "budget of $1.00 is spent" in run.state.status_reason
        run.dir.post(cmd.SetBudget(max_usd=7.5, max_tokens=1000))
        run.dir.post(cmd.Resume())
        async with asyncio.timeout(5):
            await holding
    assert (run.state.status, run.state.max_usd, run.state.max_tokens) == ("running", 7.5, 1000)


async def test_without_an_operator_the_run_ends_here(run: Run) -> None:
    with pytest.raises(AgentsHalted) as halted:
        await Desk(run, approval_timeout_s=60.0).hold(HALT)
    assert halted.value.exit_code == 4 and run.state.status == "running"


async def test_an_operator_who_stops_a_halted_run_leaves_it_resumable(run: Run) -> None:
    desk = Desk(run, approval_timeout_s=None)
    async with watched(desk):
        holding = asyncio.create_task(desk.hold(HALT))
        await until_paused(run)
        run.dir.post(cmd.Stop())
        with pytest.raises(AgentsHalted):
            await holding


def test_a_budget_that_is_raised_before_the_engine_starts_is_known_from_the_first_turn_on(run: Run) -> None:
    run.dir.post(cmd.SetBudget(max_usd=9.0))
    Desk(run, approval_timeout_s=60.0).scan()
    assert run.state.max_usd == 9.0
