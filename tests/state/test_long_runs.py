"""A night's run: nothing grows that should not, and the next engine has it open at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.fakes import measured, open_run
from vibeserve_tui import events as ev
from vibeserve_tui.state import memory
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.run_dir import RunDir

ROUNDS = 500
EVENTS_A_ROUND = 20


def play(run: Run, number: int) -> None:
    task = ev.TaskPlan(title=f"idea {number}", issue=f"I-{number}")
    run.emit(ev.RoundPlanned(number=number, task=task), ev.AttemptStarted(round=number, attempt=1))
    for beat in range(EVENTS_A_ROUND - 6):
        run.emit(ev.Heartbeat(active_s=float(number * 100 + beat)))
    run.emit(ev.MeasurementFinished(round=number, measured=measured("rejected")))
    record = ev.RoundRecord(
        number=number, task=task, outcome="reverted", reason="futile", measured=measured("rejected")
    )
    issue = ev.Issue(id=f"I-{number}", type="perf", title=task.title, status="abandoned", mechanism="futile")
    lessons = run.noted(memory.DEAD_ENDS, f"r{number} {task.title}: futile") if number % 10 == 0 else []
    run.emit(ev.RoundFinished(record=record), ev.IssueChanged(issue=issue), *lessons)


def held() -> tuple[int, int, int]:
    """Open files, threads and children of this process."""
    files = len(list(Path("/proc/self/fd").iterdir()))
    return files, threading.active_count(), len(psutil.Process().children(recursive=True))


@pytest.mark.slow
def test_after_500_rounds_nothing_leaked_and_the_run_opens_within_a_second(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    process = psutil.Process()
    for number in range(1, ROUNDS // 2):
        play(run, number)
    before, rss = held(), process.memory_info().rss
    for number in range(ROUNDS // 2, ROUNDS + 1):
        play(run, number)
    assert run.state.seq > ROUNDS * EVENTS_A_ROUND * 0.9
    assert held() == before
    assert process.memory_info().rss < 1.1 * rss + (8 << 20)
    run.close()
    views = {path.name: path.read_bytes() for path in run.dir.views.iterdir()}
    for path in run.dir.views.iterdir():
        path.unlink()

    begun = time.process_time()
    again = Run(RunDir(run.dir.path))
    took_s = time.process_time() - begun
    again.write_views()
    assert {path.name: path.read_bytes() for path in run.dir.views.iterdir()} == views
    assert took_s <= 1.0
    again.close()
