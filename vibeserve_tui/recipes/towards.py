"""The way to one named recipe: itself, the first link of the chain to it, or the swap that lets it in. Pure.

The planner asks what is worth trying next; this asks only how to come to what somebody else has chosen.
"""

from __future__ import annotations

from dataclasses import replace

from vibeserve_tui.recipes.candidates import Market
from vibeserve_tui.recipes.planner import Stop
from vibeserve_tui.recipes.plans import Plan, recipe_plan, swap_plan
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Situation
from vibeserve_tui.recipes.swaps import swaps


def towards(book: RecipeBook, situation: Situation, goal: str) -> Plan | Stop:
    """The next thing to try on the way to `goal`, or why there is no way. It does not ask whether it is worth it."""
    if goal not in book:
        return Stop(f"there is no recipe {goal!r}")
    market = Market(book, situation)
    found = next((candidate for candidate in market.backlog() if candidate.goal.id == goal), None)
    if situation.prerequisite and (found is None or not found.recipe.needs - situation.champion.capabilities):
        # Only what needs the spared tree may start from one that did not win.
        return towards(book, replace(situation, prerequisite=None), goal)
    if found is not None:
        return recipe_plan(market, found, ())
    exchange = next((swap for swap in swaps(market) if swap.recipe.id == goal), None)
    return swap_plan(market, exchange) if exchange else Stop(market.refusals()[goal])
