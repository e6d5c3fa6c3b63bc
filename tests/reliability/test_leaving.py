"""Leaving a run without a screen: what ctrl-c, SIGTERM and a closed terminal do, and that the run can be resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
import time
import uuid
from pathlib import Path

import pytest

from tests.execution.conftest import eventually
from tests.reliability.synthetic import prepare
from tests.reliability.test_orphans import ROOT, Family, family
from vibeserve_tui.client import open_state
from vibeserve_tui.state.run_dir import lock_holder

pytestmark = pytest.mark.slow  # each starts a client, an engine and what they have in a box

TRIALS = int(os.environ.get("VIBESERVE_TEST_INTERRUPTS", "5"))
PROMPT_S = 2.0
PAUSED, LEFT = 4, 130
CTRL_C = b"\x03"


def press_ctrl_c_twice(found: Family) -> tuple[int, float]:
    """Exit code, and seconds from the second time."""
    os.write(found.terminal, CTRL_C)
    time.sleep(0.15)
    begun = time.monotonic()
    os.write(found.terminal, CTRL_C)
    return found.client.wait(10), time.monotonic() - begun


def is_resumable(found: Family) -> bool:
    state = open_state(found.run)
    return lock_holder(found.run) is None and state.status == "paused" and not state.is_over


def finish(folder: Path) -> int:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}"}
    argv = [sys.executable, "-m", "tests.reliability.synthetic", folder]
    return subprocess.run(argv, env=environment, cwd=ROOT, check=False, timeout=60, capture_output=True).returncode


def test_ctrl_c_twice_ends_at_once_and_leaves_terminal_and_run_in_order(tmp_path: Path, record_property) -> None:
    record_property("trials", f"{TRIALS} times")
    for _ in range(TRIALS):
        with family(tmp_path / uuid.uuid4().hex, "waits") as found:
            before = termios.tcgetattr(found.terminal)
            code, took_s = press_ctrl_c_twice(found)
            assert code == PAUSED
            assert took_s <= PROMPT_S
            assert termios.tcgetattr(found.terminal) == before
            assert is_resumable(found)


def test_after_ctrl_c_twice_the_run_can_be_finished(tmp_path: Path) -> None:
    folder = tmp_path / uuid.uuid4().hex
    with family(folder, "waits") as found:
        code, _ = press_ctrl_c_twice(found)
        assert code == PAUSED
    assert finish(folder) == 0
    assert open_state(found.run).status == "finished"


def test_the_third_ctrl_c_leaves_and_the_engine_cleans_up(tmp_path: Path) -> None:
    with family(tmp_path / uuid.uuid4().hex, "waits") as found:
        os.kill(found.engine, signal.SIGSTOP)  # an engine that does not answer
        for _ in range(3):
            os.write(found.terminal, CTRL_C)
            time.sleep(0.1)
        assert found.client.wait(PROMPT_S) == LEFT
        os.kill(found.engine, signal.SIGCONT)
        assert eventually(lambda: is_resumable(found), PROMPT_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_client_stops_its_run_resumably(tmp_path: Path, number: signal.Signals) -> None:
    with family(tmp_path / uuid.uuid4().hex, "waits") as found:
        os.kill(int((found.folder / "pids").read_text().split()[0]), number)
        assert found.client.wait(PROMPT_S) == PAUSED
        assert is_resumable(found)


def test_a_client_that_is_killed_does_not_stop_the_run(tmp_path: Path) -> None:
    with family(tmp_path / uuid.uuid4().hex, "waits") as found:
        os.kill(int((found.folder / "pids").read_text().split()[0]), signal.SIGKILL)
        time.sleep(0.3)
        assert lock_holder(found.run) is not None


def test_a_signal_before_anything_is_recorded_leaves_a_run_that_begins_anew(tmp_path: Path) -> None:
    prepare(tmp_path)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}"}
    argv = [sys.executable, "-m", "tests.reliability.synthetic", tmp_path, "waits"]
    with subprocess.Popen(argv, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL) as engine:
        while not (tmp_path / "run" / "lock").exists():
            time.sleep(0.001)
        engine.terminate()
    assert finish(tmp_path) == 0
