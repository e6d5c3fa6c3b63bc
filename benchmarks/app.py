"""What the app costs and how fast it answers, in a real terminal (tmux), with its spread.

    python benchmarks/app.py [--runs 5] [--only idle,storm] [--strict]

CPU is the app's own CPU time over wall time. Every figure is the median of the runs with the least and the greatest
beside it; a limit that is broken is marked, and with --strict it is the exit code.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.tui import journals
from tests.tui.test_terminal import SHOW, Terminal
from vibeserve_tui import events as ev
from vibeserve_tui.state.journal import Journal

SECONDS = 10.0
READY = "continuous batching|r500|1 Rounds"
POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that is measured, what it may be at most, and how it reads."""

    name: str
    limit: float
    unit: str
    values: tuple[float, ...]

    def __str__(self) -> str:
        middle, least, most = statistics.median(self.values), min(self.values), max(self.values)
        mark = "ok" if middle <= self.limit else "OVER"
        return f"{self.name:<58} {middle:8.2f}  [{least:.2f}, {most:.2f}] {self.unit:<4} ≤ {self.limit:<7g} {mark}"

    @property
    def holds(self) -> bool:
        return statistics.median(self.values) <= self.limit


# ---- the stage ----------------------------------------------------------------------------------------------------


@contextmanager
def shown(run: Path, width: int = 120, height: int = 40) -> Iterator[Terminal]:
    """The app over this run, in a terminal of this size."""
    script = run.parent / "show.py"
    script.write_text(SHOW, encoding="utf-8")
    terminal = Terminal([sys.executable, str(script), str(run)], run.parent, width, height)
    try:
        yield terminal
    finally:
        terminal.close()


def seconds_until(terminal: Terminal, pattern: str, limit_s: float = 20.0) -> float:
    begun = time.perf_counter()
    while not re.search(pattern, terminal.screen()):
        if time.perf_counter() - begun > limit_s:
            raise TimeoutError(f"{pattern} is not on the screen:\n{terminal.screen()}")
        time.sleep(POLL_S)
    return time.perf_counter() - begun


def cpu_percent(terminal: Terminal, seconds: float, meanwhile: Callable[[], None] | None = None) -> float:
    process = terminal.process()
    before, begun = sum(process.cpu_times()[:2]), time.perf_counter()
    while time.perf_counter() - begun < seconds:
        if meanwhile:
            meanwhile()
        time.sleep(0.02)
    return 100 * (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - begun)


def rss_mib(terminal: Terminal) -> float:
    return float(terminal.process().memory_info().rss) / 2**20


def long_run(rounds: int) -> journals.Script:
    """A run of so many rounds, each with its agents, judge, measurement and record."""
    script = journals.with_baseline(journals.started(max_rounds=rounds))
    for number in range(1, rounds + 1):
        known = journals.ROUNDS[number % len(journals.ROUNDS)]
        outcome = "kept" if number % 5 == 0 else "reverted"
        row = (
            number,
            f"r{number}: {known[1]}",
            known[2],
            known[3],
            11,
            outcome,
            399.0 + number / 10,
            1.01,
            0.02,
            "measured",
        )
        journals.finish(script, row, journals.worked_on(script, row))
    return script


def chatter(count: int) -> journals.Script:
    script = journals.with_baseline(journals.started())
    for number in range(count - len(script.events)):
        script.say(ev.AgentSaid(role="implementer", text=f"event {number}"), 0.001)
    return script


# ---- what is measured ---------------------------------------------------------------------------------------------


def first_paint(folder: Path, runs: int) -> list[Figure]:
    run = journals.write_run(journals.running(), folder / "run")
    times, busy = [], []
    for _ in range(runs):
        with shown(run) as terminal:
            times.append(seconds_until(terminal, "continuous batching"))
            busy.append(sum(terminal.process().cpu_times()[:2]))
    return [
        Figure("exec to first full screen, 9 rounds", 1.0, "s", tuple(times)),
        Figure("CPU time until then", 1.0, "s", tuple(busy)),
    ]


def idle(folder: Path, runs: int) -> list[Figure]:
    run = journals.write_run(journals.finished(), folder / "run")
    figures = []
    with shown(run) as terminal:
        seconds_until(terminal, "finished")
        time.sleep(2)
        figures = [cpu_percent(terminal, SECONDS) for _ in range(runs)]
    return [Figure("CPU while nothing happens", 1.0, "%", tuple(figures))]


def start_screen(folder: Path, runs: int) -> list[Figure]:
    """The start screen looks at all past runs every few seconds; there are twenty."""
    for number in range(20):
        journals.write_run(journals.finished(), folder / "data" / "vibeserve" / "runs" / f"run-{number:02d}")
    variables = " ".join(f"XDG_{kind}_HOME={folder / kind.lower()}" for kind in ("DATA", "STATE", "CONFIG"))
    terminal = Terminal([sys.executable, "-m", "vibeserve_tui"], folder, 120, 40, variables)
    try:
        seconds_until(terminal, "● done")
        time.sleep(5)
        return [Figure("CPU on the start screen with 20 past runs", 1.0, "%", tuple(_shares(terminal, runs)))]
    finally:
        terminal.close()


def _shares(terminal: Terminal, runs: int) -> Iterator[float]:
    for _ in range(runs):
        yield cpu_percent(terminal, SECONDS)


def live(folder: Path, runs: int) -> list[Figure]:
    """Windows arrive at the pace of a real measurement: two a second."""
    script = journals.running()
    run = journals.write_run(script, folder / "run")
    journal = Journal(run / "journal.jsonl")
    sent = [time.monotonic()]

    def window() -> None:
        if time.monotonic() - sent[0] > 0.5:
            sent[0] = time.monotonic()
            journal.append(journals.window(script, 9, "AB"[len(sent) % 2], block=2, index=0, level=400.0))

    with shown(run) as terminal:
        seconds_until(terminal, READY)
        time.sleep(2)
        shares = tuple(cpu_percent(terminal, SECONDS, window) for _ in range(runs))
    journal.close()
    return [Figure("CPU while a measurement is shown, 2 windows/s", 5.0, "%", shares)]


def storm(folder: Path, runs: int) -> list[Figure]:
    """A thousand events a second for ten seconds, with somebody at the keys."""
    shares, delays, lost, memory = [], [], [], []
    for number in range(runs):
        run = journals.write_run(journals.running(), folder / f"run-{number}")
        with shown(run) as terminal:
            seconds_until(terminal, READY)
            terminal.press("6", "G")
            time.sleep(1)
            share, waits, written = _under_load(terminal, Journal(run / "journal.jsonl"))
            shares.append(share)
            delays += waits
            try:
                seconds_until(terminal, f"event {written - 1}\\b", 5)
                lost.append(0.0)
            except TimeoutError:
                lost.append(1.0)
            memory.append(rss_mib(terminal))
    p95 = sorted(delays)[max(0, round(0.95 * len(delays)) - 1)]
    return [
        Figure("CPU at 1,000 events/s", 35.0, "%", tuple(shares)),
        Figure("key to screen at 1,000 events/s, p95 of all keys", 300.0, "ms", (p95,)),
        Figure("last of 10,000 events not on the screen", 0.0, "", tuple(lost)),
        Figure("memory after them", 120.0, "MiB", tuple(memory)),
    ]


def _under_load(terminal: Terminal, journal: Journal) -> tuple[float, list[float], int]:
    process, begun = terminal.process(), time.perf_counter()
    before, written, waits = sum(process.cpu_times()[:2]), 0, list[float]()

    def catch_up() -> None:
        nonlocal written
        due = int(1000 * (time.perf_counter() - begun)) - written
        if due > 0:
            journal.append(*(ev.AgentSaid(role="implementer", text=f"event {written + i}") for i in range(due)))
            written += due

    keys = [("5", r"\[5 Memory\]"), ("2", r"\[2 Live\]"), ("3", r"\[3 Diff\]")]
    while time.perf_counter() - begun < SECONDS:
        key, pattern = keys[len(waits) % len(keys)]
        terminal.press(key)
        pressed = time.perf_counter()
        while not re.search(pattern, terminal.screen()) and time.perf_counter() - pressed < 3:
            catch_up()
        waits.append(1000 * (time.perf_counter() - pressed))
        pause = time.perf_counter() + 0.3
        while time.perf_counter() < pause:
            catch_up()
            time.sleep(0.02)
    share = 100 * (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - begun)
    terminal.press("6", "f")
    journal.close()
    return share, waits, written


FOLD = """
import resource, sys, time
from pathlib import Path
from vibeserve_tui.client import AttachedClient
from vibeserve_tui.state.run_dir import RunDir
begun = time.process_time()
client = AttachedClient(RunDir(Path(sys.argv[1])))
while client.poll(): pass
print(time.process_time() - begun, client.state.seq)
"""


def _folded(run: Path) -> tuple[float, int]:
    """CPU time of a client that reads this run to its end, and how far that was."""
    done = subprocess.run([sys.executable, "-c", FOLD, str(run)], capture_output=True, text=True, check=True)
    taken, seq = done.stdout.split()
    return float(taken), int(seq)


def replay(folder: Path, runs: int) -> list[Figure]:
    run = journals.write_run(chatter(100_000), folder / "run")
    folds = [_folded(run) for _ in range(runs)]
    assert {seq for _, seq in folds} == {100_000}
    with shown(run) as terminal:
        seconds_until(terminal, "event 99")
        memory = [rss_mib(terminal)]
    return [
        Figure("CPU time to fold 100,000 events", 2.0, "s", tuple(taken for taken, _ in folds)),
        Figure("memory with 100,000 events", 120.0, "MiB", tuple(memory)),
    ]


def rounds(folder: Path, runs: int) -> list[Figure]:
    run = journals.write_run(long_run(500), folder / "run")
    size = (run / "journal.jsonl").stat().st_size / 2**20
    times, busy, memory = [], [], []
    for _ in range(runs):
        with shown(run) as terminal:
            times.append(seconds_until(terminal, r"r500: "))
            busy.append(sum(terminal.process().cpu_times()[:2]))
            memory.append(rss_mib(terminal))
    folds = tuple(_folded(run)[0] for _ in range(runs))
    return [
        Figure(f"CPU time to fold 500 rounds ({size:.0f} MiB)", 1.0, "s", folds),
        Figure("exec to first full screen with them", 2.0, "s", tuple(times)),
        Figure("CPU time until then", 2.0, "s", tuple(busy)),
        Figure("memory with 500 rounds", 120.0, "MiB", tuple(memory)),
    ]


DIFF = """
import time
from vibeserve_tui.tui.widgets.diff_view import Diff, DiffStyle
pairs = "".join(f"-    value_{i} = compute({i}, 'old')  # {i}\\n+    value_{i} = compute({i + 1}, 'new')\\n" for i in range(500))
begun = time.process_time()
rows = Diff(f"diff --git a/f.py b/f.py\\n@@ -1,500 +1,500 @@ def f\\n{pairs}").rows(DiffStyle(), 120)
lines = [rows[at] for at in range(60)]
print(1000 * (time.process_time() - begun))
"""


def diff(folder: Path, runs: int) -> list[Figure]:
    del folder
    command = [sys.executable, "-c", DIFF]
    times = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(runs)]
    return [Figure("CPU time to open a diff of 1,000 lines", 400.0, "ms", tuple(times))]


PARTS = {
    "start": first_paint,
    "idle": idle,
    "start-screen": start_screen,
    "live": live,
    "storm": storm,
    "replay": replay,
    "rounds": rounds,
    "diff": diff,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default=",".join(PARTS), help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args()
    broken = 0
    for name in options.only.split(","):
        with tempfile.TemporaryDirectory(prefix="vibeserve-app-") as folder:
            for figure in PARTS[name](Path(folder), options.runs):
                print(figure, flush=True)
                broken += not figure.holds
    return int(bool(broken and options.strict))


if __name__ == "__main__":
    sys.exit(main())
