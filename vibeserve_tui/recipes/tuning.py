"""Settings worth comparing, and successive halving among them. Pure: nothing is measured here.

Tuning comes last: selecting recipes by prior and evidence gains more per run than any optimiser does as long as
runs are few. Four settings (the present one, two neighbours, one drawn) are measured shortly, the better half is
measured again, and the winner, if it is a new one, meets the champion in the gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random

from vibeserve_tui.recipes.params import Domain, Params

SETTINGS = 4


def neighbours(known: Mapping[str, Domain], params: Params) -> Iterator[Params]:
    """All settings that differ from `params` in one tunable parameter, by one step."""
    for name, domain in known.items():
        if domain.tunable and name in params:
            for value in domain.neighbours(params[name]):
                yield {**params, name: value}


def settings(known: Mapping[str, Domain], incumbent: Params, rng: Random) -> tuple[Params, ...]:
    """The incumbent first, then at most two neighbours and one draw, without repetition."""
    near = list(neighbours(known, incumbent))
    drawn = {name: domain.draw(rng) if domain.tunable else incumbent[name] for name, domain in known.items()}
    found = [incumbent]
    for params in (*rng.sample(near, min(2, len(near))), drawn):
        if params not in found:
            found.append(params)
    return tuple(found[:SETTINGS])


def fidelity(known: Mapping[str, Domain]) -> float:
    """The share of a full measurement that tells these settings apart."""
    tunable = [domain for domain in known.values() if domain.tunable]
    return 0.25 if all(domain.low_fidelity for domain in tunable) else 1.0


def better_half(gains: Sequence[tuple[Params, float]]) -> tuple[Params, ...]:
    """The settings that stay, best first; one of two or three, two of four."""
    ranked = sorted(gains, key=lambda pair: -pair[1])
    return tuple(params for params, _ in ranked[: max(1, len(ranked) // 2)])
