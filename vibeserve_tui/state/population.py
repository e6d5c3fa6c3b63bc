"""The population of an evolutionary search: every round that was judged right and measured, read from the run's state.

Nothing else is stored: individuals are the rounds' records and refs. How good one is follows from ratios that were
measured side by side, chained along the champions it was measured against; levels of different hours are never compared.
All draws come from a generator that the caller seeds, so the same state gives the same choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from vibeserve_tui import events as ev
from vibeserve_tui.run_state import RunState

Metric = tuple[str, str]
"""Name and level."""


@dataclass(frozen=True, slots=True)
class Individual:
    number: int
    """Of its round; 0 is the seed."""
    gain: float
    """Over the seed in the headline metric; > 1 = better, whatever the metric's direction."""
    gains: Mapping[Metric, float]
    """The same in every metric and guard that was measured on the whole way to the seed."""


def population(state: RunState) -> tuple[Individual, ...]:
    """The seed, and every round whose tree may have children, oldest first."""
    found = [Individual(0, 1.0, {})]
    for number, record in sorted(state.rounds.items()):
        gain = state.gain(number) if number and _is_alive(record) else None
        if gain:
            found.append(Individual(number, gain, gains(state, number)))
    return tuple(found)


def gains(state: RunState, number: int) -> dict[Metric, float]:
    """Products of paired ratios on the way to the seed, for the metrics that each step of the way measured."""
    steps = []
    for step in state.measured_way(number):
        measured = state.rounds[step].measured
        figures = measured.figures if measured else ()
        steps.append({(figure.metric, figure.level): figure.ratio for figure in figures if figure.ratio})
    shared = frozenset.intersection(*map(frozenset, steps)) if steps else frozenset()
    return {metric: math.prod(step[metric] for step in steps) for metric in sorted(shared)}


def frontier(individuals: Sequence[Individual]) -> tuple[Individual, ...]:
    """Those that no other beats in one metric without losing in another; what not all measured is left out."""
    measured = [frozenset(one.gains) for one in individuals if one.number]
    axes = sorted(frozenset.intersection(*measured)) if measured else []
    places = {one.number: (one.gain, *(one.gains.get(axis, 1.0) for axis in axes)) for one in individuals}
    return tuple(
        one
        for one in individuals
        if not any(_dominates(places[other.number], places[one.number]) for other in individuals)
    )


def parents(
    individuals: Sequence[Individual], draw: Random, *, bias: float, temperature: float
) -> Iterator[Individual]:
    """All of them in the order in which they are drawn: whoever cannot have a new child gives way to the next.

    With probability `bias` one of the frontier, each as likely as the other; else by a softmax over the log gains, scaled
    to 0 .. 1 and divided by `temperature`.
    """
    left = list(individuals)
    while left:
        if draw.random() < bias:
            chosen = draw.choice(frontier(left))
        else:
            (chosen,) = draw.choices(left, _softmax([math.log(one.gain) for one in left], temperature))
        left.remove(chosen)
        yield chosen


def inspirations(
    individuals: Sequence[Individual], parent: Individual, draw: Random, *, best: int, others: int
) -> tuple[Individual, ...]:
    """The best of the rest, then some drawn from what is left; never the parent."""
    rest = sorted((one for one in individuals if one.number != parent.number), key=lambda one: (-one.gain, one.number))
    left = rest[best:]
    return (*rest[:best], *draw.sample(left, min(others, len(left))))


def _is_alive(record: ev.RoundRecord) -> bool:
    """Right, measured, and not turned down by a person; whether it won does not matter."""
    judged = record.verdict is not None and record.verdict.passed and bool(record.commit)
    refused = record.outcome is ev.Outcome.REVERTED and record.decided_by != "gate"
    ended = record.outcome in (ev.Outcome.KEPT, ev.Outcome.REVERTED, ev.Outcome.INDECISIVE)
    return judged and ended and not refused and record.task.kind != "ablation"


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def _softmax(values: Sequence[float], temperature: float) -> list[float]:
    low, span = min(values), max(values) - min(values)
    return [math.exp((value - low) / span / temperature) if span else 1.0 for value in values]
