"""A power cut at any moment, with any part of what was not synced gone: nothing acknowledged is lost, nothing is stuck."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.reliability.outcome import git, outcome_of
from tests.reliability.power import Disk, write_out
from tests.reliability.synthetic import prepare, work_on
from tests.reliability.yard import Yard
from vibeserve_tui import engine
from vibeserve_tui import events as ev
from vibeserve_tui.errors import VibeServeError
from vibeserve_tui.state import place
from vibeserve_tui.state.journal import read_journal
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.state.views import render

STATES = int(os.environ.get("VIBESERVE_TEST_POWER_CUTS", "2100"))
FINISHED = 30
"""Of those, how many runs are played to their end."""
COMMANDS = ("steer", "issue", "pin")


@dataclass(frozen=True)
class Recording:
    disk: Disk
    folder: Path
    records: list[ev.Record]
    journal: bytes
    objects: dict[str, list[str]]
    """Commit to the files of the store that hold it, its tree and all below."""

    def states(self, limit: int) -> list[tuple[dict[str, bytes], int]]:
        """Different states, evenly from the whole run, each with the number of records that had been acknowledged."""
        found: dict[frozenset[tuple[str, bytes]], tuple[dict[str, bytes], int]] = {}
        for moment in self.disk.moments:
            for files in moment.states():
                found.setdefault(frozenset(files.items()), (files, moment.acknowledged))
        every = list(found.values())
        step = max(1.0, len(every) / limit)
        return [every[int(i * step)] for i in range(min(limit, len(every)))]


@pytest.fixture
def ground() -> Iterator[Path]:
    memory = Path("/dev/shm")  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="vibeserve-power-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def record(ground: Path, monkeypatch: pytest.MonkeyPatch):
    """Plays a whole run in this process, on a disk that forgets."""
    for name in ("open_workshop", "variants", "Desk", "Launcher"):
        monkeypatch.setattr(engine, name, getattr(engine, name))
    monkeypatch.setattr(place, "RESERVE", place.RESERVE)
    monkeypatch.setattr(Run, "emit", Run.emit)

    def play(forgets: frozenset[str] = frozenset()) -> Recording:
        folder = ground / "original"
        folder.mkdir()
        disk = Disk(folder / "run", forgets=forgets)
        disk.install(monkeypatch.setattr)
        prepare(folder)
        disk.moments.clear()
        emit = Run.emit

        def acknowledged(run: Run, *events: ev.Event) -> None:
            emit(run, *events)
            disk.acknowledge(run.state.seq)

        monkeypatch.setattr(Run, "emit", acknowledged)
        assert work_on(folder) == 0
        monkeypatch.undo()
        run = RunDir(folder / "run")
        records = list(read_journal(run.journal))
        commits = {event.commit for event in map(_event, records) if isinstance(event, ev.AttemptCommitted)}
        objects = {commit: _object_files(run.store, commit) for commit in commits}
        return Recording(disk, folder, records, run.journal.read_bytes(), objects)

    return play


def _event(record: ev.Record) -> ev.Event:
    return record.event


def _object_files(store: Path, commit: str) -> list[str]:
    names = [line.split()[0] for line in git(store, "rev-list", "--objects", commit).splitlines()]
    return [f"store.git/objects/{name[:2]}/{name[2:]}" for name in names]


def faults(recording: Recording, files: dict[str, bytes], acknowledged: int, folder: Path) -> list[str]:
    """Open the run as the next engine would, and look for what is missing."""
    write_out(files, folder / "run")
    directory = RunDir(folder / "run")
    try:
        run = Run(directory)
    except (VibeServeError, OSError) as error:
        return [f"cannot be opened: {error}"]
    found = []
    if run.state.seq < acknowledged:
        found.append(f"{acknowledged} records were acknowledged, {run.state.seq} are left")
    kept = [record.event for record in recording.records[: run.state.seq]]
    if not recording.journal.startswith(directory.journal.read_bytes()):
        found.append("the records are not those that were written")
    for event in kept:
        if isinstance(event, ev.AttemptCommitted):
            missing = [
                name for name in recording.objects[event.commit] if files.get(name) != _original(recording, name)
            ]
            found += [f"of the commit of {event.ref}, {name} is gone" for name in missing]
            if f"store.git/{event.ref}" not in files and f"store.git/refs/{event.ref}" not in files:
                found.append(f"{event.ref} is recorded and not there")
        if isinstance(event, ev.MeasurementFinished) and event.measured.evidence:
            digest_ = event.measured.evidence
            if f"blobs/{digest_[:2]}/{digest_}" not in files:
                found.append(f"the evidence of round {event.round} is gone")
    for command in COMMANDS:
        if command not in run.state.answered and f"inbox/{command}.json" not in files:
            found.append(f"the command {command} is lost")
    run.write_views()
    for name, text in render(run.state).items():
        if (directory.views / name).read_text() != text:
            found.append(f"view {name} is stale")
    run.close()
    return found


def _original(recording: Recording, name: str) -> bytes:
    return (recording.folder / "run" / name).read_bytes()


@pytest.mark.slow
def test_no_acknowledged_record_is_lost_in_a_power_cut(record, ground: Path, record_property) -> None:
    recording = record()
    states = recording.states(STATES)
    record_property("trials", f"{len(states)} states")
    assert len(states) >= min(STATES, 2000)
    found = []
    for number, (files, acknowledged) in enumerate(states):
        folder = ground / f"state-{number}"
        found += [f"{number}: {fault}" for fault in faults(recording, files, acknowledged, folder)]
        shutil.rmtree(folder)
    assert found == []


@pytest.mark.slow
def test_after_a_power_cut_the_run_comes_to_the_same_end(record, ground: Path) -> None:
    recording = record()
    golden = outcome_of(recording.folder)
    with Yard() as yard:
        for number, (files, _) in enumerate(recording.states(FINISHED)):
            folder = ground / f"state-{number}"
            shutil.copytree(recording.folder / "seed", folder / "seed")
            write_out(files, folder / "run")
            assert yard.run(folder) == 0
            assert outcome_of(folder).digest == golden.digest, number


@pytest.mark.parametrize("forgotten", ["sync", "sync_directory"])
def test_a_disk_whose_syncs_do_nothing_is_found_out(record, ground: Path, forgotten: str) -> None:
    recording = record(frozenset({forgotten}))
    found = [
        fault
        for number, moment in enumerate(recording.disk.moments[::20])
        for fault in faults(recording, moment.worst(), moment.acknowledged, ground / f"state-{number}")
    ]
    assert found != []
