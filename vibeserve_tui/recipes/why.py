"""The reasons behind a plan, as rows a person can check, and the hypothesis that it puts to the test."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

from vibeserve_tui.events import Hypothesis, WhyRow
from vibeserve_tui.metrics import gain_in_words
from vibeserve_tui.recipes.candidates import Candidate
from vibeserve_tui.recipes.expressions import Unknown
from vibeserve_tui.recipes.posterior import EvidenceRow, Posterior
from vibeserve_tui.recipes.recipe import Recipe
from vibeserve_tui.recipes.situation import Situation
from vibeserve_tui.recipes.trials import Trial

LONG_SHOT_ROW = WhyRow(what="long shot", value="yes", source="nothing likely is left; worth a run to know")


def why_candidate(candidate: Candidate, situation: Situation, runner_up: Candidate | None) -> tuple[WhyRow, ...]:
    """Why this recipe and not the next best."""
    return tuple(_candidate_rows(candidate, situation, runner_up))


def why_trials(recipe: Recipe, situation: Situation) -> Iterator[WhyRow]:
    """What happened when it was tried before, in this run and in earlier ones."""
    here = ((f"tried in round {trial.round}", trial) for trial in situation.trials)
    before = (("tried in an earlier run", trial) for trial in situation.experience)
    for what, trial in (*here, *before):
        if trial.recipe == recipe.id:
            yield WhyRow(what=what, value=f"{_measured(trial)}{trial.outcome.value}", source=trial.reason)


def factor(log_gain: float) -> str:
    return f"×{math.exp(log_gain):.2f}"


def belief(log_gain: float, sd: float) -> str:
    """`×3.00, likely ×2.01 to ×4.48`: two times out of three the gain lies between them."""
    return f"{factor(log_gain)}, likely {factor(log_gain - sd)} to {factor(log_gain + sd)}"


def hypothesis(recipe: Recipe, expected: NormalDist, minimum_effect: float) -> Hypothesis:
    """A claim that the gate and the activation counter can prove wrong."""
    activation = recipe.spec.verify.activation
    ran = f", or {activation} does not hold under load" if activation else ""
    metric = recipe.spec.prior.metric
    stated = claim(f"{recipe.spec.title}: {metric} changes by {factor(expected.mean)}", expected, minimum_effect)
    return stated.model_copy(
        update={
            "mechanism": _mechanism(recipe),
            "metric": metric,
            "falsifier": stated.falsifier + ran,
            "activation": str(activation or ""),
        }
    )


def claim(text: str, expected: NormalDist, minimum_effect: float) -> Hypothesis:
    """Something said of a tree as a whole, which the gate can prove wrong."""
    return Hypothesis(
        claim=text,
        expected_low=round(math.exp(expected.mean - expected.stdev), 4),
        expected_high=round(math.exp(expected.mean + expected.stdev), 4),
        minimum_effect=minimum_effect,
        falsifier=f"the ratio over the champion stays below {minimum_effect:.3f}",
    )


def _mechanism(recipe: Recipe) -> str:
    saved = [evidence.bound.source for evidence in recipe.spec.evidence if evidence.bound is not None]
    where = f" It saves time in {', '.join(saved)}." if saved else ""
    return f"Changes the {recipe.spec.layer.value} layer.{where} Expected from: {recipe.spec.prior.source}"


def _candidate_rows(candidate: Candidate, situation: Situation, runner_up: Candidate | None) -> Iterator[WhyRow]:
    recipe = candidate.recipe
    prior = recipe.spec.prior
    for row in candidate.posterior.evidence:
        yield _evidence_row(row)
    yield WhyRow(what="prior", value=belief(prior.log_gain, prior.sd), source=prior.source)
    yield WhyRow(
        what="weight of the evidence",
        value=f"{candidate.posterior.evidence_weight:.2f}",
        source="1 = all of it holds; 0.50 = none is given or known",
    )
    yield from why_trials(recipe, situation)
    yield _expected_row(candidate.posterior)
    if candidate.unlocks:
        yield WhyRow(what="makes possible", value=candidate.unlocks.id, source=candidate.unlocks.spec.title)
    if len(candidate.chain) > 1:
        yield WhyRow(what="first step towards", value=" → ".join(link.id for link in candidate.chain[1:]))
    yield WhyRow(what="chance of more than 1 %", value=f"{candidate.chance:.0%}")
    if candidate.penalty:
        yield WhyRow(
            what="risk", value=f"−{candidate.penalty:.2f}", source=f"may change answers: {recipe.spec.risk.value}"
        )
    yield WhyRow(what="takes about", value=f"{candidate.seconds:.0f} s", source="durations seen so far")
    beaten = f"next best: {runner_up.recipe.id}, {runner_up.score:.3f}" if runner_up else "the only one left"
    yield WhyRow(what="expected log gain per minute", value=f"{candidate.score:.3f}", source=beaten)


def _evidence_row(row: EvidenceRow) -> WhyRow:
    if isinstance(row.answer, Unknown):
        return WhyRow(what=row.expr, value="unknown", source=f"not known: {', '.join(sorted(row.answer.names))}")
    saved = "" if row.bound is None else f"; at most {row.bound:.0%} of the time can be saved"
    profiled = "share(" in row.expr or "profile." in row.expr
    source = "the champion's profile" if profiled else "target, model and machine"
    return WhyRow(what=row.expr, value=f"{'holds' if row.answer else 'does not hold'}{saved}", source=source)


def _expected_row(expected: Posterior) -> WhyRow:
    capped = "" if expected.cap is None else f"; held at or below {factor(expected.cap)} by the profile"
    value = belief(expected.mean, expected.sd)
    return WhyRow(what="expected here", value=value, source=f"prior, evidence and trials{capped}")


def _measured(trial: Trial) -> str:
    gain = gain_in_words(trial.ratio, trial.ci_low, trial.ci_high, places=3)
    return f"{gain}, " if gain else ""
