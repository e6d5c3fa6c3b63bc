"""A person at a terminal and a real engine loop: approve, lose the engine, bring it back, detach, come back.

Loop, policy, desk, journal and store are the real ones; only what would start servers is replaced by a scripted crew.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.reliability.synthetic import prepare
from tests.tui.test_terminal import ROOT, Terminal
from vibeserve_tui import commands as cmd
from vibeserve_tui import events as ev
from vibeserve_tui.client import open_state
from vibeserve_tui.state import durable

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")]

ENGINE = """
import asyncio, sys
from pathlib import Path
from tests.reliability import synthetic
from vibeserve_tui import engine
from vibeserve_tui.state.run_dir import RunDir

async def measuring(folder, launcher):
    await asyncio.sleep(1.0)

async def again(self, a, b):
    await asyncio.sleep(0.5)
    return synthetic.measured("accepted", ratio=1.25)

synthetic.Evaluator.again = again
folder = Path(sys.argv[1])
engine.open_workshop = synthetic._open_workshop(folder, measuring)
engine.variants = lambda book, situation: book
engine.made_of_recipes = lambda state: True
engine.Launcher = synthetic.NoLauncher
directory = RunDir(folder / "run")
sys.exit(engine.own(directory, engine.read_order(directory)))
"""
APP = """
import subprocess, sys
from pathlib import Path
from tests.tui.start_services import Library
from vibeserve_tui.client import AttachedClient
from vibeserve_tui.inputs.config import Config, Ui
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.tui.app import run_app

folder = Path(sys.argv[1])

class Here(Library):
    def resume(self, run):
        subprocess.Popen([sys.executable, str(folder / "engine.py"), str(folder)], start_new_session=True, stderr=subprocess.DEVNULL)

config = Config(ui=Ui(hints=False))
sys.exit(run_app(Here(crash_dir=folder), AttachedClient(RunDir(folder / "run")), config=config))
"""


class Desk:
    """A run with its engine, and terminals that show it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = prepare(folder)
        order = ev.RunPlan.model_validate_json(self.run.order.read_bytes()).model_copy(update={"asks": True})
        durable.write_atomic(self.run.order, order.model_dump_json().encode())
        (folder / "engine.py").write_text(ENGINE)
        (folder / "app.py").write_text(APP)
        self.terminals: list[Terminal] = []
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(self.folder / "engine.py"), str(self.folder)]
        subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True)
        until(lambda: self.run.journal.exists() and self.engine() is not None)

    def engine(self) -> int | None:
        try:
            pid = int(json.loads(self.run.lock.read_text())["pid"])
            os.kill(pid, 0)
        except (OSError, ValueError, KeyError):
            return None
        return pid

    def open(self, width: int = 120, height: int = 40) -> Terminal:
        command = [sys.executable, str(self.folder / "app.py"), str(self.folder)]
        self.terminals.append(Terminal(command, self.folder, width, height))
        return self.terminals[-1]

    def outcome(self, number: int) -> ev.Outcome | None:
        record = open_state(self.run).rounds.get(number)
        return record.outcome if record else None

    def close(self) -> None:
        for terminal in self.terminals:
            terminal.close()
        if engine := self.engine():
            os.kill(engine, signal.SIGKILL)


def until(holds: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, "this never came true"
        time.sleep(0.05)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    opened = Desk(tmp_path)
    yield opened
    opened.close()


def approve(terminal: Terminal, number: int) -> None:
    """Past the half second in which no key decides."""
    terminal.wait(rf"Round {number} ·", 60)
    terminal.wait(r"waiting 00:(0[1-9]|[1-5]\d)", 30)
    time.sleep(0.6)
    terminal.press("a")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_an_approved_round_is_kept(desk: Desk, size: tuple[int, int]) -> None:
    terminal = desk.open(*size)
    approve(terminal, 1)
    terminal.wait(r"[●◆] 1 ", 30)
    assert desk.outcome(1) is ev.Outcome.KEPT
    approve(terminal, 2)
    until(lambda: desk.outcome(2) is ev.Outcome.KEPT)
    assert open_state(desk.run).rounds[2].decided_by == "operator"


def test_two_rounds_are_measured_once_more_by_the_engine_and_the_screen_shows_it(desk: Desk) -> None:
    terminal = desk.open()
    approve(terminal, 1)
    terminal.wait(r"[●◆] 1 ", 30)
    terminal.wait(r"Round 2 ·", 60)
    terminal.press("Escape")
    terminal.wait("round 2 waits for you", 30)  # before the next key: Escape and a bracket are the start of a sequence
    terminal.press("[", "c")
    terminal.wait("A = r0", 30)
    terminal.press("b")
    terminal.wait("Bench both again")
    terminal.press("y")
    terminal.wait("both are measured again before the next round", 30)
    desk.run.post(cmd.RevertTo(by="a script", comment="no"))  # round 2 no longer waits: the engine turns to the pair
    terminal.wait("measured again, interleaved", 60)
    again = open_state(desk.run).again[0, 1]
    assert again.headline is not None and again.headline.ratio == 1.25


def test_a_killed_engine_is_named_and_brought_back_by_a_key(desk: Desk) -> None:
    terminal = desk.open()
    approve(terminal, 1)
    terminal.wait(r"[●◆] 1 ", 30)
    engine = desk.engine()
    assert engine is not None
    os.kill(engine, signal.SIGKILL)
    terminal.press("Escape")
    terminal.wait("engine crashed", 30)
    terminal.press("Space")
    approve(terminal, 2)
    until(lambda: desk.outcome(2) is ev.Outcome.KEPT)
    assert desk.engine() not in (None, engine)
    assert desk.outcome(1) is ev.Outcome.KEPT


def test_a_run_goes_on_without_the_app_and_another_client_may_decide(desk: Desk) -> None:
    terminal = desk.open()
    terminal.wait(r"Round 1 ·", 60)
    os.kill(terminal.process().pid, signal.SIGKILL)
    assert terminal.exit_status() == 128 + signal.SIGKILL
    seq = open_state(desk.run).seq
    desk.run.post(cmd.RevertTo(by="a script", comment="no"))
    until(lambda: desk.outcome(1) is ev.Outcome.REVERTED)
    again = desk.open()
    again.wait(r"Round 2 ·", 60)
    again.press("Escape")
    again.wait("round 2 waits for you", 30)
    again.wait(r"↺ 1 ", 30)
    assert open_state(desk.run).seq > seq
    again.press("D")
    assert again.exit_status() == 0
    assert f"the run goes on without the app; back to it: vibeserve attach {desk.run.path}" in again.screen().replace(
        "\n", ""
    )
    assert desk.engine() is not None
    last = desk.open()
    last.wait(r"Round 2 ·", 60)
