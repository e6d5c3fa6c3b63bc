from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from random import Random
from statistics import mean, stdev

import pytest

from vibeserve_tui.evaluation.sampling import (
    LEAST_EXPECTED,
    SIGNIFICANT,
    TOO_LIKELY,
    TOO_UNLIKELY,
    _bins,
    chi_square_p,
    ends_as_one,
    likelihood_z,
    rare_p,
    tempered,
    upper_tail,
)

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


def test_answers_that_end_at_once_do_not_say_by_which_of_several_tokens() -> None:
    assert ends_as_one([0.25, 0.5, 0.125, 0.125], [3, 1]) == [0.25, 0, 0.125, 0.625]
    assert ends_as_one([0.25, 0.75], []) == [0.25, 0.75]
    ends = [1, 0]
    found = [Counter(1 if token in ends else token for token in drawn(PROBABILITIES, s).elements()) for s in range(200)]
    told = ends_as_one(PROBABILITIES, ends)
    assert min(chi_square_p(counts, told) for counts in found) > SIGNIFICANT
    assert max(chi_square_p(counts, PROBABILITIES) for counts in found) < SIGNIFICANT


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


TEMPERATURE = 1.9


def answer_z(
    seed: int, spoiled: Callable[[list[float]], list[float]] = lambda honest: honest, count: int = 32
) -> float:
    """Of tokens in places that are each decided otherwise, from certain to wide open."""
    random, given, tokens = Random(seed), [], []
    for _ in range(count):
        sharpness = random.uniform(0.5, 3)
        honest = tempered([math.log(p) * sharpness for p in PROBABILITIES[:200]], TEMPERATURE)
        given.append(honest)
        tokens += random.choices(range(len(honest)), spoiled(honest))
    return likelihood_z(given, tokens)


def test_honest_answers_are_hardly_ever_suspected_however_certain_their_tokens() -> None:
    values = [answer_z(seed) for seed in range(200)]
    assert mean(values) == pytest.approx(0, abs=0.2)
    assert stdev(values) == pytest.approx(1, abs=0.15)
    assert min(values) > TOO_UNLIKELY and max(values) < TOO_LIKELY - 0.5


@pytest.mark.parametrize(
    "spoiled",
    [lambda honest: [float(p == max(honest)) for p in honest], lambda honest: [1.0] * len(honest)],
    ids=["greedy", "anything"],
)
def test_answers_that_are_not_sampled_are_always_noticed(spoiled: Callable[[list[float]], list[float]]) -> None:
    assert not any(TOO_UNLIKELY <= answer_z(seed, spoiled) <= TOO_LIKELY for seed in range(10))


def test_first_tokens_of_another_temperature_are_always_noticed() -> None:
    given = tempered([math.log(p) for p in PROBABILITIES], TEMPERATURE)
    for seed in range(20):
        tokens = Random(seed).choices(range(1000), PROBABILITIES, k=32)
        assert likelihood_z([given] * 32, tokens) > TOO_LIKELY


def test_a_temperature_sharpens_or_flattens() -> None:
    logprobs = [math.log(0.8), math.log(0.2)]
    assert tempered(logprobs, 1.0) == pytest.approx([0.8, 0.2])
    assert tempered(logprobs, 0.5) == pytest.approx([16 / 17, 1 / 17])
    assert tempered(logprobs, 2.0) == pytest.approx([2 / 3, 1 / 3])


def test_certain_tokens_and_no_tokens_are_no_evidence() -> None:
    assert likelihood_z([], []) == likelihood_z([[1.0, 0.0]], [0]) == 0.0
    assert likelihood_z([[0.5, 0.5]], [7]) < TOO_UNLIKELY


@pytest.mark.parametrize("share", [0.9, 0.95])
def test_a_tail_that_was_cut_off_is_always_missed(share: float) -> None:
    kept = next(n for n in range(1000) if sum(PROBABILITIES[: n + 1]) > share)
    for seed in range(20):
        assert rare_p([PROBABILITIES] * 260, [*drawn(PROBABILITIES[:kept], seed, 260).elements()]) < SIGNIFICANT


def test_unlikely_tokens_are_hardly_ever_missed_where_none_was_cut_off() -> None:
    values = [rare_p([PROBABILITIES] * 260, [*drawn(PROBABILITIES, seed, 260).elements()]) for seed in range(300)]
    assert min(values) > SIGNIFICANT
    assert sum(p < 0.05 for p in values) / 300 == pytest.approx(0.04, abs=0.04)
    assert rare_p([], []) == rare_p([[1.0]], [0]) == 1.0
