"""A run's finished rounds as the planner reads them. Pure: round records in, trials out."""

from __future__ import annotations

from collections.abc import Sequence

from vibeserve_tui.events import RoundRecord
from vibeserve_tui.recipes.recipe import SEED_CAPABILITIES, RecipeBook
from vibeserve_tui.recipes.trials import Step, Trial
from vibeserve_tui.recipes.why import LONG_SHOT_ROW


def trials_of(
    rounds: Sequence[RoundRecord], book: RecipeBook, seed: frozenset[str] = SEED_CAPABILITIES
) -> tuple[Trial, ...]:
    """One trial for every round that was about a recipe this installation has, in the order of the rounds."""
    skills = {record.number: record.skills for record in rounds}
    return tuple(
        _trial(record, book, capabilities_of(skills.get(record.task.parent, ()), book, seed))
        for record in rounds
        if record.number > 0 and record.task.skill in book and record.task.kind in list(Step)
    )


def capabilities_of(names: Sequence[str], book: RecipeBook, seed: frozenset[str] = SEED_CAPABILITIES) -> frozenset[str]:
    """What a tree provides after these recipes; foreign ones are passed over."""
    provided = seed
    for name in names:
        if name in book:
            provided = book[name].after(provided)
    return provided


def long_shots(rounds: Sequence[RoundRecord]) -> int:
    """How many of the last rounds in a row were long shots."""
    count = 0
    for record in reversed(rounds):
        if LONG_SHOT_ROW not in record.task.why:
            break
        count += 1
    return count


def _trial(record: RoundRecord, book: RecipeBook, capabilities: frozenset[str]) -> Trial:
    headline = record.measured.headline if record.measured else None
    return Trial(
        recipe=record.task.skill,
        version=book[record.task.skill].spec.version,
        params=record.task.params,
        capabilities=capabilities,
        outcome=record.outcome,
        ratio=headline.ratio if headline else None,
        ci_low=headline.ci_low if headline else None,
        ci_high=headline.ci_high if headline else None,
        reason=record.reason,
        round=record.number,
        step=Step(record.task.kind),
        seconds=record.took_s or None,
    )
