"""Who may have children, how good they are, and how parents are drawn: checked against the definitions, written out."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest

from tests.fakes import measured
from vibeserve_tui import events as ev
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state.population import Individual, frontier, inspirations, parents, population

PASSED = ev.Verdict(outcome="pass")
MEMORY = ("peak_rss_mib", "")


def figures(throughput: float, memory: float | None = None) -> ev.Measured:
    headline = measured(ratio=throughput).figures
    if memory is None:
        return measured(ratio=throughput)
    guard = ev.Figure(metric="peak_rss_mib", level="", unit="MiB", direction="min", ratio=memory, guard=True)
    return measured(ratio=throughput, figures=(*headline, guard))


def state_of(*rounds: dict[str, object]) -> RunState:
    """The seed and these rounds; each is measured against round `beside`, the seed unless said."""
    state = RunState()
    for number, changes in enumerate(({"outcome": "kept"}, *rounds)):
        fields = {"number": number, "task": {"title": "x"}, "reason": "", "commit": "c", "verdict": PASSED} | changes
        beside = fields.pop("beside", 0)
        state.rounds[number] = ev.RoundRecord.model_validate(fields)
        if number and fields.get("measured"):
            state.against[number] = beside
    return state


def test_a_gain_is_the_product_of_the_paired_ratios_on_the_way_to_the_seed():
    state = state_of(
        {"outcome": "kept", "measured": figures(1.5, 0.8)},
        {"outcome": "kept", "measured": figures(1.2, 1.1), "beside": 1},
        {"outcome": "reverted", "measured": figures(0.9, 1.4), "beside": 2},
    )
    last = population(state)[3]
    assert last.gain == pytest.approx(1.5 * 1.2 * 0.9)
    assert last.gains[MEMORY] == pytest.approx(0.8 * 1.1 * 1.4)


def test_a_metric_that_a_step_of_the_way_did_not_measure_is_not_known():
    state = state_of(
        {"outcome": "kept", "measured": figures(1.5)},
        {"outcome": "kept", "measured": figures(1.2, 1.1), "beside": 1},
    )
    assert MEMORY not in population(state)[2].gains


def test_what_was_right_and_measured_lives_on_whether_it_won_or_not():
    good = {"measured": figures(1.1)}
    state = state_of(
        good | {"outcome": "kept"},
        good | {"outcome": "reverted"},
        good | {"outcome": "indecisive"},
        good | {"outcome": "void"},
        good | {"outcome": "failed"},
        {"outcome": "failed", "verdict": ev.Verdict(outcome="fail")},
        good | {"outcome": "reverted", "decided_by": "operator"},
        good | {"outcome": "kept", "decided_by": "operator"},
        good | {"outcome": "kept", "task": {"title": "without x", "kind": "ablation"}},
    )
    assert [one.number for one in population(state)] == [0, 1, 2, 3, 8]


def individuals(*values: tuple[float, float]) -> list[Individual]:
    return [Individual(0, 1.0, {})] + [
        Individual(number, speed, {("t", ""): speed, MEMORY: memory})
        for number, (speed, memory) in enumerate(values, 1)
    ]


def test_the_frontier_is_what_brute_force_finds():
    for trial in range(50):
        draw = Random(trial)
        steps = [round(0.5 + 0.1 * n, 1) for n in range(10)]
        alive = individuals(*((draw.choice(steps), draw.choice(steps)) for _ in range(12)))
        points = {one.number: (one.gain, one.gains.get(MEMORY, 1.0)) for one in alive}
        expected = [
            number
            for number, (speed, memory) in points.items()
            if not any(a >= speed and b >= memory and (a, b) != (speed, memory) for a, b in points.values())
        ]
        assert [one.number for one in frontier(alive)] == expected


def first_parents(bias: float, temperature: float, times: int = 4000) -> Counter[int]:
    alive = individuals((2.0, 0.5), (1.5, 1.2), (1.2, 0.9))
    draws = (Random(trial) for trial in range(times))
    return Counter(next(parents(alive, draw, bias=bias, temperature=temperature)).number for draw in draws)


def test_with_full_bias_parents_are_drawn_evenly_from_the_frontier():
    drawn = first_parents(bias=1.0, temperature=0.5)
    assert set(drawn) == {1, 2}
    assert abs(drawn[1] - drawn[2]) < 4 * math.sqrt(4000)


def test_without_bias_parents_are_drawn_by_a_softmax_over_their_gains():
    drawn = first_parents(bias=0.0, temperature=0.5)
    logs = [0.0, math.log(2.0), math.log(1.5), math.log(1.2)]
    weights = [math.exp(value / math.log(2.0) / 0.5) for value in logs]
    for number, weight in enumerate(weights):
        assert drawn[number] / 4000 == pytest.approx(weight / sum(weights), abs=0.03)


def test_every_individual_has_its_turn_once():
    alive = individuals((2.0, 0.5), (1.5, 1.2), (1.2, 0.9))
    order = [one.number for one in parents(alive, Random(1), bias=0.7, temperature=0.5)]
    assert sorted(order) == [0, 1, 2, 3]


def test_inspirations_are_the_best_of_the_rest_and_some_drawn_ones():
    alive = individuals((2.0, 1.0), (1.5, 1.0), (1.2, 1.0), (1.1, 1.0), (0.9, 1.0))
    found = [one.number for one in inspirations(alive, alive[1], Random(1), best=2, others=2)]
    assert found[:2] == [2, 3]
    assert len(set(found)) == 4
    assert 1 not in found


def test_a_seed_alone_is_its_own_frontier_and_has_no_inspirations():
    alive = population(state_of())
    assert frontier(alive) == alive
    assert inspirations(alive, alive[0], Random(1), best=2, others=2) == ()
