"""The syntax of the expression language: what is legal, checked when a recipe is read.

Only what stands in the tables here exists. Text is parsed as Python syntax and never compiled; everything the
evaluator would not know is refused with the nearest name that exists.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping

from vibeserve_tui.errors import SkillError, did_you_mean
from vibeserve_tui.recipes.facts import ATTRIBUTES

MAX_CHARACTERS = 512
MAX_NODES = 200
MAX_DEPTH = 16


class ExpressionError(SkillError):
    """An expression that cannot be read, or whose operands do not fit together."""


def _ceil_pow2(x: float) -> int:
    return 1 << max(0, math.ceil(x) - 1).bit_length()


def _floor_pow2(x: float) -> int:
    return 1 << max(0, math.floor(x).bit_length() - 1)


def _clamp(x: float, low: float, high: float) -> float:
    return max(low, min(x, high))


_MANY = 200
ARITHMETIC: Mapping[str, tuple[int, int, Callable[..., float]]] = {
    "min": (1, _MANY, lambda *xs: min(xs)),
    "max": (1, _MANY, lambda *xs: max(xs)),
    "abs": (1, 1, abs),
    "round": (1, 1, round),
    "ceil": (1, 1, math.ceil),
    "floor": (1, 1, math.floor),
    "log2": (1, 1, math.log2),
    "clamp": (3, 3, _clamp),
    "ceil_pow2": (1, 1, _ceil_pow2),
    "floor_pow2": (1, 1, _floor_pow2),
}
QUESTIONS = ("has", "share", "counter", "forbids", "provides")
FUNCTIONS = frozenset({*ARITHMETIC, *QUESTIONS})
NAMES = frozenset({*ATTRIBUTES, "backend", "params"})

BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
ORDER: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


_EQUALITY = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)


class Checker:
    """Refuses whatever the evaluator would not know, so that a recipe fails when it is read, not when it is used."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.params: set[str] = set()
        self.questions: set[tuple[str, str]] = set()

    def check(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=bool() | int() | float() | str()):
                return
            case ast.Name(id=name):
                self._name(name)
            case ast.Attribute(value=ast.Name(id=base), attr=attr):
                self._attribute(base, attr)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                self._call(name, args)
            case ast.Tuple(elts=items) | ast.List(elts=items):
                self._words(items)
            case ast.BoolOp() | ast.IfExp() | ast.UnaryOp(op=ast.Not() | ast.USub()):
                self._children(node)
            case ast.BinOp(op=op) if type(op) in BINARY:
                self._children(node)
            case ast.Compare(ops=ops) if all(type(op) in ORDER or isinstance(op, _EQUALITY) for op in ops):
                self._children(node)
            case _:
                raise ExpressionError(f"{type(node).__name__} is not part of the language", where=self.source)

    def _children(self, node: ast.expr) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.check(child)

    def _name(self, name: str) -> None:
        if name == "backend":
            return
        if name in NAMES:
            raise ExpressionError(f"{name!r} is a group: read one of its attributes", where=self.source)
        raise ExpressionError(f"no name {name!r}{did_you_mean(name, NAMES)}", where=self.source)

    def _attribute(self, base: str, attr: str) -> None:
        if base == "params":
            self.params.add(attr)
        elif base not in ATTRIBUTES:
            raise ExpressionError(f"no name {base!r}{did_you_mean(base, NAMES)}", where=self.source)
        elif attr not in ATTRIBUTES[base]:
            hint = did_you_mean(attr, ATTRIBUTES[base])
            raise ExpressionError(f"{base} has no {attr!r}{hint}", where=self.source)

    def _call(self, name: str, args: list[ast.expr]) -> None:
        if name in QUESTIONS:
            match args:
                case [ast.Constant(value=str() as word)]:
                    self.questions.add((name, word))
                    return
            raise ExpressionError(f"{name}() asks about one quoted word", where=self.source)
        if name not in ARITHMETIC:
            raise ExpressionError(f"no function {name!r}{did_you_mean(name, FUNCTIONS)}", where=self.source)
        least, most, _ = ARITHMETIC[name]
        if not least <= len(args) <= most:
            raise ExpressionError(f"{name}() takes {least} arguments, not {len(args)}", where=self.source)
        for arg in args:
            self.check(arg)

    def _words(self, items: list[ast.expr]) -> None:
        for item in items:
            if not (isinstance(item, ast.Constant) and isinstance(item.value, str)):
                raise ExpressionError("a list holds quoted words only", where=self.source)


def syntax_tree(source: str) -> ast.expr:
    if len(source) > MAX_CHARACTERS:
        raise ExpressionError(f"{len(source)} characters, at most {MAX_CHARACTERS}", where=source[:40] + "…")
    if "\\" in source:
        raise ExpressionError("backslashes are not part of the language", where=source)
    try:
        # As errors: "1or 2" is legal Python with a warning, here it is a typing mistake.
        with warnings.catch_warnings(action="error"):
            tree = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"not an expression ({error})", where=source) from error
    nodes = 0
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        nodes += len(level)
        level = [child for node in level for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        if not level:
            break
    else:
        raise ExpressionError(f"nested deeper than {MAX_DEPTH}", where=source)
    if nodes > MAX_NODES:
        raise ExpressionError(f"{nodes} parts, at most {MAX_NODES}", where=source)
    return tree
