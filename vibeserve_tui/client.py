"""How anything looks at a run and speaks to it: the app, the headless printer and every verb.

A client reads the journal and folds it; it writes nothing but inbox files, so any number of them may come, go and
crash without touching the run. `poll` never blocks: callers decide how often they look.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from vibeserve_tui import events as ev
from vibeserve_tui.commands import Command
from vibeserve_tui.errors import RunError, VibeServeError
from vibeserve_tui.run_state import RunState, Status
from vibeserve_tui.state.journal import Tail, read_journal
from vibeserve_tui.state.run_dir import RunDir, lock_holder
from vibeserve_tui.state.workspace import Store

SILENCE_S = 15.0
"""No record for this long, though the engine holds its lock, means that it does not respond (it beats every 5 s)."""

Listener = Callable[[ev.Record], None]


class Liveness(StrEnum):
    RUNNING = "running"
    NOT_RESPONDING = "not_responding"
    PAUSED = "paused"
    CRASHED = "crashed"
    FINISHED = "finished"
    FAILED = "failed"
    REPLAY = "replay"


class RunClient(Protocol):
    """A run as its clients see it."""

    run_dir: Path | None
    state: RunState

    def poll(self) -> int:
        """Fold in what is new; returns how many records that was."""

    def send(self, command: Command) -> str:
        """Hand a command to the engine; returns its id, answered later in `state.answered`."""

    def liveness(self) -> Liveness: ...

    def diff(self, older: int, newer: int) -> str:
        """What round `newer` changed against round `older`, as `git diff` text."""

    def read_file(self, number: int, path: str) -> str: ...

    def close(self) -> None: ...


class _Folder:
    """The part all clients share: a run directory's history, read through its own store."""

    def __init__(self, run: RunDir) -> None:
        self.run_dir: Path | None = run.path
        self.state = RunState()
        self._run = run

    def commit_of(self, number: int) -> str:
        """The commit of a round; of the round in flight, its last attempt."""
        record = self.state.rounds.get(number)
        if record and record.commit:
            return record.commit
        attempts = [attempt.commit for attempt in self.state.attempts if attempt.round == number]
        if not attempts:
            raise RunError(f"round {number} has no commit", where=self._run.name)
        return attempts[-1]

    def diff(self, older: int, newer: int) -> str:
        return Store(self._run.store).diff(self.commit_of(older), self.commit_of(newer))

    def read_file(self, number: int, path: str) -> str:
        return Store(self._run.store).read_file(self.commit_of(number), path)


class AttachedClient(_Folder):
    """Follows a run that an engine is (or was) working on."""

    def __init__(self, run: RunDir, listener: Listener | None = None) -> None:
        super().__init__(run)
        if not run.journal.exists():
            raise RunError("there is no journal here", where=str(run.path), fix="vibeserve ls shows the runs")
        self._tail = Tail(run.journal)
        self._listener = listener

    def poll(self) -> int:
        records = self._tail.read()
        for record in records:
            self.state.apply(record)
            if self._listener:
                self._listener(record)
        return len(records)

    def send(self, command: Command) -> str:
        return self._run.post(command)

    def liveness(self) -> Liveness:
        return _liveness(self._run, self.state)

    def close(self) -> None:
        self._tail.close()


class ReplayClient(_Folder):
    """Plays a recorded run at a multiple of its own speed; commands are refused."""

    def __init__(self, run: RunDir, speed: float = 20.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(run)
        self._records = list(read_journal(run.journal))
        if not self._records:
            raise RunError("the journal is empty", where=str(run.journal))
        self.speed = speed
        self.paused = False
        self._clock = clock
        self._last = clock()
        self._at = self._records[0].ts_wall
        self._next = 0
        self.listener: Listener | None = None

    @property
    def now(self) -> float:
        """Wall-clock time inside the recording."""
        return self._at

    @property
    def fraction(self) -> float:
        first, last = self._records[0].ts_wall, self._records[-1].ts_wall
        return 1.0 if last <= first else min(1.0, (self._at - first) / (last - first))

    def poll(self) -> int:
        now = self._clock()
        if not self.paused:
            self._at = min(self._at + (now - self._last) * self.speed, self._records[-1].ts_wall)
        self._last = now
        return self._fold_until(self._at)

    def _fold_until(self, moment: float) -> int:
        start = self._next
        while self._next < len(self._records) and self._records[self._next].ts_wall <= moment:
            self.state.apply(self._records[self._next])
            if self.listener:
                self.listener(self._records[self._next])
            self._next += 1
        return self._next - start

    def seek(self, fraction: float) -> None:
        """Jump to a place in the recording, 0 = start, 1 = end."""
        first, last = self._records[0].ts_wall, self._records[-1].ts_wall
        target = first + (last - first) * min(1.0, max(0.0, fraction))
        if target < self._at:
            self.state = RunState()
            self._next = 0
        self._at = target
        self._fold_until(target if fraction < 1 else last)

    def send(self, command: Command) -> str:
        raise RunError(f"{command.kind}: a replay takes no commands", fix="attach to a live run")

    def liveness(self) -> Liveness:
        return Liveness.REPLAY

    def close(self) -> None:
        self._records = []


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of `vibeserve ls` and of the start screen."""

    run: str
    path: Path
    target: str
    liveness: Liveness
    status_reason: str
    rounds: int
    max_rounds: int
    metric: str
    unit: str
    baseline: float | None
    champion: float | None
    gain: float | None
    """Champion over baseline, > 1 = better: confirmed, or the product of the rounds' own paired ratios."""
    started_wall: float
    active_s: float
    waiting: bool
    fault: str = ""


def list_runs(root: Path) -> list[RunSummary]:
    """All runs below `root`, newest first; one that cannot be read is listed with its fault."""
    return RunList(root).read()


class RunList:
    """All runs below a folder, looked at again and again: what was read once is not read a second time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._over: dict[Path, tuple[int, RunSummary]] = {}
        """Runs to which nothing is added any more, with the length of their journal."""
        self._going_on: dict[Path, AttachedClient] = {}

    def read(self) -> list[RunSummary]:
        """Newest first; a run that cannot be read is listed with its fault."""
        with self._lock:
            sizes = self._sizes()
            self._over = {path: known for path, known in self._over.items() if known[0] == sizes.get(path)}
            for path in self._going_on.keys() - sizes.keys():
                self._going_on.pop(path).close()
            found = [self._look(path, size) for path, size in sizes.items()]
        return sorted(found, key=lambda summary: -summary.started_wall)

    def _sizes(self) -> dict[Path, int]:
        sizes = {}
        for journal in self._root.glob("*/journal.jsonl"):
            with suppress(FileNotFoundError):  # somebody may delete a run meanwhile
                sizes[journal.parent] = journal.stat().st_size
        return sizes

    def _look(self, path: Path, size: int) -> RunSummary:
        if path in self._over:
            return self._over[path][1]
        run = RunDir(path)
        try:
            client = self._going_on.get(path) or AttachedClient(run)
            self._going_on[path] = client
            while client.poll():
                pass
            summary = _summary(run, client.state, _liveness(run, client.state))
        except (VibeServeError, OSError) as error:
            summary = _summary(run, RunState(), Liveness.FAILED, str(error))
        if summary.liveness in (Liveness.FINISHED, Liveness.FAILED):
            self._over[path] = size, summary
            if (read := self._going_on.pop(path, None)) is not None:
                read.close()
        return summary


def open_state(run: RunDir) -> RunState:
    """The state after the last whole record."""
    state = RunState()
    for record in read_journal(run.journal):
        state.apply(record)
    return state


def liveness_of(run: RunDir) -> Liveness:
    return _liveness(run, open_state(run))


def start_engine(run: RunDir) -> subprocess.Popen[bytes]:
    """Start the engine of a run as a process of its own, which outlives this client."""
    with run.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "vibeserve_tui.engine", str(run.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")},
        )


def _liveness(run: RunDir, state: RunState) -> Liveness:
    if state.status is Status.FINISHED:
        return Liveness.FINISHED
    if state.status is Status.FAILED:
        return Liveness.FAILED
    if lock_holder(run) is None:
        return Liveness.PAUSED if state.status is Status.PAUSED else Liveness.CRASHED
    if state.ts_wall and time.time() - state.ts_wall > SILENCE_S:
        return Liveness.NOT_RESPONDING
    return Liveness.PAUSED if state.status is Status.PAUSED else Liveness.RUNNING


def _summary(run: RunDir, state: RunState, alive: Liveness, fault: str = "") -> RunSummary:
    headline, together = state.headline, state.confirmed_headline
    return RunSummary(
        run=run.name,
        path=run.path,
        target=state.plan.target if state.plan else "?",
        liveness=alive,
        status_reason=state.status_reason,
        rounds=state.rounds_played,
        max_rounds=state.max_rounds,
        metric=headline.name if headline else "",
        unit=headline.unit if headline else "",
        # Beside a ratio stand the figures that it was made of.
        baseline=together.a if together else state.level_of(0),
        champion=together.b if together else state.level_of(state.champion),
        gain=state.total_gain,
        started_wall=state.started_wall,
        active_s=state.active_s,
        waiting=state.approval is not None,
        fault=fault,
    )
