"""Assets: the code a recipe inserts, rendered when its name ends in .j2.

Templates know `if`, `for` and expressions over the parameters and the facts, nothing else: no includes, macros
or assignments. A fact that is not known is undefined, and reading it is an error instead of the text "None".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vibeserve_tui.errors import SkillError
from vibeserve_tui.recipes.expression_syntax import ExpressionError
from vibeserve_tui.recipes.expressions import Scope, Unknown, parse
from vibeserve_tui.recipes.facts import ATTRIBUTES
from vibeserve_tui.recipes.recipe import Recipe
from vibeserve_tui.recipes.regions import whole_lines

_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Name, nodes.Getattr, nodes.Getitem,
    nodes.Const, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Add, nodes.Sub, nodes.Mul,
    nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.CondExpr, nodes.Concat, nodes.Tuple, nodes.List,
    nodes.Filter, nodes.Call, nodes.Keyword,
)  # fmt: skip
_QUESTIONS = ("has", "forbids", "provides")


def asset_text(recipe: Recipe, name: str, scope: Scope) -> str:
    """The asset as it goes into the tree, ending in a line break. Raises SkillError where it cannot be rendered."""
    source = recipe.asset(name)
    if not name.endswith(".j2"):
        return whole_lines(source)
    where = str(recipe.folder / name)
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    # Without range() every loop runs over parameters and facts, which are short.
    environment.globals.clear()
    try:
        for node in environment.parse(source).find_all(nodes.Node):
            if not isinstance(node, _ALLOWED):
                kind = type(node).__name__.lower()
                raise SkillError(
                    f"{kind!r} is not used in assets", where=f"{where}:{node.lineno}", fix="use if and for"
                )
        return whole_lines(environment.from_string(source).render(_names(scope)))
    except (TemplateError, ArithmeticError, TypeError, ValueError, ExpressionError) as error:
        raise SkillError(f"cannot be rendered: {error}", where=where, fix="see the names recipes may use") from error


def _names(scope: Scope) -> Mapping[str, object]:
    facts = scope.facts
    known: dict[str, object] = {"params": dict(scope.params), "backend": facts.backend, "metrics": dict(facts.metrics)}
    for group in ATTRIBUTES.keys() - {"metrics"}:
        values: object = getattr(facts, group)
        known[group] = {name: getattr(values, name) for name in ATTRIBUTES[group] if getattr(values, name) is not None}
    return {**{name: value for name, value in known.items() if value is not None}, **_questions(scope)}


def _questions(scope: Scope) -> Mapping[str, Callable[[str], bool]]:
    def ask(function: str) -> Callable[[str], bool]:
        def answer(word: str) -> bool:
            truth = parse(f"{function}({word!r})").holds(scope)
            if isinstance(truth, Unknown):
                raise ExpressionError(str(truth))
            return truth

        return answer

    return {function: ask(function) for function in _QUESTIONS}
