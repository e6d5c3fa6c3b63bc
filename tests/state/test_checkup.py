"""`doctor RUN`: what may be repaired is, without losing anything; the rest is named, and nothing is touched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.recorded_run import SEED, Played, record_run
from vibeserve_tui import events as ev
from vibeserve_tui.cli import main
from vibeserve_tui.client import open_state
from vibeserve_tui.doctor import examine_run
from vibeserve_tui.errors import RunError, StateDamaged
from vibeserve_tui.state.journal import Journal
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.state.workspace import Store


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return record_run(tmp_path / "a-run", [Played(SEED)])


def content(run: RunDir) -> dict[str, bytes]:
    """Every file but the lock, which says who looked last."""
    files = [path for path in run.path.rglob("*") if path.is_file() and path != run.lock]
    return {str(path.relative_to(run.path)): path.read_bytes() for path in files}


def test_a_sound_run_is_said_to_be_sound_and_left_alone(run: RunDir) -> None:
    examine_run(run)  # the first look makes the views
    before = content(run)
    lines = examine_run(run)
    assert not any("repaired" in line for line in lines)
    assert any("all sound" in line for line in lines)
    assert content(run) == before


def test_an_unfinished_last_record_is_cut_off_and_kept(run: RunDir) -> None:
    whole = run.journal.read_bytes()
    run.journal.write_bytes(whole + b'{"boot_id":"x')
    assert any("13 bytes of an unfinished record" in line for line in examine_run(run))
    assert run.journal.read_bytes() == whole
    assert b'{"boot_id":"x' in b"".join(path.read_bytes() for path in run.path.glob("journal.cut-*"))


def test_views_references_locks_and_leftovers_are_made_good(run: RunDir) -> None:
    examine_run(run)
    (run.views / "issues.md").write_text("nonsense")
    (run.views / "rounds.json").unlink()
    (run.blobs / ".half.tmp").write_text("x")
    (run.store / "refs" / "rounds" / "001").unlink()
    (run.store / "HEAD.lock").touch()
    said = "\n".join(examine_run(run))
    assert "issues.md, rounds.json: made again" in said
    assert "refs/rounds/001 leads to its commit again" in said
    assert "1 locks of a killed git" in said
    assert not (run.blobs / ".half.tmp").exists()
    state = open_state(run)
    assert Store(run.store).ref("rounds/001") == state.rounds[1].commit
    assert len(json.loads((run.views / "rounds.json").read_text())) == 2


def test_views_that_were_deleted_with_their_folder_are_made_again(run: RunDir) -> None:
    examine_run(run)
    shutil.rmtree(run.views)
    assert any("made again from the journal" in line for line in examine_run(run))
    assert (run.views / "progress.md").exists()


def test_a_hand_edit_of_the_memory_is_left_for_the_engine(run: RunDir) -> None:
    examine_run(run)
    (run.views / "progress.md").write_text("my own notes\n")
    assert any("edited by hand" in line for line in examine_run(run))
    assert (run.views / "progress.md").read_text() == "my own notes\n"


def test_a_damaged_journal_is_refused_and_its_good_records_are_saved(run: RunDir) -> None:
    lines = run.journal.read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:3], lines[3].replace(b'"v":1', b'"v":2'), *lines[4:]])
    run.journal.write_bytes(damaged)
    with pytest.raises(StateDamaged, match=r"its 3 good records are in journal\.good\.jsonl") as caught:
        examine_run(run)
    assert "journal.jsonl, line 4" in str(caught.value)
    assert run.journal.read_bytes() == damaged
    good = run.path / "journal.good.jsonl"
    assert good.read_bytes() == b"".join(lines[:3])
    Journal(good).close()


def test_missing_evidence_and_commits_are_named(run: RunDir) -> None:
    digest = run.put_blob(b"windows")
    journal = Journal(run.journal)
    measured = ev.Measured(outcome="accepted", reason="", blocks=2, evidence=digest)
    journal.append(ev.MeasurementFinished(round=1, measured=measured))
    journal.close()
    assert any("1 of them evidence" in line for line in examine_run(run))
    (run.blobs / digest[:2] / digest).write_bytes(b"other")
    with pytest.raises(StateDamaged, match="other content than its name says"):
        examine_run(run)
    (run.blobs / digest[:2] / digest).write_bytes(b"windows")
    commit = open_state(run).rounds[1].commit
    (run.store / "objects" / commit[:2] / commit[2:]).unlink()
    with pytest.raises(StateDamaged, match="the commit of refs/"):
        examine_run(run)


def test_while_an_engine_works_nothing_is_repaired(run: RunDir) -> None:
    with run.owned():
        before = content(run)
        assert any("an engine works on it" in line for line in examine_run(run))
        assert content(run) == before


def test_the_verb_ends_with_0_or_2(run: RunDir, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(run.path)]) == 0
    run.journal.write_bytes(b"{}\n" + run.journal.read_bytes())
    assert main(["doctor", str(run.path)]) == 2
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert "journal.jsonl, line 1" in err


def test_an_empty_journal_is_named(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "empty")
    run.create()
    run.journal.touch()
    with pytest.raises(RunError, match="empty"):
        examine_run(run)


IN_ITS_PLACE: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link to a device without an end": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("put", IN_ITS_PLACE.values(), ids=IN_ITS_PLACE)
def test_what_is_no_file_in_the_place_of_one_is_neither_waited_for_nor_a_traceback(
    run: RunDir, put: Callable[[Path], object], capfd: pytest.CaptureFixture[str]
) -> None:
    digest = run.put_blob(b"windows")
    (run.blobs / digest[:2] / digest).unlink()
    put(run.blobs / digest[:2] / digest)
    with pytest.raises(StateDamaged, match="no measurement rests on it"):
        examine_run(run)
    (run.journal).unlink()
    put(run.journal)
    with pytest.raises(StateDamaged, match="journal"):
        Journal(run.journal)
    for verb in ("doctor", "report"):
        assert main([verb, str(run.path)]) == 2
        assert len(capfd.readouterr().err.splitlines()) == 1
