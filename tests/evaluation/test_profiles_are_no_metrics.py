"""A profile orders suspects. Whatever it says, no figure, no noise and no champion may come of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.recorded_run import SEED, Played, record_run
from vibeserve_tui import events as ev
from vibeserve_tui.client import open_state
from vibeserve_tui.evaluation.blocks import Window
from vibeserve_tui.metrics import MetricSpec
from vibeserve_tui.profile_report import ProfileReport
from vibeserve_tui.report import as_data
from vibeserve_tui.state.journal import Journal

FORGED = ProfileReport(
    tool="output_throughput", window_s=1.0, samples=10_000, phases={"output_throughput": 99_999.0},
    operations={"output_throughput@c16": 99_999.0}, hints=("output_throughput",),
)  # fmt: skip


def test_a_profile_is_taken_for_no_window_and_no_metric() -> None:
    with pytest.raises(ValidationError):
        Window.model_validate(FORGED.model_dump())
    with pytest.raises(ValidationError):
        MetricSpec.model_validate(FORGED.model_dump())
    with pytest.raises(ValidationError):
        ev.Measured.model_validate(FORGED.model_dump())


def test_a_profile_in_the_journal_changes_no_figure(tmp_path: Path) -> None:
    run = record_run(tmp_path / "run", [Played(SEED, ratio=2.0)])
    before = open_state(run)
    Journal(run.journal).append(
        ev.ProfileTaken(
            round=1, tool=FORGED.tool, quality="usable", phases=FORGED.phases, operations=FORGED.operations,
            hints=FORGED.hints,
        )
    )  # fmt: skip
    after = open_state(run)
    assert after.profiles.keys() == {1}
    assert after.rounds == before.rounds
    assert (after.champion, after.confirmed, after.total_gain) == (before.champion, before.confirmed, before.total_gain)
    quoted = ("confirmed", "confirmed_blocks", "confirmed_round", "confirmation_holds")
    assert [as_data(after)[key] for key in quoted] == [as_data(before)[key] for key in quoted]
