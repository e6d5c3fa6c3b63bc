"""SIGKILL at every single write, during recovery, and at random: each time the run comes to the same end."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.reliability.outcome import (
    Outcome,
    faults,
    lost_acknowledgements,
    outcome_of,
    repeated_calls,
    whole_groups,
)
from tests.reliability.synthetic import prepare
from tests.reliability.yard import Yard, kill_group

pytestmark = pytest.mark.slow

KILLED = -9
WORKERS = 2
POINTS = int(os.environ.get("VIBESERVE_TEST_FAILPOINTS", "110"))
"""How many failpoints are tried, evenly spread; 0 = every one."""
RECOVERIES = int(os.environ.get("VIBESERVE_TEST_RECOVERIES", "20"))
RANDOM_KILLS = int(os.environ.get("VIBESERVE_TEST_KILLS", "20"))
ROUND = 3 * WORKERS
"""Runs that are killed at random before the kills are counted; a run has up to eight."""


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    """In memory where there is such a place: a killed process loses nothing that it wrote, synced or not."""
    memory = Path("/dev/shm")  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="vibeserve-crashes-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def golden(ground: Path) -> tuple[Outcome, list[str]]:
    """What an undisturbed run comes to, and the failpoints that it passes."""
    folder, log = ground / "golden", ground / "visits"
    folder.mkdir()
    prepare(folder)
    with Yard() as yard:
        assert yard.run(folder, f"count:{log}") == 0
    assert faults(folder) == []
    return outcome_of(folder), log.read_text().splitlines()


def in_two_yards(trial: Callable[[Yard, int], list[str]], numbers: list[int]) -> list[str]:
    """All trials, shared out; the faults of all of them."""

    def share(first: int) -> list[str]:
        with Yard() as yard:
            return [f"{number}: {fault}" for number in numbers[first::WORKERS] for fault in trial(yard, number)]

    with ThreadPoolExecutor(WORKERS) as pool:
        return [fault for found in pool.map(share, range(WORKERS)) for fault in found]


def after_the_end(folder: Path, golden: Outcome, code: int, before: bytes, crashes: int) -> list[str]:
    if code != 0:
        return [f"the resumed engine ended with {code}"]
    outcome = outcome_of(folder)
    found = faults(folder, before) + repeated_calls(outcome, golden, crashes)
    return found if outcome.digest == golden.digest else [*found, f"it came to something else: {outcome}"]


def journal_of(folder: Path) -> bytes:
    path = folder / "run" / "journal.jsonl"
    return path.read_bytes() if path.exists() else b""


def test_the_run_that_is_killed_has_everything_in_it(golden: tuple[Outcome, list[str]]) -> None:
    outcome, visits = golden
    assert len(visits) >= 100
    assert sorted(outcome.rounds) == [0, 1, 2, 3, 4]
    kinds = {name.partition(".")[0] for name in visits}
    assert {"journal", "atomic", "rename", "unlink", "mkdir", "syncdir", "ref", "tree"} <= kinds


def test_a_kill_at_any_failpoint_loses_nothing(
    ground: Path, golden: tuple[Outcome, list[str]], record_property
) -> None:
    expected, visits = golden
    points = range(1, len(visits) + 1)
    chosen = list(points) if not POINTS else [points[i * len(points) // POINTS] for i in range(POINTS)]
    record_property("trials", f"{len(chosen)} of {len(points)} failpoints")

    def trial(yard: Yard, point: int) -> list[str]:
        folder = ground / f"point-{point}"
        folder.mkdir()
        prepare(folder)
        if (code := yard.run(folder, f"kill:{point}")) != KILLED:
            return [f"{visits[point - 1]} was not reached ({code})"]
        before, lost = journal_of(folder), lost_acknowledgements(folder)
        found = lost + after_the_end(folder, expected, yard.run(folder), before, crashes=1)
        shutil.rmtree(folder)
        return [f"{visits[point - 1]}: {fault}" for fault in found]

    assert in_two_yards(trial, chosen) == []


def test_crashes_during_recovery_lose_nothing(ground: Path, golden: tuple[Outcome, list[str]], record_property) -> None:
    expected, visits = golden
    record_property("trials", f"{RECOVERIES} sequences of up to 3")

    def trial(yard: Yard, number: int) -> list[str]:
        dice = random.Random(number)
        folder = ground / f"recovery-{number}"
        folder.mkdir()
        prepare(folder)
        crashes, lost, before = 0, [], b""
        for deepest in (len(visits), 60, 60):
            crashes += yard.run(folder, f"kill:{dice.randint(1, deepest)}") == KILLED
            lost += lost_acknowledgements(folder)
            before = journal_of(folder)
        found = lost + after_the_end(folder, expected, yard.run(folder), before, crashes)
        shutil.rmtree(folder)
        return found

    assert in_two_yards(trial, list(range(RECOVERIES))) == []


def test_random_kills_of_the_whole_group_lose_nothing(
    ground: Path, golden: tuple[Outcome, list[str]], record_property
) -> None:
    expected, _ = golden
    took = [_seconds_of_a_run(ground)]  # and less, once a whole run was found to take less

    def trial(yard: Yard, number: int) -> list[str]:
        """One run, killed again and again until it has had its share or comes to its end."""
        dice = random.Random(number)
        folder = ground / f"random-{number}"
        folder.mkdir()
        prepare(folder)
        crashes, found, before = 0, [], b""
        for _ in range(8):
            group = yard.start(folder)
            slept = dice.uniform(0.0, min(took))
            time.sleep(slept)
            kill_group(group)
            ended = yard.wait()
            if ended != KILLED and not crashes:
                took.append(slept)
            crashes += ended == KILLED
            found += lost_acknowledgements(folder)
            if not journal_of(folder).startswith(before):
                found.append("a committed record changed")
            before = whole_groups(journal_of(folder))
            if ended != KILLED:
                break
        found += after_the_end(folder, expected, yard.run(folder), b"", crashes)
        shutil.rmtree(folder)
        kills.append(crashes)
        return found

    kills: list[int] = []
    found: list[str] = []
    first = 0
    while sum(kills) < RANDOM_KILLS and not found:
        found += in_two_yards(trial, list(range(first, first + ROUND)))
        first += ROUND
    record_property("trials", f"{sum(kills)} kills in {len(kills)} runs")
    assert found == []


def _seconds_of_a_run(ground: Path) -> float:
    folder = ground / "timed"
    folder.mkdir()
    prepare(folder)
    with Yard() as yard:
        begun = time.monotonic()
        assert yard.run(folder) == 0
        return time.monotonic() - begun
