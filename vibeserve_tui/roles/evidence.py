"""Measured facts under short ids, so that agents refer to figures instead of writing them.

`m:` is a figure of the champion, `b:` of the baseline, `p:` a phase of the champion's profile, `o:` an operation, `h:` a
hint, `r:` a round's ratio. An id in a text is replaced by what was measured; an id that does not exist is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vibeserve_tui import events as ev
from vibeserve_tui.metrics import gain_in_words
from vibeserve_tui.run_state import RunState

OPERATIONS = 8
ROUNDS = 30
"""The latest ones have an id; older ones are in the memory."""
_ID = re.compile(r"(?<![\w/])[mbpohr]:\w[\w@-]*(?:\.[\w@-]+)*")


@dataclass(frozen=True, slots=True)
class Fact:
    id: str
    value: str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.id} = {self.value}{f' ({self.what})' if self.what else ''}"


@dataclass(frozen=True, slots=True)
class Evidence:
    facts: tuple[Fact, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.facts)) or "nothing is measured yet"

    def unknown(self, ids: Iterable[str]) -> list[str]:
        known = {fact.id for fact in self.facts}
        return [name for name in ids if name not in known]

    def value(self, name: str) -> str:
        return next(fact.value for fact in self.facts if fact.id == name)

    def filled(self, text: str) -> str:
        """The text with every known id followed by its value; unknown ones are marked."""
        values = {fact.id: fact.value for fact in self.facts}
        return _ID.sub(lambda match: f"{values.get(match[0], 'not measured')} ({match[0]})", text)


def evidence_of(state: RunState, number: int | None = None) -> Evidence:
    """What is known of a round (the champion unless said), and of the run around it."""
    return Evidence(tuple(_facts(state, state.champion if number is None else number)))


def _facts(state: RunState, number: int) -> Iterator[Fact]:
    record = state.rounds.get(number)
    name = "the champion" if number == state.champion else "this candidate"
    yield from _figures("m", record, f"{name}, round {number}")
    if number:
        yield from _figures("b", state.baseline, "the baseline, measured at another time")
    yield from _profile(state.profiles.get(number))
    for past in sorted(state.rounds)[-ROUNDS:]:
        played = state.rounds[past]
        figure = played.measured.headline if past and played.measured else None
        if figure is not None and figure.ratio is not None:
            gain = gain_in_words(figure.ratio, figure.ci_low, figure.ci_high, places=3)
            yield Fact(f"r:{past}", gain, f"{played.task.title}, over the champion of that time")


def _figures(kind: str, record: ev.RoundRecord | None, what: str) -> Iterator[Fact]:
    for figure in record.measured.figures if record and record.measured else ():
        if figure.b is not None:
            level = f"@{figure.level}" if figure.level else ""
            yield Fact(f"{kind}:{figure.metric}{level}", f"{figure.b:,.1f} {figure.unit}", what)


def _profile(taken: ev.ProfileTaken | None) -> Iterator[Fact]:
    if taken is None:
        return
    source = f"{taken.tool}, {taken.quality}"
    yield from (Fact(f"p:{phase}", f"{share:.0%}", source) for phase, share in taken.phases.items())
    for place, (operation, share) in enumerate(list(taken.operations.items())[:OPERATIONS], 1):
        yield Fact(f"o:{place}", f"{share:.0%}", operation)
    yield from (Fact(f"h:{hint}", "holds", "a rule over the profile") for hint in taken.hints)
