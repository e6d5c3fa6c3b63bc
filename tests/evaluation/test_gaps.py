from __future__ import annotations

import pytest

from vibeserve_tui.evaluation.gaps import GapStatistics
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
        (of(0.16), "quantised"),
        (of(*[0.06] * 3), "quantised"),
        (of(*[0.235] * 5), "quantised"),
        (of(*[0.235] * 6), ""),
        (of(*[4.2] * 12), ""),
    ],
    ids=["greedy", "a tie", "bf16", "int8 weights", "one wide", "three wide", "dynamic int8", "one more", "a cheat"],
)
def test_classes_let_pass_what_they_are_for(statistics: GapStatistics, passes: str) -> None:
    kept = [name for name, limits in CLASS_LIMITS.items() if not statistics.beyond(limits)]
    assert " ".join(kept) == passes


def test_the_first_broken_limit_is_named_with_its_figures() -> None:
    assert of(0.5).beyond(EXACT) == "gap max 0.5 is above 0.002 over 1000 positions"


def test_an_answer_without_a_token_keeps_no_limit() -> None:
    assert GapStatistics.of([[]]).beyond(GapLimits()) == "no token was delivered"
