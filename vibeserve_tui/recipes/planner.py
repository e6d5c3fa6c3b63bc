"""The planner of the playbook: what to try next, why, and when to stop.

Pure: a situation in, a plan out; the only randomness is a generator seeded by the run. It reads measured figures
and never produces one. Recipes first (prior, evidence and own trials, per minute of measuring), then swaps across
conflicts, then tuning if many runs are left, then at most two long shots in a row, then stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from vibeserve_tui.events import Outcome
from vibeserve_tui.recipes.candidates import TYPICAL_TRIAL_S, Candidate, Market
from vibeserve_tui.recipes.expressions import Unknown
from vibeserve_tui.recipes.params import Params, domains
from vibeserve_tui.recipes.plans import Plan, recipe_plan, swap_plan, tuning_plan
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Choice, Situation
from vibeserve_tui.recipes.swaps import Swap, swaps
from vibeserve_tui.recipes.trials import Step, Trial
from vibeserve_tui.recipes.tuning import untried

LIKELY = 0.2
"""A candidate is worth a run when its chance of gaining more than 1 % is above this."""
LONG_SHOT = 0.02
MOST_LONG_SHOTS = 2
TIE = 0.95
"""Candidates within 5 % of the best score are a tie."""
RUNS_FOR_TUNING = 25
MOST_TUNING_ROUNDS = 4
"""Of one recipe."""
PREREQUISITE_GAIN = 0.05
"""Expected log gain that a neutral recipe must make possible to be spared."""
PREREQUISITE_FLOOR = 0.98
"""Lower bound of its own ratio, at least."""


@dataclass(frozen=True, slots=True)
class Stop:
    reason: str


def decide(book: RecipeBook, situation: Situation) -> Plan | Stop:
    """The next thing to try, or why there is none."""
    if situation.rounds_left is not None and situation.rounds_left < 1:
        return Stop("the rounds are used up")
    market = Market(book, situation)
    plan = _upon_prerequisite(market) if situation.prerequisite else _proposal(market)
    if plan is None and situation.prerequisite:
        return decide(book, replace(situation, prerequisite=None))
    if plan is None:
        return Stop("no recipe left is likely to gain more than 1 %")
    if situation.seconds_left is not None and situation.seconds_left < plan.seconds:
        return Stop(f"{situation.seconds_left:.0f} s are left; {plan.recipe} would take about {plan.seconds:.0f} s")
    return plan


def fate(book: RecipeBook, situation: Situation, trial: Trial) -> Literal["champion", "prerequisite", "discarded"]:
    """What becomes of a trial's checkpoint. `situation` is the one it was planned in; the trial may be in it already."""
    if trial.was_kept:
        return "champion"
    measured_neutral = (
        trial.outcome in (Outcome.INDECISIVE, Outcome.REVERTED) and (trial.ci_low or 0) >= PREREQUISITE_FLOOR
    )
    if not measured_neutral or trial.reason.startswith("operator") or "guard" in trial.reason:
        return "discarded"
    before = replace(situation, trials=tuple(other for other in situation.trials if other.round != trial.round))
    chains = [c for c in Market(book, before).backlog() if len(c.chain) > 1 and c.recipe.id == trial.recipe]
    opened = max((c.total.mean - c.posterior.mean for c in chains), default=0.0)
    return "prerequisite" if opened >= PREREQUISITE_GAIN else "discarded"


def _upon_prerequisite(market: Market) -> Plan | None:
    """The best of what only the spared tree makes possible; nothing else may start from a tree that did not win."""
    proven = market.situation.champion.capabilities
    unlocked = [c for c in market.candidates() if c.recipe.needs - proven and c.total.mean >= PREREQUISITE_GAIN]
    return recipe_plan(market, unlocked[0], unlocked[1:]) if unlocked else None


def _proposal(market: Market) -> Plan | None:
    candidates = market.candidates()
    likely = [candidate for candidate in candidates if candidate.chance > LIKELY]
    if likely:
        # A second try waits until nothing new is likely: the first one was the better guess.
        fresh = [candidate for candidate in likely if not market.situation.selections_of(candidate.recipe.id)]
        chosen = _pick(fresh or likely, market.situation)
        return recipe_plan(market, chosen, [other for other in likely if other is not chosen])
    exchanges = swaps(market)
    if exchanges and exchanges[0].chance > LIKELY:
        return swap_plan(market, exchanges[0])
    due = _due_for_tuning(market)
    if due is not None:
        return tuning_plan(market, *due)
    return _long_shot(market, candidates, exchanges)


def _pick(likely: Sequence[Candidate], situation: Situation) -> Candidate:
    """The best by score; among equals, a draw from what each is believed to gain (Thompson)."""
    best = likely[0].score
    tied = [candidate for candidate in likely if candidate.score >= best - abs(best) * (1 - TIE)]
    rng = Random(f"{situation.seed}/{len(situation.trials)}")
    draws = [rng.gauss(candidate.total.mean, candidate.total.stdev) for candidate in tied]
    return tied[draws.index(max(draws))]


def _due_for_tuning(market: Market) -> tuple[Choice, tuple[Params, ...]] | None:
    """The kept recipe to tune next, with its untried settings: fewest rounds first, then the largest gain."""
    situation = market.situation
    runs = situation.rounds_left if situation.rounds_left is not None else RUNS_FOR_TUNING + 1
    if situation.seconds_left is not None:
        runs = min(runs, int(situation.seconds_left / TYPICAL_TRIAL_S))
    if runs <= RUNS_FOR_TUNING:
        return None
    gains = {trial.recipe: trial.ratio or 1.0 for trial in situation.trials if trial.was_kept}
    due: list[tuple[int, float, str, Choice, tuple[Params, ...]]] = []
    for choice in situation.champion.recipes:
        rounds = sum(trial.recipe == choice.recipe and trial.step is Step.TUNE for trial in situation.trials)
        left = _settings_left(market, choice) if rounds < MOST_TUNING_ROUNDS else ()
        if left:
            due.append((rounds, -gains.get(choice.recipe, 1.0), choice.recipe, choice, left))
    return min(due, key=lambda entry: entry[:3])[3:] if due else None


def _settings_left(market: Market, choice: Choice) -> tuple[Params, ...]:
    """One step beside the present setting, and not tried yet."""
    if choice.recipe not in market.book:
        return ()
    known = domains(market.book[choice.recipe], market.situation.facts)
    tried = [trial.params for trial in market.situation.trials if trial.recipe == choice.recipe]
    return () if isinstance(known, Unknown) else untried(known, choice.params, tried)


def _long_shot(market: Market, candidates: Sequence[Candidate], exchanges: Sequence[Swap]) -> Plan | None:
    """What is unlikely to gain but not hopeless; knowing that it does not is worth two runs, not more."""
    if market.situation.long_shots >= MOST_LONG_SHOTS:
        return None
    for candidate in candidates:
        if candidate.chance > LONG_SHOT:
            return recipe_plan(market, candidate, (), long_shot=True)
    if exchanges and exchanges[0].chance > LONG_SHOT:
        return swap_plan(market, exchanges[0], long_shot=True)
    return None
