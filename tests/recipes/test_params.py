from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recipes.landscape import spec_of
from tests.recipes.workshop import FACTS
from vibeserve_tui.errors import SkillError
from vibeserve_tui.recipes.expressions import Unknown
from vibeserve_tui.recipes.facts import HardwareFacts, WorkloadFacts
from vibeserve_tui.recipes.params import Domain, domains, resolve
from vibeserve_tui.recipes.recipe import Recipe
from vibeserve_tui.recipes.tuning import neighbours, untried


def with_params(**params: dict[str, object]) -> Recipe:
    return spec_of("r", params=params)


LENGTH = {"type": "int", "choices": [512, 1024, 2048], "default": "ceil_pow2(workload.p99_total_len)"}
THREADS = {"type": "int", "range": [1, "hw.cores"], "default": 2, "log": True}


@pytest.mark.parametrize(("p99", "chosen"), [(100, 512), (263, 512), (600, 1024), (9000, 2048)])
def test_a_default_is_moved_up_to_the_next_choice(p99: int, chosen: int) -> None:
    facts = replace(FACTS, workload=WorkloadFacts(p99_total_len=p99))
    assert resolve(with_params(length=LENGTH), {}, facts) == {"length": chosen}


@pytest.mark.parametrize(("cores", "chosen"), [(1, 1), (2, 2), (64, 2)])
def test_a_default_is_legal_on_every_machine(cores: int, chosen: int) -> None:
    assert resolve(with_params(threads=THREADS), {}, replace(FACTS, hw=HardwareFacts(cores=cores))) == {
        "threads": chosen
    }


def test_parameters_that_depend_on_what_is_not_known_are_unknown() -> None:
    found = resolve(with_params(threads=THREADS), {}, replace(FACTS, hw=HardwareFacts()))
    assert isinstance(found, Unknown)
    assert found.names == {"hw.cores"}


def test_a_misspelt_parameter_gets_a_suggestion() -> None:
    with pytest.raises(SkillError, match="did you mean 'threads'"):
        resolve(with_params(threads=THREADS), {"thread": 2}, FACTS)


def test_a_value_out_of_range_names_the_legal_ones() -> None:
    with pytest.raises(SkillError, match=r"legal: 1\.\.4"):
        resolve(with_params(threads=THREADS), {"threads": 5}, FACTS)


def test_neighbours_double_and_halve_on_a_logarithmic_scale() -> None:
    known = domains(with_params(threads=THREADS, length=LENGTH), FACTS)
    assert not isinstance(known, Unknown)
    assert known["threads"].neighbours(2) == (1, 4)
    assert known["threads"].neighbours(4) == (2,)
    assert known["length"].neighbours(1024) == (512, 2048)
    found = list(neighbours(known, {"threads": 4, "length": 512}))
    assert found == [{"threads": 2, "length": 512}, {"threads": 4, "length": 1024}]


def test_a_parameter_that_means_nothing_here_is_not_tuned() -> None:
    known = domains(with_params(threads={**THREADS, "when": "backend == 'cuda'"}), FACTS)
    assert not isinstance(known, Unknown)
    assert not known["threads"].tunable
    assert list(neighbours(known, {"threads": 2})) == []


def test_words_and_switches_have_all_other_values_as_neighbours() -> None:
    recipe = with_params(
        mode={"type": "enum", "choices": ["a", "b", "c"], "default": "b"}, on={"type": "bool", "default": False}
    )
    known = domains(recipe, FACTS)
    assert not isinstance(known, Unknown)
    assert known["mode"].neighbours("b") == ("a", "c")
    assert known["on"].neighbours(False) == (True,)


def test_a_setting_that_was_tried_is_not_tried_again() -> None:
    known = domains(with_params(threads=THREADS), FACTS)
    assert not isinstance(known, Unknown)
    assert untried(known, {"threads": 2}, [{"threads": 2}, {"threads": 1}]) == ({"threads": 4},)


@given(st.integers(-50, 50), st.integers(0, 100), st.booleans(), st.booleans(), st.floats(0, 1))
def test_neighbours_are_legal(low: int, width: int, log: bool, whole: bool, at: float) -> None:
    domain = Domain(low, low=low, high=low + width, whole=whole, log=log)
    value = low + (round(at * width) if whole else at * width)
    assert domain.contains(value)
    assert all(domain.contains(near) and near != value for near in domain.neighbours(value))
