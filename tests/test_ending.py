"""The end of a run, ablations and confirmation, takes as long as several rounds: the operator is heard then, too."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.fakes import measured, open_run
from tests.test_halting import until_paused, watched
from vibeserve_tui import commands as cmd
from vibeserve_tui import engine
from vibeserve_tui import events as ev
from vibeserve_tui.engine import conclude, simplify
from vibeserve_tui.policies import Policy
from vibeserve_tui.recipes.ablation import Variant
from vibeserve_tui.recipes.situation import Choice
from vibeserve_tui.state.run import Run
from vibeserve_tui.steering import Desk
from vibeserve_tui.workshop import Workshop


class PatientGate:
    """Confirms a round once it is let, and writes down what it was asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.confirming, self.let = asyncio.Event(), asyncio.Event()
        self.confirmed: list[int] = []
        self.again_measured: list[tuple[int, int]] = []

    async def confirm(self, champion: str, baseline: str, *, certain: float) -> ev.Confirmed:
        del champion, baseline, certain
        number = self._run.state.champion
        self.confirming.set()
        await self.let.wait()
        self.confirmed.append(number)
        return ev.Confirmed(champion=number, baseline=0, figures=measured(ratio=1.5).figures, blocks=4)

    async def again(self, a: int, b: int) -> ev.Measured:
        self.again_measured.append((a, b))
        return measured()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two kept rounds on top of the seed, the second one champion."""
    run = open_run(tmp_path)
    for number in (1, 2):
        record = run.state.rounds[0].model_copy(
            update={"number": number, "fate": "champion", "verdict": ev.Verdict(outcome="pass")}
        )
        run.emit(ev.RoundFinished(record=record), ev.ChampionMoved(round=number, commit=record.commit))
    return run


def shop_of(run: Run, gate: PatientGate) -> Workshop:
    shop = SimpleNamespace(
        run=run,
        evaluator=gate,
        book=None,
        situation=lambda: None,
        seconds_left=lambda: 600.0,
        speedup_so_far=lambda: 1.0,
    )
    return cast("Workshop", shop)


async def concluded(run: Run, gate: PatientGate, command: cmd.Command) -> None:
    """The end of a run whose confirmation is going on when the command comes."""
    desk = Desk(run, approval_timeout_s=None)
    async with watched(desk), asyncio.timeout(60):
        ending = asyncio.create_task(conclude(shop_of(run, gate), desk))
        await gate.confirming.wait()
        run.dir.post(command)
        while command.id not in run.state.answered:
            await asyncio.sleep(0.01)
        gate.let.set()
        await ending


async def test_a_revert_during_the_confirmation_has_the_other_round_confirmed(run: Run) -> None:
    gate = PatientGate(run)
    await concluded(run, gate, cmd.RevertTo(round=1))
    assert (run.state.champion, run.state.revert_wished, gate.confirmed) == (1, None, [1])


async def test_stop_now_does_not_wait_for_the_confirmation(run: Run) -> None:
    gate = PatientGate(run)
    await concluded(run, gate, cmd.Stop(now=True))
    assert (gate.confirmed, run.state.confirmed) == ([], [])


async def test_a_pair_asked_for_during_the_confirmation_is_measured_before_the_run_ends(run: Run) -> None:
    gate = PatientGate(run)
    await concluded(run, gate, cmd.MeasureAgain(a=1, b=2))
    assert (gate.again_measured, gate.confirmed) == ([(1, 2)], [2])
    assert run.state.again[1, 2].outcome == "accepted"


async def test_a_pause_holds_the_ablations_until_resume(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, played = Desk(run, approval_timeout_s=None), list[str]()

    async def one_round(shop: Workshop, policy: Policy, desk: Desk, task: ev.TaskPlan) -> None:
        del shop, policy
        played.append(task.title)
        desk.wishes.pause = len(played) == 1  # as the desk notes it while the round is played

    variants = [Variant(name, (Choice("other", {}),)) for name in ("one", "two")]
    monkeypatch.setattr(engine, "made_of_recipes", lambda state: True)
    monkeypatch.setattr(engine, "variants", lambda book, situation: variants)
    monkeypatch.setattr(engine, "too_late", lambda state, seconds: False)
    monkeypatch.setattr(engine, "one_round", one_round)
    async with watched(desk), asyncio.timeout(60):
        ending = asyncio.create_task(simplify(shop_of(run, PatientGate(run)), cast("Policy", None), desk))
        await until_paused(run)
        assert played == ["without one"]
        run.dir.post(cmd.Resume())
        await ending
    assert played == ["without one", "without two"]
