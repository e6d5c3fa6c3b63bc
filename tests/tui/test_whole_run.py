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


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Terminal]:
    variables = " ".join(f"XDG_{kind}_HOME={tmp_path / kind.lower()}" for kind in ("DATA", "STATE", "CONFIG"))
    terminal = Terminal([sys.executable, "-m", "vibeserve_tui"], tmp_path, 120, 40, variables)
    yield terminal
    for summary in list_runs(tmp_path / "data" / "vibeserve" / "runs"):
        if engine := engine_of(RunDir(summary.path)):
            os.kill(engine, signal.SIGKILL)
    terminal.close()


def engine_of(run: RunDir) -> int | None:
    """The process that holds the run's lock, as it wrote it there."""
    try:
        return int(json.loads(run.lock.read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError):
        return None


def test_from_the_start_screen_to_a_kept_round_past_a_killed_engine(opened: Terminal, tmp_path: Path) -> None:
    opened.wait("✓ ready, ⏎ starts", 60)
    opened.press("Enter")
    opened.wait("the target's own seed server|judging|measuring", 90)
    run = RunDir(list_runs(tmp_path / "data" / "vibeserve" / "runs")[0].path)

    opened.wait(r"Round 1 ·", ROUND_S)
    opened.wait("approve", 10)
    opened.wait(r"waiting 00:0[2-9]", 30)  # past the half second in which no key decides
    opened.press("a")
    opened.wait(r"[●◆] 1 ", 60)
    assert open_state(run).rounds[1].outcome is Outcome.KEPT

    engine = engine_of(run)
    assert engine is not None
    os.kill(engine, signal.SIGKILL)
    opened.wait("engine crashed", 30)
    opened.press("Space")
    opened.wait("◐ round 2", 120)
    assert engine_of(run) != engine
    assert open_state(run).rounds[1].outcome is Outcome.KEPT

    opened.press("q", "k")
    opened.wait("Stop at once")
    opened.press("y")
    assert opened.exit_status() == 0
    assert "Traceback" not in opened.screen()
