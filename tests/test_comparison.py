"""Two runs' champions in a run of their own: which order it gets, and what its one round is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.recorded_run import SEED, Played, record_run
from vibeserve_tui import events as ev
from vibeserve_tui.assembly import _load_target
from vibeserve_tui.bookkeeping import first_task
from vibeserve_tui.comparison import Fetcher, OneRound, fetch, title_of
from vibeserve_tui.errors import InputError, WorkspaceError
from vibeserve_tui.round import Work
from vibeserve_tui.state.journal import Journal
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.verbs.compare import comparison


def a_run(folder: Path, line: str) -> RunDir:
    tree = Path(shutil.copytree(SEED, folder.with_suffix(".tree")))
    (tree / "note.py").write_text(line)
    return record_run(folder, [Played(tree, "a change")])


@pytest.fixture
def order(tmp_path: Path) -> ev.RunPlan:
    return comparison(a_run(tmp_path / "one", "speed = 1\n"), a_run(tmp_path / "two", "speed = 2\n"))


def ordered(folder: Path, order: ev.RunPlan) -> Run:
    directory = RunDir(folder)
    directory.create()
    run = Run(directory)
    device = ev.DeviceSummary(id="cpu0", name="x", backend="cpu", fingerprint="f", cores=2)
    run.emit(ev.RunStarted(run="compare", plan=order, device=device, sandbox="none"))
    return run


def test_the_order_names_both_champions_and_asks_no_agent(order: ev.RunPlan, tmp_path: Path) -> None:
    assert [(tree.run, tree.round) for tree in order.compares] == [("one", 1), ("two", 1)]
    assert (order.max_rounds, order.approval, set(order.agents.values())) == (1, "auto", {"playbook"})
    assert order.settings["attempts"] == 1
    target = _load_target(ordered(tmp_path / "new", order), order)
    assert target.digest == order.target_digest


async def test_the_second_tree_is_the_only_round_s_change_of_the_first(order: ev.RunPlan, tmp_path: Path) -> None:
    run = ordered(tmp_path / "new", order)
    first, second = order.compares
    assert first_task(run).title == title_of(first) == "r1 of one"
    task = await OneRound(run, second).plan(rounds_left=1, seconds_left=60)
    assert isinstance(task, ev.TaskPlan) and task.title == "r1 of two"
    base = run.store.snapshot(
        fetch(first, tmp_path / "first"), ref="attempts/000/1", parent=None, message="0", when=1_700_000_000
    )
    committed = await Fetcher(run, second).implement(Work(1, 1, task, base.sha))
    assert "-speed = 1\n+speed = 2\n" in run.store.diff(base.sha, committed.commit)
    assert (committed.files_changed, committed.lines_added, committed.lines_removed) == (1, 1, 1)


async def test_a_store_that_is_gone_is_named(order: ev.RunPlan, tmp_path: Path) -> None:
    shutil.rmtree(order.compares[1].store)
    run = ordered(tmp_path / "new", order)
    with pytest.raises(WorkspaceError):
        await Fetcher(run, order.compares[1]).implement(Work(1, 1, ev.TaskPlan(title="x"), "0" * 40))


def test_runs_of_different_targets_or_without_a_champion_are_not_compared(tmp_path: Path) -> None:
    one = a_run(tmp_path / "one", "speed = 1\n")
    other, empty = RunDir(tmp_path / "other"), RunDir(tmp_path / "empty")
    for run, plan in ((other, {"target_digest": "another"}), (empty, {})):
        run.create()
        journal = Journal(run.journal)
        made = ev.RunPlan(target="x", target_path="", target_digest="").model_copy(update=plan)
        device = ev.DeviceSummary(id="cpu0", name="x", backend="cpu", fingerprint="f", cores=2)
        journal.append(ev.RunStarted(run=run.name, plan=made, device=device, sandbox="none"))
        if plan:
            journal.append(ev.ChampionMoved(round=0, commit="c" * 40))
        journal.close()
    with pytest.raises(InputError, match="not of the same target"):
        comparison(one, other)
    with pytest.raises(InputError, match="it has measured no champion"):
        comparison(one, empty)
    with pytest.raises(InputError, match="with another one"):
        comparison(one, one)
