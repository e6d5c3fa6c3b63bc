"""A person at a terminal, from the start screen to a kept round, with an engine that is killed on the way.

The real program, the real default target and a real engine: it measures, so it wants the machine for itself.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tui.test_terminal import Terminal
from vibeserve_tui.client import list_runs, open_state
from vibeserve_tui.events import Outcome
from vibeserve_tui.state.run_dir import RunDir

pytestmark = [
    pytest.mark.serial,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]
ROUND_S = 420


class Person:
    """Somebody with folders of their own, who opens the program in one terminal after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.terminals: list[Terminal] = []

    def types(self, *words: str) -> Terminal:
        variables = " ".join(f"XDG_{kind}_HOME={self.folder / kind.lower()}" for kind in ("DATA", "STATE", "CONFIG"))
        command = [sys.executable, "-m", "vibeserve_tui", *words]
        self.terminals.append(Terminal(command, self.folder, 120, 40, variables))
        return self.terminals[-1]

    @property
    def runs(self) -> list[RunDir]:
        return [RunDir(summary.path) for summary in list_runs(self.folder / "data" / "vibeserve" / "runs")]


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    somebody = Person(tmp_path)
    yield somebody
    for run in somebody.runs:
        if engine := engine_of(run):
            os.kill(engine, signal.SIGKILL)
    for terminal in somebody.terminals:
        terminal.close()


def engine_of(run: RunDir) -> int | None:
    """The process that holds the run's lock, as it wrote it there."""
    try:
        return int(json.loads(run.lock.read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError):
        return None


def test_from_the_start_screen_to_a_kept_round_past_a_killed_app_and_a_killed_engine(person: Person) -> None:
    first = person.types()
    first.wait("✓ ready, ⏎ starts", 60)
    first.press("Enter")
    first.wait("the target's own seed server|judging|measuring", 90)
    run = person.runs[0]

    first.wait(r"Round 1 ·", ROUND_S)
    first.wait(r"waiting 00:0[2-9]", 30)  # past the half second in which no key decides
    first.press("a")
    first.wait(r"[●◆] 1 ", 60)
    assert open_state(run).rounds[1].outcome is Outcome.KEPT

    engine = engine_of(run)
    os.kill(first.process().pid, signal.SIGKILL)
    assert first.exit_status() == 128 + signal.SIGKILL
    again = person.types("attach")
    again.wait(r"[●◆] 1 ", 30)
    assert engine_of(run) == engine is not None

    os.kill(engine, signal.SIGKILL)
    again.wait("engine crashed", 30)
    again.press("Space")
    again.wait("◐ round 2", 120)
    assert engine_of(run) != engine
    assert open_state(run).rounds[1].outcome is Outcome.KEPT

    again.press("q", "k")
    again.wait("Stop at once")
    again.press("y")
    assert again.exit_status() == 0
    assert "Traceback" not in again.screen()
