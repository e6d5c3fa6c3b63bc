"""Runs as an engine would have left them: a real store, a real copy of the target, a real journal of typed events.

What the events say was measured is made up here and nowhere else; trees, commits and digests are real.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui import events as ev
from vibeserve_tui.inputs.target import load_target
from vibeserve_tui.resources import shipped_targets
from vibeserve_tui.state.journal import Journal
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.state.workspace import Store

TARGET = shipped_targets()["tiny-llama-chat"]
SEED = TARGET / "seed"
VERSIONS = {"python": "3.11.2", "numpy": "2.1.0", "torch": "2.9.1+cpu"}
METRIC = ev.MetricRef(name="output_throughput", level="c16", unit="tok/s", direction="max", headline=True)


@dataclass(frozen=True, slots=True)
class Played:
    """One round: what its tree was and what became of it."""

    tree: Path
    title: str = "a change"
    skill: str = ""
    outcome: ev.Outcome = ev.Outcome.KEPT
    ratio: float | None = 1.5
    passed: bool = True


def record_run(
    folder: Path, rounds: Sequence[Played] = (), *, confirmed: float | None = 1.4, doubt: str = ""
) -> RunDir:
    """A finished run of `tiny-llama-chat`; `confirmed` is the final ratio, None for a run that ended before."""
    run = RunDir(folder)
    run.create()
    target = load_target(TARGET).copied(run.path / "target")
    store, journal = Store(run.store), Journal(run.journal)
    plan = ev.RunPlan(
        target=target.spec.name, target_path=str(TARGET), target_digest=target.digest, title=target.spec.title,
        agents={"orchestrator": "playbook"}, metrics=(METRIC,),
    )  # fmt: skip
    device = ev.DeviceSummary(id="cpu0", name="a test's processor", backend="cpu", fingerprint="f00d", cores=2)
    journal.append(ev.RunStarted(run=run.name, plan=plan, device=device, sandbox="namespaces", versions=VERSIONS))
    champion, commits = 0, list[str]()
    for number, played in enumerate((Played(SEED, "the target's seed server", ratio=None), *rounds)):
        commit = store.snapshot(
            played.tree,
            ref=f"attempts/{number:03d}/1",
            parent=commits[champion] if commits else None,
            message=f"round {number}",
            when=1_700_000_000,
        )
        commits.append(commit.sha)
        journal.append(ev.RoundFinished(record=_record(number, played, champion, commit.sha, commit.tree)))
        if played.outcome is ev.Outcome.KEPT:
            champion = number
            journal.append(ev.ChampionMoved(round=number, commit=commit.sha))
    if confirmed is not None:
        figure = _figure(100.0, confirmed)
        journal.append(ev.Confirmed(champion=champion, baseline=0, figures=(figure,), blocks=4, doubt=doubt))
        if confirmed <= 1:
            journal.append(ev.ChampionMoved(round=0, commit=commits[0], reason="not confirmed"))
        journal.append(ev.RunFinished(reason="all rounds are played", champion=champion if confirmed > 1 else 0))
    journal.close()
    return run


def _record(number: int, played: Played, parent: int, commit: str, tree: str) -> ev.RoundRecord:
    measured = ev.Measured(outcome="accepted", reason="", blocks=2, figures=(_figure(100.0, played.ratio),))
    return ev.RoundRecord(
        number=number,
        task=ev.TaskPlan(title=played.title, skill=played.skill, parent=parent),
        outcome=played.outcome,
        reason="bound" if played.passed else "3 of 64 answers differ | from the reference",
        commit=commit,
        tree=tree,
        verdict=ev.Verdict(outcome="pass" if played.passed else "fail", commit=commit),
        measured=measured if played.passed else None,
    )


def _figure(baseline: float, ratio: float | None) -> ev.Figure:
    limits = (None, None) if ratio is None else (ratio - 0.05, ratio + 0.05)
    return ev.Figure(
        metric=METRIC.name, level=METRIC.level, unit=METRIC.unit, direction="max", a=baseline,
        b=baseline * (ratio or 1.0), ratio=ratio, ci_low=limits[0], ci_high=limits[1], headline=True,
    )  # fmt: skip
