"""What a recipe is expected to gain here: its prior, the evidence of the profile, and what trials showed.

Everything is a natural logarithm of a ratio, so gains add. Normal priors and Normal observations: the posterior is
a precision-weighted mean. Pure: facts and trials in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from vibeserve_tui.events import Outcome
from vibeserve_tui.recipes.expressions import Answer, Scope, Unknown
from vibeserve_tui.recipes.facts import Facts
from vibeserve_tui.recipes.params import Params
from vibeserve_tui.recipes.recipe import Recipe, RecipeBook
from vibeserve_tui.recipes.trials import Trial

NO_EVIDENCE_WEIGHT = 0.5
LAYER_SD = 0.05
"""How far the gains of one layer may all lie beside their priors; small, so that one surprise moves little."""
OTHER_CONTEXT_SD = 0.05
"""Added to a trial made on a tree with other capabilities."""
OTHER_PARAMS_SD = 0.02
"""Added to a trial made with other parameters; a knob moves a gain less than the tree around it does."""
FAILED_BEFORE_SD = 0.1
"""An earlier run's failure counts as an observation of no gain, this loosely: the reason may be gone."""


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """One piece of evidence and what it says here."""

    expr: str
    answer: bool | Unknown
    weight: float
    bound: float | None
    """Share of the time that can be saved, where it is known."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """The expected log gain of one recipe with one setting on one tree."""

    mean: float
    sd: float
    evidence_weight: float
    evidence: tuple[EvidenceRow, ...]
    cap: float | None
    """The mean was held at or below this, because the profile leaves no more to save."""

    @property
    def gain(self) -> NormalDist:
        return NormalDist(self.mean, self.sd)

    def chance_above(self, log_gain: float) -> float:
        return 1 - self.gain.cdf(log_gain)


def posterior(recipe: Recipe, params: Params, facts: Facts, book: RecipeBook, trials: Sequence[Trial]) -> Posterior:
    """Pool prior and trials. `facts.capabilities` is the tree that it would go onto."""
    rows = tuple(_evidence_rows(recipe, Scope(facts)))
    weight = _evidence_weight(rows)
    prior = recipe.spec.prior
    precision = 1 / prior.sd**2
    total = (prior.log_gain * weight + _layer_shift(recipe, book, trials)) * precision
    for trial in trials:
        observed = _observed(trial)
        if trial.recipe != recipe.id or observed is None:
            continue
        gain, variance = observed
        if trial.params != params:
            variance += OTHER_PARAMS_SD**2
        if facts.capabilities is None or not trial.saw(facts.capabilities):
            variance += OTHER_CONTEXT_SD**2
        total += gain * trial.weight / variance
        precision += trial.weight / variance
    cap = _amdahl_cap(rows)
    mean = total / precision
    return Posterior(mean if cap is None else min(mean, cap), precision**-0.5, weight, rows, cap)


def _layer_shift(recipe: Recipe, book: RecipeBook, trials: Sequence[Trial]) -> float:
    """By how much the gains of the layer's other recipes lie beside their priors, shrunk towards nothing."""
    total, weight = 0.0, 1 / LAYER_SD**2
    for trial in trials:
        other = book.get(trial.recipe)
        if other is None or other.id == recipe.id or other.spec.layer is not recipe.spec.layer or not trial.ratio:
            continue
        precision = trial.weight / (other.spec.prior.sd**2 + trial.sd**2)
        total += (math.log(trial.ratio) - other.spec.prior.log_gain) * precision
        weight += precision
    return total / weight


def _observed(trial: Trial) -> tuple[float, float] | None:
    if trial.log_gain is not None:
        return trial.log_gain, trial.sd**2
    return (0.0, FAILED_BEFORE_SD**2) if trial.outcome is Outcome.FAILED else None


def _evidence_rows(recipe: Recipe, scope: Scope) -> Iterable[EvidenceRow]:
    for evidence in recipe.spec.evidence:
        bound = None if evidence.bound is None else _number(evidence.bound.number(scope))
        yield EvidenceRow(evidence.expr.source, evidence.expr.holds(scope), evidence.weight, bound)


def _number(answer: Answer) -> float | None:
    return float(answer) if isinstance(answer, int | float) else None


def _evidence_weight(rows: Sequence[EvidenceRow]) -> float:
    """1 when all evidence holds, 0 when none does; unknown evidence counts as half, like no evidence at all."""
    if not rows:
        return NO_EVIDENCE_WEIGHT
    said = sum(row.weight * (NO_EVIDENCE_WEIGHT if isinstance(row.answer, Unknown) else row.answer) for row in rows)
    return said / sum(row.weight for row in rows)


def _amdahl_cap(rows: Sequence[EvidenceRow]) -> float | None:
    """Saving a share `s` of the time gains at most -ln(1 - s); the widest bound counts."""
    bounds = [row.bound for row in rows if row.bound is not None]
    if not bounds or max(bounds) >= 1:
        return None
    return -math.log(1 - max(*bounds, 0.0))
