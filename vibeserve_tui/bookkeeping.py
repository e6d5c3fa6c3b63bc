"""The outer loop's own entries: the seed's commit, round 0, a round that was given up, an ablation, and each round's ref.

A round that is played to its end writes its own record (`round.py`). Nothing here emits an event.
"""

from __future__ import annotations

import time
from pathlib import Path

from vibeserve_tui import events as ev
from vibeserve_tui.comparison import title_of
from vibeserve_tui.run_state import RoundInFlight
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.workspace import Store


def first_task(run: Run) -> ev.TaskPlan:
    """What round 0 is about: the seed, or in a comparison the first of its trees."""
    compares = run.state.plan.compares if run.state.plan else ()
    return ev.TaskPlan(title=title_of(compares[0]) if compares else "the target's seed server", kind="agent")


def commit_seed(run: Run, seed: Path) -> ev.AttemptCommitted:
    when = int(run.state.started_wall)
    message = f"round 0: {first_task(run).title}\n\nVibeServe-Round: 0"
    commit = run.store.snapshot(seed, ref="attempts/000/1", parent=None, message=message, when=when)
    return ev.AttemptCommitted(
        round=0,
        attempt=1,
        commit=commit.sha,
        tree=commit.tree,
        parent="",
        ref="refs/attempts/000/1",
        files_changed=len(run.store.files(commit.sha)),
    )


def baseline_of(run: Run, committed: ev.AttemptCommitted, measured: ev.Measured) -> ev.RoundRecord:
    here = run.state.in_flight
    assert here is not None
    return ev.RoundRecord(
        number=0,
        task=here.task,
        outcome=ev.Outcome.KEPT,
        reason="the baseline",
        commit=committed.commit,
        tree=committed.tree,
        verdict=here.verdict,
        measured=measured,
        fate="baseline",
        files_changed=committed.files_changed,
        took_s=round(run.state.ts_wall - here.started_wall, 1),
    )


def given_up(here: RoundInFlight) -> ev.RoundRecord:
    """A round that the operator ended before it was decided."""
    last = here.committed
    return ev.RoundRecord(
        number=here.number,
        task=here.task,
        outcome=ev.Outcome.REVERTED,
        reason="operator: given up before it was decided",
        attempts=here.attempt,
        commit=last.commit if last else "",
        tree=last.tree if last else "",
        took_s=round(time.time() - here.started_wall, 1),
        decided_by="operator",
    )


def ablation_of(record: ev.RoundRecord) -> ev.AblationFinished:
    """What the recipe that was left out is worth: the champion over the variant, so the ratio is turned round."""
    figure = record.measured.headline if record.measured else None
    return ev.AblationFinished(
        skill=record.task.dropped[0],
        round=record.number,
        dropped=record.outcome is ev.Outcome.KEPT,
        reason=record.reason,
        ratio=1 / figure.ratio if figure and figure.ratio else None,
        ci_low=1 / figure.ci_high if figure and figure.ci_high else None,
        ci_high=1 / figure.ci_low if figure and figure.ci_low else None,
    )


def mark_round(store: Store, record: ev.RoundRecord) -> None:
    """The round's ref and its figures as a note: written before the record that speaks of them."""
    if record.commit:
        store.set_ref(f"rounds/{record.number:03d}", record.commit)
        store.note(record.commit, record.model_dump_json(indent=1, include={"number", "outcome", "reason", "measured"}))
