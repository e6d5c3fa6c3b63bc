"""How often the gate is wrong, on recorded servers that do not differ.

data/aa.json: 336 records of two identical single-thread numpy decode loops on a 2-core VM under foreign load 5–9.
`s` restart 0…13, `k` pair 0…23 in it, `first` which side ran first, `A` and `B` = [wall seconds, CPU seconds] of one
window of about 0.13 CPU-seconds. Pairs inside one restart depend on each other, so whole blocks of contiguous pairs
are drawn from random restarts; the labels are exchangeable, and flipping them per block makes the null exact.
"""

import json
import math
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from tests.thoroughly import thoroughly
from vibeserve_tui.evaluation.blocks import Block
from vibeserve_tui.evaluation.gate import decide
from vibeserve_tui.evaluation.gate_config import GateConfig, Noise, Spread, Terms


class Series(Enum):
    """Which recorded series the gate is shown as wall time; the last one has CPU time as its proxy."""

    WALL = "wall"
    CPU = "cpu"
    WALL_OR_CPU = "wall or cpu"


CONFIGS = {"quick": GateConfig.quick(), "thorough": GateConfig.thorough()}
ALLOWED = {"quick": 0.010, "thorough": 0.005}
each_profile = pytest.mark.parametrize("name", list(CONFIGS))
AA_BLOCKS = 4
RESTARTS, PAIRS = 14, 24
FULL_WINDOW = 4
"""Recorded windows summed into one of 0.5 CPU-seconds, the least that the gate uses."""

RECORDS = json.loads((Path(__file__).parent / "data" / "aa.json").read_text())
SECONDS = np.array([[record["A"], record["B"]] for record in RECORDS]).reshape(RESTARTS, PAIRS, 2, 2)
"""[restart, pair, side, wall or CPU]"""


def recorded_blocks(merge: int, pairs: int) -> np.ndarray:
    """All block values that the recording holds: [restart, first window, wall or CPU]."""
    span = merge * pairs
    blocks = []
    for start in range(PAIRS - span + 1):
        sums = SECONDS[:, start : start + span].reshape(RESTARTS, pairs, merge, 2, 2).sum(axis=2)
        blocks.append(np.median(np.log(sums[:, :, 0] / sums[:, :, 1]), axis=1))
    return np.array(blocks).transpose(1, 0, 2)


@dataclass(frozen=True)
class Draws:
    """Runs of an A/A evaluation and of a comparison: [run, block, wall or CPU]."""

    identical: np.ndarray
    compared: np.ndarray

    @classmethod
    def recorded(cls, config: GateConfig, effect: float, runs: int, *, merge: int = FULL_WINDOW, worse: float = 1.0):
        random = np.random.default_rng(20_11)
        pool = recorded_blocks(merge, config.pairs) * worse
        shape = (runs, AA_BLOCKS + config.looks[-1].blocks)
        drawn = pool[random.integers(0, RESTARTS, shape), random.integers(0, pool.shape[1], shape)]
        drawn = drawn * random.choice([-1.0, 1.0], shape)[..., None]
        return cls(drawn[:, :AA_BLOCKS], drawn[:, AA_BLOCKS:] - math.log(1 - effect))


def outcomes(config: GateConfig, draws: Draws, series: Series) -> Counter[str]:
    """Share of runs by outcome, and the mean number of blocks."""
    main = 1 if series is Series.CPU else 0
    count: Counter[str] = Counter()
    for identical, compared in zip(draws.identical.tolist(), draws.compared.tolist(), strict=True):
        noise = Noise(
            wall=Spread.of([block[main] for block in identical]), cpu=Spread.of([block[1] for block in identical])
        )
        blocks = [Block(d=block[main], d_cpu=block[1]) for block in compared]
        decision = decide(blocks, config, Terms(noise=noise, cpu_proxy=series is Series.WALL_OR_CPU))
        assert decision.outcome is not None
        count[decision.outcome] += 1
        count["blocks"] += decision.used
    return Counter({name: n / len(draws.compared) for name, n in count.items()})


def accepted(name: str, effect: float, series: Series, runs: int = 1000, merge: int = FULL_WINDOW) -> float:
    config = CONFIGS[name]
    return outcomes(config, Draws.recorded(config, effect, runs, merge=merge), series)["accepted"]


@each_profile
@pytest.mark.parametrize("series", list(Series))
def test_identical_servers_are_rarely_accepted(name: str, series: Series) -> None:
    runs = 2000
    two_sampling_errors = 2 * math.sqrt(ALLOWED[name] / runs)
    assert accepted(name, 0.0, series, runs=runs) <= ALLOWED[name] + two_sampling_errors


@each_profile
def test_true_gains_of_3_and_5_percent_are_found_on_cpu_time(name: str) -> None:
    assert accepted(name, 0.03, Series.CPU) >= 0.90
    assert accepted(name, 0.05, Series.CPU) >= 0.99


@each_profile
def test_a_true_gain_of_30_percent_is_found_on_the_wall_time_of_an_overloaded_machine(name: str) -> None:
    assert accepted(name, 0.30, Series.WALL) >= 0.95


def test_a_loss_of_10_percent_is_rejected_and_on_an_overloaded_machine_hardly_ever_left_open() -> None:
    config = CONFIGS["quick"]
    draws = Draws.recorded(config, -0.10, 1000)
    assert outcomes(config, draws, Series.CPU)["rejected"] == 1
    on_wall = outcomes(config, draws, Series.WALL)
    assert on_wall["rejected"] >= 0.85
    assert on_wall["accepted"] == 0


@each_profile
def test_raw_wall_time_of_46_percent_variation_leaves_small_gains_undecided(name: str) -> None:
    config = CONFIGS[name]
    share = outcomes(config, Draws.recorded(config, 0.02, 1000, merge=1), Series.WALL)
    assert share["accepted"] <= 0.02
    assert share["indecisive"] >= 0.40


def test_a_gain_of_2x_ends_within_three_blocks_even_on_an_overloaded_machine() -> None:
    config = CONFIGS["quick"]
    for merge, effect in ((FULL_WINDOW, 0.50), (FULL_WINDOW, 0.60), (1, 0.75)):
        share = outcomes(config, Draws.recorded(config, effect, 1000, merge=merge), Series.WALL)
        assert share["accepted"] == 1
        assert share["blocks"] <= 3.0


@each_profile
def test_dependence_inside_restarts_made_twice_as_bad_does_not_fool_the_gate(name: str) -> None:
    config = CONFIGS[name]
    draws = Draws.recorded(config, 0.0, 1000, worse=2.0)
    assert outcomes(config, draws, Series.WALL)["accepted"] <= 0.02
    assert outcomes(config, draws, Series.CPU)["accepted"] <= 0.02


@pytest.mark.parametrize(
    ("before", "during"), [(0.12, 0.12), (0.01, 0.12), (0.50, 0.50)], ids=["busy", "busy since the A/A", "wild"]
)
@pytest.mark.parametrize("law", ["normal", "student_2"])
def test_leaps_add_next_to_nothing_to_the_false_accepts(before: float, during: float, law: str) -> None:
    random = np.random.default_rng(7)
    runs = 1500

    def noise(blocks: int, sd: float) -> np.ndarray:
        size = (runs, blocks, 1)
        drawn = random.standard_normal(size) if law == "normal" else random.standard_t(2, size)
        return np.repeat(sd * drawn, 2, axis=2)

    draws = Draws(noise(AA_BLOCKS, before), noise(8, during))
    leaping = CONFIGS["quick"]
    walking = leaping.model_copy(update={"leaps": ()})
    with_leaps = outcomes(leaping, draws, Series.WALL)["accepted"]
    assert with_leaps <= ALLOWED["quick"] + 2 * math.sqrt(ALLOWED["quick"] / runs)
    assert with_leaps - outcomes(walking, draws, Series.WALL)["accepted"] <= 0.003


@pytest.mark.slow
@each_profile
@pytest.mark.parametrize("merge", [1, thoroughly(FULL_WINDOW)])
def test_identical_servers_are_rarely_accepted_in_many_runs(name: str, merge: int) -> None:
    for series in Series:
        assert accepted(name, 0.0, series, runs=30_000, merge=merge) <= ALLOWED[name]


@each_profile
def test_ending_what_has_become_hopeless_saves_starts_and_costs_no_gain(name: str) -> None:
    ending = CONFIGS[name]
    patient = ending.model_copy(update={"hopeless": None})

    def both(effect: float, series: Series) -> tuple[Counter[str], Counter[str]]:
        draws = Draws.recorded(ending, effect, 400)
        return outcomes(ending, draws, series), outcomes(patient, draws, series)

    early, late = both(0.0, Series.WALL)
    assert early["blocks"] < 0.8 * late["blocks"]
    for effect, series in ((0.03, Series.CPU), (0.10, Series.WALL), (0.05, Series.WALL_OR_CPU)):
        early, late = both(effect, series)
        assert early["accepted"] >= late["accepted"] - 0.01
