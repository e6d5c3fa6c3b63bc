"""Which settings of a kept recipe are worth a round: those one step beside the present ones. Pure.

Tuning comes last: selecting recipes by prior and evidence gains more per run than any optimiser does as long as
runs are few.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from vibeserve_tui.recipes.params import Domain, Params


def neighbours(known: Mapping[str, Domain], params: Params) -> Iterator[Params]:
    """All settings that differ from `params` in one tunable parameter, by one step."""
    for name, domain in known.items():
        if domain.tunable and name in params:
            for value in domain.neighbours(params[name]):
                yield {**params, name: value}


def untried(known: Mapping[str, Domain], params: Params, tried: Collection[Params]) -> tuple[Params, ...]:
    """The neighbours that no trial was made with."""
    return tuple(near for near in neighbours(known, params) if near not in tried)
