"""A model may plan for minutes, and be paid for each turn: what the operator wishes meanwhile does not wait for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.fakes import open_run
from tests.test_halting import watched
from vibeserve_tui import commands as cmd
from vibeserve_tui import events as ev
from vibeserve_tui.engine import search
from vibeserve_tui.policies import Policy
from vibeserve_tui.state.run import Run
from vibeserve_tui.steering import Desk
from vibeserve_tui.workshop import Workshop


class SlowPlanner:
    """Thinks for ever the first time, and says that it has no idea the second time."""

    def __init__(self) -> None:
        self.thinking = asyncio.Event()
        self.begun = self.broken_off = 0

    async def plan(self, *, rounds_left: int, seconds_left: float) -> ev.TaskPlan | str:
        self.begun += 1
        if self.begun > 1:
            return "no further idea"
        self.thinking.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        raise AssertionError


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path)


def shop_of(run: Run) -> Workshop:
    return cast(
        "Workshop",
        SimpleNamespace(
            run=run,
            profile=SimpleNamespace(plateau=0),
            target=SimpleNamespace(spec=SimpleNamespace(goal_speedup=0.0)),
            seconds_left=lambda: 600.0,
            remember=lambda record: None,
        ),
    )


@pytest.mark.parametrize(
    ("command", "begun", "reason"),
    [
        (cmd.Stop(now=True), 1, "stopped by the operator"),
        (cmd.RevertTo(round=0), 2, "no further idea"),
        (cmd.CancelStep(), 2, "no further idea"),
    ],
    ids=["stop --now", "revert", "cancel"],
)
async def test_planning_is_broken_off_for_what_cannot_wait(
    run: Run, command: cmd.Command, begun: int, reason: str
) -> None:
    desk, planner = Desk(run, approval_timeout_s=None), SlowPlanner()
    async with watched(desk), asyncio.timeout(60):
        searching = asyncio.create_task(search(shop_of(run), cast("Policy", planner), desk))
        await planner.thinking.wait()
        run.dir.post(command)
        assert await searching == reason
    assert (planner.begun, planner.broken_off) == (begun, 1)
