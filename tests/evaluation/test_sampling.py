from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from vibeserve_tui.evaluation.sampling import LEAST_EXPECTED, SIGNIFICANT, _bins, chi_square_p, upper_tail

ZIPF = [1 / (rank + 1) ** 1.3 for rank in range(1000)]
PROBABILITIES = [weight / sum(ZIPF) for weight in ZIPF]


def drawn(weights: list[float], seed: int, count: int = 100) -> Counter[int]:
    return Counter(Random(seed).choices(range(len(weights)), weights, k=count))


@pytest.mark.parametrize(("statistic", "df", "tail"), [(5.991, 2, 0.05), (18.307, 10, 0.05), (29.588, 10, 0.001)])
def test_the_tail_agrees_with_printed_tables(statistic: float, df: int, tail: float) -> None:
    assert upper_tail(statistic, df) == pytest.approx(tail, rel=1e-3)


@pytest.mark.parametrize("count", [10, 57, 100, 200, 1000])
def test_bins_are_odd_in_number_well_filled_and_complete(count: int) -> None:
    counts = drawn(PROBABILITIES, 1, count)
    bins = _bins(counts, PROBABILITIES, count)
    assert len(bins) % 2 == 1
    assert len(bins) == 1 or min(expected for _, expected in bins) >= LEAST_EXPECTED
    assert sum(observed for observed, _ in bins) == count
    assert sum(expected for _, expected in bins) == pytest.approx(count)


def test_honest_samples_are_hardly_ever_suspected() -> None:
    values = [chi_square_p(drawn(PROBABILITIES, seed), PROBABILITIES) for seed in range(500)]
    assert sum(p < 0.05 for p in values) / 500 == pytest.approx(0.05, abs=0.03)
    assert min(values) > SIGNIFICANT


@pytest.mark.parametrize(
    "cheat",
    [
        [p * p for p in PROBABILITIES],
        PROBABILITIES[:10] + [0.0] * 990,
        [1.0] * 1000,
        [1.0] + [0.0] * 999,
    ],
    ids=["half the temperature", "only the likeliest ten", "anything", "greedy"],
)
def test_samples_of_something_else_are_always_noticed(cheat: list[float]) -> None:
    assert max(chi_square_p(drawn(cheat, seed), PROBABILITIES) for seed in range(50)) < SIGNIFICANT


def test_a_certain_token_cannot_be_told_from_anything() -> None:
    assert chi_square_p(Counter({0: 100}), [1.0, 0.0]) == 1.0
