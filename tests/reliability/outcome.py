"""What a run came to, without what time and crashes may change; and what must hold of any run after any crash."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.reliability.synthetic import ACKNOWLEDGED, CALLS
from vibeserve_tui.client import open_state
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state.journal import read_journal
from vibeserve_tui.state.run_dir import RunDir, lock_holder
from vibeserve_tui.state.views import render


@dataclass(frozen=True)
class Outcome:
    rounds: dict[int, str]
    board: str
    memory: str
    rest: str
    refs: dict[str, str]
    calls: Counter[str]

    @property
    def digest(self) -> str:
        """Equal for two runs that came to the same, however often they were interrupted."""
        parts = [self.rounds, self.board, self.memory, self.rest, self.refs]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def outcome_of(folder: Path) -> Outcome:
    run = RunDir(folder / "run")
    state = open_state(run)
    views = render(state)
    return Outcome(
        rounds={number: _round(state, number) for number in state.rounds},
        board=views["issues.md"],
        memory=views["progress.md"],
        rest=repr((
            state.status, state.status_reason, state.champion, sorted(state.pinned), state.notes, len(state.ablations),
            len(state.confirmed), sorted(state.profiles), sorted(state.answered.items()), state.stop_wished,
        )),
        refs=dict(_trees(run.store)),
        calls=Counter((folder / CALLS).read_text().splitlines()),
    )  # fmt: skip


def _round(state: RunState, number: int) -> str:
    record = state.rounds[number]
    kept = record.model_dump(
        include={"outcome", "reason", "attempts", "tree", "fate", "decided_by", "hypothesis_outcome"}
    )
    return repr((record.task.title, record.task.parent, kept))


def _trees(store: Path) -> list[tuple[str, str]]:
    """Ref to tree: commits carry the time at which their run was started."""
    out = git(store, "for-each-ref", "--format=%(refname) %(tree)", "refs/rounds", "refs/attempts")
    return [(line.split()[0], line.split()[1]) for line in out.splitlines()]


def git(store: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "--git-dir", str(store), *arguments], capture_output=True, text=True, check=True
    ).stdout


def faults(folder: Path, before: bytes = b"") -> list[str]:
    """Everything that is wrong with a finished run; `before` is its journal as a crash left it."""
    run = RunDir(folder / "run")
    found = []
    journal = run.journal.read_bytes()
    if not journal.startswith(whole_groups(before)):
        found.append("records that were whole before the crash are gone or changed")
    last = list(read_journal(run.journal))[-1].seq
    if (acknowledged := max(acknowledgements(folder), default=0)) > last:
        found.append(f"record {acknowledged} was acknowledged, the last one is {last}")
    if leftovers := [str(path) for pattern in ("*.lock", ".*.tmp", "*.new") for path in run.path.rglob(pattern)]:
        found.append(f"left behind: {leftovers}")
    if lock_holder(run) is not None:
        found.append("the lock is held")
    if any(run.inbox.iterdir()):
        found.append("a command was not answered")
    for name, text in render(open_state(run)).items():
        if (run.views / name).read_text() != text:
            found.append(f"view {name} is not what the journal says")
    if broken := git(run.store, "fsck", "--connectivity-only", "--no-dangling").strip():
        found.append(f"git fsck: {broken}")
    return found


def acknowledgements(folder: Path) -> list[int]:
    file = folder / ACKNOWLEDGED
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def lost_acknowledgements(folder: Path) -> list[str]:
    """Of a run just killed: records that `emit` returned for and that are not in its journal."""
    run = RunDir(folder / "run")
    last = max((record.seq for record in read_journal(run.journal)), default=0) if run.journal.exists() else 0
    return [f"record {seq} is lost" for seq in acknowledgements(folder) if seq > last]


def repeated_calls(outcome: Outcome, golden: Outcome, crashes: int) -> list[str]:
    """Steps done more often than each crash excuses: only the one in flight may be repeated."""
    extra = outcome.calls - golden.calls
    found = [f"{step} was called {outcome.calls[step]} times" for step, more in extra.items() if more > crashes]
    if sum(extra.values()) > crashes:
        found.append(f"{crashes} crashes cost {dict(extra)}")
    return found


def whole_groups(journal: bytes) -> bytes:
    """The journal up to the end of the last group whose lines are all there."""
    good = end = 0
    for line in journal.splitlines(keepends=True):
        end += len(line)
        if line.endswith(b"\n") and b'"more":0' in line:
            good = end
    return journal[:good]
