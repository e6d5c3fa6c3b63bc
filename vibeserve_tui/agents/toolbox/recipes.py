"""list_recipes and apply_recipe: the playbook's recipes with what they did so far, for agents that think for themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from vibeserve_tui.agents.protocol import Tool, ToolError
from vibeserve_tui.agents.toolbox.arguments import Arguments, told
from vibeserve_tui.agents.toolbox.outputs import Outputs
from vibeserve_tui.errors import did_you_mean
from vibeserve_tui.recipes.apply import Applied, Conflict, apply
from vibeserve_tui.recipes.candidates import Candidate, Market
from vibeserve_tui.recipes.chain import explain
from vibeserve_tui.recipes.expressions import Unknown
from vibeserve_tui.recipes.params import domains
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Situation
from vibeserve_tui.recipes.trials import Trial
from vibeserve_tui.recipes.why import factor

LIMIT = 10_000
DIFF_LIMIT = 20_000
PART_LIMIT = 3000
MOST_TRIALS = 4
"""Of one recipe in a list."""


@dataclass(frozen=True, slots=True)
class RecipeDesk:
    book: RecipeBook
    situation: Situation

    def listed(self) -> str:
        """Those within reach, best first, then the others with their reason."""
        market = Market(self.book, self.situation)
        lines = ["within reach, best first:"]
        lines += [line for candidate in market.backlog() for line in self._candidate(candidate)] or ["none"]
        lines += ["", "out of reach:", *(f"{name}: {reason}" for name, reason in market.refusals().items())]
        return "\n".join(lines)

    def _candidate(self, candidate: Candidate) -> Iterator[str]:
        recipe = candidate.goal
        path = "" if len(candidate.chain) == 1 else f", after {' → '.join(r.id for r in candidate.chain[:-1])}"
        expected = f"expected {factor(candidate.total.mean)}, chance of a gain {candidate.chance:.0%}"
        yield f"{recipe.id} ({recipe.spec.layer.value}, {recipe.spec.risk.value}): {recipe.spec.title}; {expected}{path}"
        known = domains(recipe, self.situation.facts)
        if recipe.spec.params and not isinstance(known, Unknown):
            yield "  parameters: " + "; ".join(f"{name} = {d.default} of {d}" for name, d in known.items())
        trials = [t for t in (*self.situation.trials, *self.situation.experience) if t.recipe == recipe.id]
        yield from (f"  {_trial(trial)}" for trial in trials[-MOST_TRIALS:])

    def find(self, name: str) -> str:
        if name not in self.book:
            raise ToolError(f"there is no recipe {name!r}{did_you_mean(name, self.book)}; list_recipes shows them")
        return name


class ListRecipes(Arguments):
    pass


class ApplyRecipe(Arguments):
    id: str = Field(max_length=64)
    params: dict[str, bool | int | float | str] = Field(default={}, description="absent ones have their defaults")


def list_tool(desk: RecipeDesk, outputs: Outputs) -> Tool:
    async def list_recipes(arguments: ListRecipes) -> str:  # noqa: ARG001 - a tool without arguments
        return outputs.cut(desk.listed(), LIMIT)

    description = (
        "The machine-applicable recipes: which fit now, what they are expected to give, what they gave before."
    )
    return Tool("list_recipes", description, ListRecipes, list_recipes)


def apply_tool(desk: RecipeDesk, workspace: Path, outputs: Outputs) -> Tool:
    async def apply_recipe(arguments: ApplyRecipe) -> str:
        recipe = desk.book[desk.find(arguments.id)]
        with told():
            result = apply(recipe, arguments.params, workspace, desk.situation.facts)
        if isinstance(result, Applied):
            diff = outputs.cut(result.diff, DIFF_LIMIT)
            return f"{explain(result)}{_merged(result)}\n{diff}".rstrip()
        if isinstance(result, Conflict):
            raise ToolError(f"{recipe.id} {explain(result)}; nothing was changed. Adapt it by hand:\n{_parts(result)}")
        raise ToolError(f"{recipe.id} {explain(result)}; nothing was changed")

    description = "Apply a recipe to the workspace; all of it or nothing."
    return Tool("apply_recipe", description, ApplyRecipe, apply_recipe, read_only=False)


def _merged(result: Applied) -> str:
    return f"; merged with other changes in {', '.join(result.merged)}: look at them" if result.merged else ""


def _parts(conflict: Conflict) -> str:
    return "\n".join(
        f"--- {part.part}: there is\n{part.ours[:PART_LIMIT]}\n--- the recipe would put\n{part.theirs[:PART_LIMIT]}"
        for part in conflict.parts
    )


def _trial(trial: Trial) -> str:
    where = f"round {trial.round}" if trial.weight == 1 else "an earlier run"
    gain = f"×{trial.ratio:.2f}, " if trial.ratio is not None else ""
    return f"tried in {where}: {gain}{trial.outcome.value} {trial.reason}"[:200].rstrip()
