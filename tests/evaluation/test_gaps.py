from __future__ import annotations

import pytest

from vibeserve_tui.evaluation.gaps import GapStatistics, binomial_tail
from vibeserve_tui.inputs.target_sections import CLASS_LIMITS, GapLimits

EXACT, NUMERIC, QUANTISED = (CLASS_LIMITS[name] for name in ("exact", "numeric", "quantised"))


def of(*gaps: float, positions: int = 1000) -> GapStatistics:
    """The given gaps among so many positions, all others 0."""
    return GapStatistics.of([list(gaps), [0.0] * (positions - len(gaps))])


def test_all_positions_of_all_answers_count() -> None:
    statistics = GapStatistics.of([[0.0, 0.1], [0.3], []])
    assert statistics.numbers() == pytest.approx(
        {"positions": 3, "max": 0.3, "p99": 0.3, "mean": 0.4 / 3, "share_05": 2 / 3, "share_2": 1 / 3}
    )


@pytest.mark.parametrize(
    ("statistics", "passes"),
    [
        (of(), "exact numeric quantised"),
        (of(0.0019), "exact numeric quantised"),
        (of(0.022, 0.001), "numeric quantised"),
        (of(0.14, 0.09), "numeric quantised"),
        (of(6.6), "numeric quantised"),
        (of(*[0.06] * 12), "quantised"),
        (of(*[0.235] * 8), "quantised"),
        (of(*[0.235] * 18), ""),
        (of(*[4.2] * 12, *[0.5] * 8), ""),
    ],
    ids=[
        "greedy",
        "a tie",
        "bf16",
        "int8 weights",
        "one that derailed",
        "a dozen",
        "dynamic int8",
        "far more",
        "a cheat",
    ],
)
def test_classes_let_pass_what_they_are_for(statistics: GapStatistics, passes: str) -> None:
    kept = [name for name, limits in CLASS_LIMITS.items() if not statistics.beyond(limits)]
    assert " ".join(kept) == passes


def test_a_share_is_exceeded_when_chance_does_not_explain_it() -> None:
    limits = GapLimits(share_05=0.01)
    assert not of(*[0.06] * 5, positions=125).beyond(limits)  # 4 %, and one draw in 100
    assert of(*[0.06] * 9, positions=125).beyond(limits)
    assert of(*[0.06] * 40, positions=1250).beyond(limits)  # 3.2 % of more positions prove more
    assert of(0.06, positions=125).beyond(GapLimits(share_05=0))


def test_a_mean_is_exceeded_when_chance_does_not_explain_it() -> None:
    limits = GapLimits(mean=0.001)
    assert not of(0.3, positions=125).beyond(limits)
    assert of(*[0.03] * 100, positions=1000).beyond(limits)


def test_a_percentile_is_exceeded_by_more_wide_gaps_than_one_in_a_hundred() -> None:
    limits = GapLimits(p99=0.15)
    assert not of(*[0.2] * 15, positions=1000).beyond(limits)
    assert of(*[0.2] * 30, positions=1000).beyond(limits)


def test_the_binomial_tail_is_that_of_the_textbook() -> None:
    assert binomial_tail(3, 125, 0.01) == pytest.approx(0.130684, abs=1e-6)
    assert binomial_tail(9, 10, 0.5) == pytest.approx(11 / 1024)
    assert binomial_tail(5, 1000, 0.01) == 1.0
    assert binomial_tail(1, 10, 0.0) == 0.0
    assert binomial_tail(10, 10, 1.0) == 1.0


def test_the_first_broken_limit_is_named_with_its_figures() -> None:
    assert of(0.5).beyond(EXACT) == "gap max 0.5 is above 0.002 over 1000 positions"


def test_an_answer_without_a_token_keeps_no_limit() -> None:
    assert GapStatistics.of([[]]).beyond(GapLimits()) == "no token was delivered"
