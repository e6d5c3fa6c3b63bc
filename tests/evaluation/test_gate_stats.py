"""Student bounds and quantiles against printed tables and numpy."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibeserve_tui.evaluation.block_stats import estimate, is_biased, mean, quantile, standard_error, t_quantile

# One row per number of blocks; columns: p = .95, .996, .997, .998, .999.
TABLE = {
    3: (2.920, 11.113, 12.852, 15.764, 22.327),
    4: (2.353, 6.322, 6.994, 8.053, 10.215),
    6: (2.015, 4.262, 4.570, 5.030, 5.893),
    8: (1.895, 3.667, 3.887, 4.207, 4.785),
    12: (1.796, 3.231, 3.393, 3.624, 4.025),
}
values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20)


@pytest.mark.parametrize("blocks", list(TABLE))
def test_t_quantiles_agree_with_the_tables_to_three_decimals(blocks: int) -> None:
    for p, tabulated in zip((0.95, 0.996, 0.997, 0.998, 0.999), TABLE[blocks], strict=True):
        assert t_quantile(p, blocks - 1) == pytest.approx(tabulated, abs=5e-4)


def test_one_degree_of_freedom_is_the_cauchy_distribution() -> None:
    assert t_quantile(0.975, 1) == pytest.approx(math.tan(math.pi * 0.475))
    assert t_quantile(0.5, 1) == pytest.approx(0, abs=1e-12)


def test_many_degrees_of_freedom_approach_the_normal_distribution() -> None:
    assert t_quantile(0.975, 5000) == pytest.approx(statistics.NormalDist().inv_cdf(0.975), abs=1e-3)


@pytest.mark.parametrize(("p", "df"), [(0.4, 3), (1.0, 3), (0.9, 0)])
def test_a_quantile_that_does_not_exist_is_refused(p: float, df: int) -> None:
    with pytest.raises(ValueError, match="no t quantile"):
        t_quantile(p, df)


@given(values, st.floats(0, 1))
def test_quantiles_are_numpy_s(numbers: list[float], q: float) -> None:
    assert quantile(numbers, q) == pytest.approx(float(np.quantile(numbers, q)), rel=1e-9, abs=1e-9)


@given(values)
def test_sums_do_not_depend_on_the_order(numbers: list[float]) -> None:
    assert mean(numbers) == mean(numbers[::-1])
    assert standard_error(numbers) == standard_error(numbers[::-1])


def test_an_interval_needs_two_values() -> None:
    assert estimate([]) == (None, None, None)
    assert estimate([0.3]) == (0.3, None, None)
    centre, low, high = estimate([0.1, 0.2, 0.3])
    assert centre == pytest.approx(0.2)
    assert (low, high) == (pytest.approx(0.2 - 4.3027 * 0.057735, abs=1e-4), pytest.approx(0.4484, abs=1e-4))


def test_an_order_effect_is_told_from_chance() -> None:
    assert is_biased([0.050, 0.051, 0.049, 0.052])
    assert not is_biased([0.05, -0.04, 0.03, -0.02])
    assert not is_biased([0.05])
