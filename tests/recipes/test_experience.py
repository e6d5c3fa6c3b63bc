from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from vibeserve_tui.errors import WorkspaceError
from vibeserve_tui.events import Outcome
from vibeserve_tui.recipes.experience import Circumstances, Experience, ExperienceStore, usable_trials
from vibeserve_tui.recipes.trials import Trial

HERE = Circumstances(fingerprint="f1", backend="cpu", device_class="epyc", workload_digest="w1")
TRIAL = Trial("r", "1.0", {"n": 2}, frozenset({"x.y"}), Outcome.KEPT, 1.2, 1.1, 1.3, round=3, seconds=40.0)


def record(run: str = "a", circumstances: Circumstances = HERE, **keys: object) -> Experience:
    return Experience.of(replace(TRIAL, **keys), circumstances, run=run, commit="c0ffee")  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> ExperienceStore:
    return ExperienceStore(tmp_path / "data" / "experience.jsonl")


def test_what_is_appended_is_read_back_in_order(store: ExperienceStore) -> None:
    written = [record(), record(outcome=Outcome.FAILED, ratio=None)]
    for each in written:
        store.append(each)
    assert store.read().records == tuple(written)
    assert store.path.stat().st_mode & 0o077 == 0


def test_a_record_becomes_the_trial_it_was_made_of(store: ExperienceStore) -> None:
    assert record().trial(1.0) == replace(TRIAL, seconds=None)


def test_without_a_file_there_is_no_experience(store: ExperienceStore) -> None:
    assert store.read().records == ()
    assert store.read().warnings == ()


def test_a_damaged_line_costs_that_line_and_a_warning(store: ExperienceStore) -> None:
    store.append(record("a"))
    with store.path.open("ab") as file:
        file.write(b'{"recipe": "r", "versi')  # a crash in the middle of a line
    store.append(record("b"))
    with store.path.open("ab") as file:
        file.write(b"\xff\xfe\n\n[]\n")
    found = store.read()
    assert [each.run for each in found.records] == ["a", "b"]
    assert [warning.split(":")[1] for warning in found.warnings] == ["2", "4", "5", "6"]


def test_keys_of_a_newer_version_are_ignored(store: ExperienceStore) -> None:
    store.append(record())
    line = json.loads(store.path.read_text()) | {"mood": "good"}
    store.path.write_text(json.dumps(line) + "\n")
    assert store.read().records == (record(),)


@pytest.mark.parametrize(
    ("there", "weight"),
    [
        ({}, 1.0),
        ({"fingerprint": "f2"}, 0.3),
        ({"fingerprint": "f2", "device_class": "xeon"}, 0.0),
        ({"fingerprint": "f2", "backend": "cuda"}, 0.0),
        ({"workload_digest": "w2"}, 0.3),
        ({"fingerprint": "f2", "workload_digest": "w2"}, 0.09),
    ],
)
def test_a_trial_counts_by_how_alike_the_circumstances_are(there: dict[str, str], weight: float) -> None:
    assert HERE.model_copy(update=there).weight_for(HERE) == pytest.approx(weight)


def test_useless_trials_and_the_runs_own_are_left_out() -> None:
    elsewhere = HERE.model_copy(update={"fingerprint": "f2", "backend": "cuda"})
    records = [record("a"), record("now"), record("b", elsewhere)]
    assert [trial.weight for trial in usable_trials(records, HERE, without_run="now")] == [1.0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WorkspaceError, match="--no-experience"):
        ExperienceStore(tmp_path / "experience.jsonl").append(record())


def test_a_place_that_cannot_be_a_file_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="--no-experience"):
        ExperienceStore(tmp_path).append(record())
    (warning,) = ExperienceStore(tmp_path).read().warnings
    assert "cannot be read" in warning
