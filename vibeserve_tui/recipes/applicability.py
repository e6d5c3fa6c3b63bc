"""Whether a recipe applies, and if not, the one reason that a person should read.

The environment (machine, model, traffic, target) is asked apart from the tree, because another recipe can
change the tree but nothing changes the environment during a run.
"""

from __future__ import annotations

from vibeserve_tui.recipes.expression_syntax import ExpressionError
from vibeserve_tui.recipes.expressions import Scope, Unknown
from vibeserve_tui.recipes.facts import Facts
from vibeserve_tui.recipes.params import domains
from vibeserve_tui.recipes.recipe import Recipe
from vibeserve_tui.recipes.recipe_spec import Requires


def why_not_here(recipe: Recipe, facts: Facts) -> str | None:
    """Why this recipe can never be applied in this run, or None."""
    if facts.backend is None:
        return "unknown: backend"
    if facts.backend not in recipe.spec.requires.backends:
        return f"is for {', '.join(recipe.spec.requires.backends)}, not {facts.backend}"
    try:
        for evidence in recipe.spec.evidence:
            evidence.expr.holds(Scope(facts))
            if evidence.bound is not None:
                evidence.bound.number(Scope(facts))
        reason = _why_not_with(recipe.spec.requires, facts)
        parameters = None if reason else domains(recipe, facts)
    except ExpressionError as error:
        return f"is faulty: {error}"
    return f"{parameters} in its parameters" if isinstance(parameters, Unknown) else reason


def _why_not_with(requires: Requires, facts: Facts) -> str | None:
    if requires.tools and facts.tools is None:
        return "unknown: tools"
    if missing := set(requires.tools) - (facts.tools or frozenset()):
        return f"needs a working {', '.join(sorted(missing))}"
    for condition in requires.conditions():
        answer = condition.holds(Scope(facts))
        if isinstance(answer, Unknown):
            return f"{answer} in {condition.source}"
        if not answer:
            return f"does not hold here: {condition.source}"
    return None


def why_not_on(recipe: Recipe, capabilities: frozenset[str]) -> str | None:
    """Why this recipe cannot be applied to a tree that provides `capabilities`, or None."""
    if missing := recipe.needs - capabilities:
        return f"needs {', '.join(sorted(missing))}"
    if present := recipe.conflicts & capabilities:
        return f"conflicts with {', '.join(sorted(present))}"
    return None
