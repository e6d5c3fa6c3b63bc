"""What a plan is made from: the champion, what was tried, what is left of the budget. Plain values only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vibeserve_tui.recipes.facts import Facts
from vibeserve_tui.recipes.params import Params
from vibeserve_tui.recipes.recipe import SEED_CAPABILITIES
from vibeserve_tui.recipes.tree_record import TreeRecord
from vibeserve_tui.recipes.trials import Step, Trial


@dataclass(frozen=True, slots=True)
class Choice:
    """A recipe with its parameters."""

    recipe: str
    params: Params


@dataclass(frozen=True, slots=True)
class Composition:
    """A tree by its recipes, in the order of application."""

    recipes: tuple[Choice, ...] = ()
    capabilities: frozenset[str] = SEED_CAPABILITIES
    round: int = 0
    """Whose checkpoint it is."""

    @classmethod
    def of(cls, record: TreeRecord, number: int) -> Composition:
        recipes = tuple(Choice(entry.recipe, entry.params) for entry in record.applied)
        return cls(recipes, frozenset(record.capabilities), number)

    def has(self, recipe: str) -> bool:
        return any(choice.recipe == recipe for choice in self.recipes)

    def with_choice(self, choice: Choice) -> tuple[Choice, ...]:
        """The recipes with this one added, or with its parameters changed in place."""
        if not self.has(choice.recipe):
            return (*self.recipes, choice)
        return tuple(choice if old.recipe == choice.recipe else old for old in self.recipes)


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a plan depends on; two equal situations give the same plan."""

    facts: Facts
    """Profile and metrics are the champion's; `capabilities` is taken from the tree that is asked about."""
    champion: Composition = Composition()
    seed_capabilities: frozenset[str] = SEED_CAPABILITIES
    """What round 0 provides."""
    prerequisite: Composition | None = None
    """A neutral tree that was spared because it unlocks something."""
    trials: tuple[Trial, ...] = ()
    """Of this run, oldest first."""
    experience: tuple[Trial, ...] = ()
    """Of earlier runs on this or a similar device: counted less, and never a reason not to try."""
    rounds_left: int | None = None
    seconds_left: float | None = None
    """Without what the confirmation at the end takes."""
    minimum_effect: float = 1.01
    """The smallest ratio that the gate can tell from noise."""
    long_shots: int = 0
    """How many plans in a row were long shots."""
    seed: int = 0
    """Of the run; ties are broken by draws from it."""

    @property
    def base(self) -> Composition:
        """The tree that the next recipe goes onto."""
        return self.prerequisite or self.champion

    def facts_on(self, capabilities: Iterable[str]) -> Facts:
        return replace(self.facts, capabilities=frozenset(capabilities))

    def selections_of(self, recipe: str) -> tuple[Trial, ...]:
        """When this recipe was tried as such, not for its parameters."""
        return tuple(trial for trial in self.trials if trial.recipe == recipe and trial.step is not Step.TUNE)
