"""Metrics keep their direction and unit."""

import math
import subprocess
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vibeserve_tui.metrics import (
    Basis,
    Direction,
    MetricSpec,
    Role,
    Stat,
    gain_in_words,
    level_in_words,
    log_ratio,
)

ROW = {"name": "output_throughput", "level": "c16", "unit": "tok/s", "direction": "max"}


def spec(**fields: object) -> MetricSpec:
    return MetricSpec.model_validate({**ROW, **fields})


@pytest.mark.parametrize(
    ("extra", "role"),
    [
        ({}, Role.INFO),
        ({"headline": True}, Role.HEADLINE),
        ({"headline": False}, Role.INFO),
        ({"direction": "min", "tolerance": 0.05, "basis": "baseline"}, Role.GUARD),
        ({"direction": "min", "max": 2048}, Role.GUARD),
    ],
)
def test_a_row_of_the_target_says_its_role(extra: Mapping[str, object], role: Role) -> None:
    assert spec(**extra).role is role


def test_a_guard_row_without_a_tolerance_gets_the_default_one() -> None:
    guard = spec().as_guard()
    assert guard.role is Role.GUARD
    assert guard.tolerated == 0.05
    assert guard.basis is Basis.CHAMPION


def test_an_absolute_limit_alone_tolerates_any_relative_change() -> None:
    assert spec(direction="min", max=2048).tolerated is None
    assert spec(direction="min", max=2048, tolerance=0.1).tolerated == 0.1


@pytest.mark.parametrize(
    "row",
    [
        {"name": "output_throughput", "unit": "tok/s"},
        {**ROW, "direction": "up"},
        {**ROW, "unit": ""},
        {**ROW, "headline": "yes"},
        {**ROW, "headline": True, "tolerance": 0.05},
        {**ROW, "max": 3},
        {**ROW, "direction": "min", "tolerance": -0.1},
        {**ROW, "target": 5},
        {**ROW, "name": "ttft ms"},
        "output_throughput",
    ],
)
def test_a_row_that_is_not_sound_is_refused(row: object) -> None:
    with pytest.raises(ValidationError):
        MetricSpec.model_validate(row)


def test_a_spec_survives_its_own_json() -> None:
    for one in (spec(headline=True), spec(direction="min", tolerance=0.1, basis="baseline"), spec(level=None)):
        assert MetricSpec.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize(
    ("name", "stat", "quantity"),
    [
        ("p90_ttft_ms", Stat.P90, "ttft_ms"),
        ("median_tpot_ms", Stat.P50, "tpot_ms"),
        ("mean_itl_ms", Stat.MEAN, "itl_ms"),
        ("peak_rss_mib", Stat.PEAK, "rss_mib"),
        ("output_throughput", Stat.TOTAL, "output_throughput"),
    ],
)
def test_a_name_says_how_its_requests_are_summed_up(name: str, stat: Stat, quantity: str) -> None:
    one = spec(name=name)
    assert (one.stat, one.quantity) == (stat, quantity)


def test_the_key_tells_levels_apart() -> None:
    assert spec().key == "output_throughput@c16"
    assert spec(level=None).key == "output_throughput"


def test_a_gain_is_said_with_its_interval_or_without_one_that_is_not_known() -> None:
    assert gain_in_words(1.423, 1.394, 1.45) == "×1.42 [1.39, 1.45]"
    assert gain_in_words(1.423, 1.394, None) == "×1.42"
    assert gain_in_words(1.4234, 1.3945, 1.4501, places=3) == "×1.423 [1.395, 1.450]"
    assert gain_in_words(None, 1.0, 2.0) == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (388.4, "388 ms"),
        (12.34, "12.3 ms"),
        (-4.321, "-4.32 ms"),
        (0.004127, "0.00413 ms"),
        (0.0, "0.0 ms"),
        (None, "–"),
    ],
)
def test_a_level_has_digits_enough_to_be_told_from_another(value: float | None, words: str) -> None:
    assert level_in_words(value, "ms") == words


@pytest.mark.parametrize("value", [None, 0.0, -1.0, math.nan, math.inf])
def test_a_value_that_cannot_be_a_measurement_has_no_log_ratio(value: float | None) -> None:
    assert log_ratio(Direction.MAX, value, 1.0) is None
    assert log_ratio(Direction.MAX, 1.0, value) is None


positive = st.floats(1e-300, 1e300)


@given(positive, positive)
def test_swapping_the_sides_negates_the_log_ratio(a: float, b: float) -> None:
    for direction in Direction:
        forward, back = log_ratio(direction, a, b), log_ratio(direction, b, a)
        assert forward is not None
        assert back == -forward


@given(st.floats(1e-100, 1e100), st.floats(1e-100, 1e100))
def test_lower_is_better_is_higher_is_better_of_the_reciprocal(a: float, b: float) -> None:
    lower, higher = log_ratio(Direction.MIN, a, b), log_ratio(Direction.MAX, 1 / a, 1 / b)
    assert lower == pytest.approx(higher, abs=1e-9)


def test_the_log_ratio_is_positive_when_the_candidate_is_better() -> None:
    assert log_ratio(Direction.MAX, 100, 200) == pytest.approx(math.log(2))
    assert log_ratio(Direction.MIN, 100, 50) == pytest.approx(math.log(2))


def test_importing_metrics_does_not_import_numpy() -> None:
    check = "import sys, vibeserve_tui.metrics; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
