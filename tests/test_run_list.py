"""The list of runs, read again and again while runs go on, end and are deleted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tui import journals
from vibeserve_tui import events as ev
from vibeserve_tui.client import AttachedClient, Liveness, RunList
from vibeserve_tui.state.journal import Journal


@pytest.fixture
def root(tmp_path: Path) -> Path:
    journals.write_run(journals.finished(), tmp_path / "over")
    journals.write_run(journals.engine_lost(), tmp_path / "lost")
    return tmp_path


def test_a_run_that_is_over_is_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = RunList(root)
    first = runs.read()
    looked: list[str] = []
    poll = AttachedClient.poll

    def counted(self: AttachedClient) -> int:
        looked.append(self._run.name)
        return poll(self)

    monkeypatch.setattr(AttachedClient, "poll", counted)
    assert runs.read() == first
    assert {run.run: run.liveness for run in first} == {"over": Liveness.FINISHED, "lost": Liveness.CRASHED}
    assert set(looked) == {"lost"}


def test_what_a_run_writes_meanwhile_shows_the_next_time(root: Path) -> None:
    runs = RunList(root)
    assert {run.run: run.status_reason for run in runs.read()}["lost"] == ""
    journal = Journal(root / "lost" / "journal.jsonl")
    journal.append(ev.RunFailed(reason="it could not be mended"))
    journal.close()
    known = {run.run: run for run in runs.read()}["lost"]
    assert (known.liveness, known.status_reason) == (Liveness.FAILED, "it could not be mended")


def test_a_deleted_run_is_gone_and_one_of_the_same_name_is_read_anew(root: Path) -> None:
    runs = RunList(root)
    runs.read()
    shutil.rmtree(root / "over")
    assert [run.run for run in runs.read()] == ["lost"]
    journals.write_run(journals.failed(), root / "over")
    assert {run.run: run.liveness for run in runs.read()}["over"] is Liveness.FAILED


def test_a_damaged_run_stays_in_the_list_with_its_fault(root: Path) -> None:
    path = root / "over" / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b"run_started", b"run_staaaad", 1))
    runs = RunList(root)
    for _ in range(2):
        known = {run.run: run for run in runs.read()}["over"]
        assert known.liveness is Liveness.FAILED
        assert "line 1" in known.fault


def test_beside_a_confirmed_ratio_stand_the_figures_that_it_was_made_of(root: Path) -> None:
    over = {run.run: run for run in RunList(root).read()}["over"]
    assert over.baseline is not None and over.champion is not None
    assert (round(over.baseline, 1), round(over.champion, 1)) == (68.3, 391.2)
    assert over.gain == pytest.approx(over.champion / over.baseline, rel=0.01)
