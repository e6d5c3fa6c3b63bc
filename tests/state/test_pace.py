from __future__ import annotations

from pathlib import Path

from vibeserve_tui import events as ev
from vibeserve_tui.client import open_state
from vibeserve_tui.demo import unpacked
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state.journal import read_journal
from vibeserve_tui.state.pace import confirmation_s, too_late


def test_what_is_reserved_for_the_confirmation_is_about_what_it_took_in_the_recorded_run(tmp_path: Path) -> None:
    run = unpacked(tmp_path)
    state = open_state(run)
    records = list(read_journal(run.journal))
    began = next(r for r in records if isinstance(r.event, ev.PhaseStarted) and r.event.phase is ev.Phase.CONFIRM)
    ended = next(r for r in records if isinstance(r.event, ev.Confirmed))
    took_s = ended.ts_mono - began.ts_mono
    assert took_s < confirmation_s(state, ended.event.blocks, window_s=1.0) < 1.25 * took_s


def test_without_a_baseline_nothing_is_reserved_and_nothing_is_too_late() -> None:
    assert confirmation_s(RunState(), 4, 1.0) == 0.0
    assert too_late(RunState(), 1.0) == ""
