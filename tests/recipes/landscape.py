"""An invented world in which recipes have true gains: what a planner's decisions can be judged against.

Fourteen recipes: eight useful, three neutral, three harmful; two chains of needs, two conflicts, and less gain for the
second recipe of a layer. Priors lie beside the truth. The order of search strategies means something here, the
figures do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from vibeserve_tui.events import Outcome
from vibeserve_tui.recipes.chain import fits_together
from vibeserve_tui.recipes.facts import Facts, ProfileFacts
from vibeserve_tui.recipes.planner import Stop, decide, fate
from vibeserve_tui.recipes.plans import Plan
from vibeserve_tui.recipes.recipe import SEED_CAPABILITIES, Recipe, RecipeBook
from vibeserve_tui.recipes.recipe_spec import RecipeSpec
from vibeserve_tui.recipes.situation import Choice, Composition, Situation
from vibeserve_tui.recipes.trials import Trial

NOISE = 0.03
BLOCKS = 4
LAYERS = ("launch", "model", "kv", "kernel", "dtype", "schedule", "sample", "http")
NEEDS = {"r1": "r0", "r2": "r1", "r4": "r3"}
CONFLICTS = {"r5": "r6", "r7": "r1"}
KINDS = {"useful": range(8), "neutral": range(8, 11), "harmful": range(11, 14)}


def spec_of(name: str, **keys: object) -> Recipe:
    """A recipe without any code, enough for planning."""
    table: dict[str, object] = {
        "schema": 1, "id": name, "version": "1.0", "title": f"Recipe {name}", "layer": "kv", "risk": "bit-exact",
        "capabilities": {"provides": [f"cap.{name}"]}, "requires": {"backends": ["cpu"]},
        "prior": {"log_gain": 0.1, "sd": 0.1, "metric": "output_throughput", "source": "invented"},
        "apply": [{"op": "delete_file", "target": {"file": "x.py"}}],
    }  # fmt: skip
    return Recipe(RecipeSpec.model_validate({**table, **keys}, strict=False), Path("/nowhere") / name)


@dataclass
class Landscape:
    seed: int
    book: RecipeBook = field(init=False)
    gains: dict[str, float] = field(init=False)
    facts: Facts = field(init=False)

    def __post_init__(self) -> None:
        rng = Random(self.seed)
        draws = {"useful": (0.04, 0.45), "neutral": (-0.005, 0.005), "harmful": (-0.3, -0.05)}
        self.gains = {f"r{i}": rng.uniform(*draws[kind]) for kind, numbers in KINDS.items() for i in numbers}
        shares = {name: 0.3 if (gain > 0.02) is (rng.random() < 0.85) else 0.01 for name, gain in self.gains.items()}
        self.facts = Facts(backend="cpu", profile=ProfileFacts(usable=True, shares=shares))
        self.book = RecipeBook(self._recipe(name, rng) for name in self.gains)

    def _recipe(self, name: str, rng: Random) -> Recipe:
        needs = [f"cap.{NEEDS[name]}"] if name in NEEDS else []
        conflicts = [f"cap.{CONFLICTS[name]}"] if name in CONFLICTS else []
        believed = max(-0.05, 0.7 * self.gains[name] + rng.gauss(0, 0.08))
        return spec_of(
            name,
            layer=rng.choice(LAYERS),
            capabilities={"provides": [f"cap.{name}"], "needs": needs, "conflicts": conflicts},
            prior={"log_gain": believed, "sd": 0.15, "metric": "output_throughput", "source": "invented"},
            evidence=[{"expr": f"share('{name}') > 0.05"}],
        )

    def truth(self, names: set[str]) -> float:
        """True log gain of a tree over the seed."""
        total, layers = 0.0, set[str]()
        for name in sorted(names, key=lambda n: -self.gains[n]):
            layer = self.book[name].spec.layer.value
            total += self.gains[name] * (0.6 if layer in layers and self.gains[name] > 0 else 1.0)
            layers.add(layer)
        return total

    def gate(self, champion: set[str], candidate: set[str], rng: Random) -> tuple[Outcome, float, float, float]:
        gain = self.truth(candidate) - self.truth(champion) + rng.gauss(0, NOISE / math.sqrt(BLOCKS))
        half = 2.35 * NOISE / math.sqrt(BLOCKS)
        outcome = Outcome.INDECISIVE
        if gain - half > 0 and gain >= 0.01:
            outcome = Outcome.KEPT
        elif gain + half < 0.01:
            outcome = Outcome.REVERTED
        return outcome, math.exp(gain), math.exp(gain - half), math.exp(gain + half)


@dataclass
class Search:
    """A run of the planner in a landscape."""

    world: Landscape
    situation: Situation
    plans: list[Plan] = field(default_factory=list)
    stop: str = ""

    @property
    def champion(self) -> set[str]:
        return {choice.recipe for choice in self.situation.champion.recipes}


def search(world: Landscape, runs: int) -> Search:
    """Play the planner for a number of runs."""
    rng = Random(world.seed + 1000)
    state = Search(world, Situation(world.facts, seed=world.seed, rounds_left=runs))
    for number in range(1, runs + 1):
        plan = decide(world.book, state.situation)
        if isinstance(plan, Stop):
            state.stop = plan.reason
            break
        state.plans.append(plan)
        state.situation = play(world, state.situation, plan, number, rng)
    return state


def play(world: Landscape, situation: Situation, plan: Plan, number: int, rng: Random) -> Situation:
    names = {choice.recipe for choice in plan.recipes}
    champion = {choice.recipe for choice in situation.champion.recipes}
    outcome, ratio, low, high = world.gate(champion, names, rng)
    trial = Trial(
        plan.recipe, "1.0", plan.params, situation.base.capabilities, outcome, ratio, low, high, "", number, plan.step
    )
    composition = compose(world.book, names, number)
    became = fate(world.book, situation, trial)
    return Situation(
        facts=world.facts,
        champion=composition if became == "champion" else situation.champion,
        prerequisite=composition if became == "prerequisite" else None,
        trials=(*situation.trials, trial),
        rounds_left=(situation.rounds_left or 1) - 1,
        long_shots=situation.long_shots + 1 if plan.long_shot else 0,
        seed=situation.seed,
    )


def compose(book: RecipeBook, names: set[str], number: int = 0) -> Composition:
    provided = SEED_CAPABILITIES
    ordered = book.in_order(names)
    for recipe in ordered:
        provided = recipe.after(provided)
    return Composition(tuple(Choice(recipe.id, {}) for recipe in ordered), provided, number)


def random_subsets(world: Landscape, runs: int) -> set[str]:
    """The rival: draw legal sets, measure each once against the seed, keep the best."""
    rng = Random(world.seed + 2000)
    best, best_gain = set[str](), 0.0
    for _ in range(runs):
        names = {name for name in world.book if rng.random() < 0.5}
        while fits_together(world.book, names):
            names.discard(rng.choice(sorted(names)))
        gain = world.truth(names) + rng.gauss(0, NOISE)
        if gain > best_gain:
            best, best_gain = names, gain
    return best
