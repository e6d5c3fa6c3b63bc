"""The expression language of recipes: a small, total, three-valued calculator.

It evaluates an allow-list of syntax over `Facts` with its own walker; nothing is ever compiled or run. A value
that is not known makes the answer `Unknown`, which carries the missing names, and propagates as in Kleene's
logic: `False and unknown` is still False. Every fault of an expression is an `ExpressionError`.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from vibeserve_tui.recipes.expression_syntax import (
    ARITHMETIC,
    BINARY,
    ORDER,
    QUESTIONS,
    Checker,
    ExpressionError,
    syntax_tree,
)
from vibeserve_tui.recipes.facts import Facts

MAX_MAGNITUDE = 2.0**63

Value = bool | int | float | str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """An answer that needs facts nobody has."""

    names: frozenset[str]

    def __str__(self) -> str:
        return f"unknown ({', '.join(sorted(self.names))})"


Answer = Value | Unknown


@dataclass(frozen=True, slots=True)
class Scope:
    """What one evaluation may see."""

    facts: Facts
    params: Mapping[str, Value] = field(default_factory=dict)
    counters: Mapping[str, int] | None = None
    """The candidate's own counters, in activation checks only."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression: its syntax and every name in it are legal, so evaluating can only fail on types."""

    source: str
    tree: ast.expr = field(compare=False, repr=False)
    params: frozenset[str] = frozenset()
    """Names read as `params.x`; the recipe checks that it declares them."""
    questions: frozenset[tuple[str, str]] = frozenset()
    """Function and word of every `has('x')`, `share('x')`, `counter('x')`, `forbids('x')`, `provides('x')`."""

    def __str__(self) -> str:
        return self.source

    def asked(self, function: str) -> frozenset[str]:
        return frozenset(word for name, word in self.questions if name == function)

    def evaluate(self, scope: Scope) -> Answer:
        """The value, or `Unknown`. Raises ExpressionError when operands do not fit together."""
        return _Evaluator(self.source, scope).value(self.tree)

    def holds(self, scope: Scope) -> bool | Unknown:
        """The answer to a yes/no question; anything else is an ExpressionError."""
        answer = self.evaluate(scope)
        if isinstance(answer, bool | Unknown):
            return answer
        raise ExpressionError(f"gives {answer!r}, not yes or no", where=self.source, fix="compare it with something")

    def number(self, scope: Scope) -> float | Unknown:
        """The answer as a number; anything else is an ExpressionError."""
        answer = self.evaluate(scope)
        if isinstance(answer, Unknown):
            return answer
        return _number(answer, self.source)


@lru_cache(maxsize=1024)
def parse(source: str) -> Expression:
    """Read and check one expression. Raises ExpressionError on syntax, limits, unknown names and wrong arity."""
    tree = syntax_tree(source)
    checker = Checker(source)
    checker.check(tree)
    return Expression(source, tree, frozenset(checker.params), frozenset(checker.questions))


class _Evaluator:
    def __init__(self, source: str, scope: Scope) -> None:
        self.source = source
        self.scope = scope

    def value(self, node: ast.expr) -> Answer:
        match node:
            case ast.Constant(value=str() as word):
                return word
            case ast.Constant(value=bool() | int() | float() as constant):
                return self._bounded(constant)
            case ast.Name():
                return _known(self.scope.facts.backend, "backend")
            case ast.Attribute(value=ast.Name(id=base), attr=attr):
                return self._attribute(base, attr)
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return tuple(str(item.value) for item in items if isinstance(item, ast.Constant))
        return self._operation(node)

    def _operation(self, node: ast.expr) -> Answer:
        match node:
            case ast.Call(func=ast.Name(id=name), args=args):
                return self._call(name, args)
            case ast.UnaryOp(op=op, operand=operand):
                return self._negation(operand) if isinstance(op, ast.Not) else self._arithmetic(operator.neg, [operand])
            case ast.BinOp(left=left, op=op, right=right):
                return self._arithmetic(BINARY[type(op)], [left, right])
            case ast.BoolOp(op=op, values=values):
                return self._junction(isinstance(op, ast.And), (self._truth(v) for v in values))
            case ast.Compare(left=left, ops=ops, comparators=rights):
                return self._comparison(left, ops, rights)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                chosen = self._truth(test)
                return chosen if isinstance(chosen, Unknown) else self.value(body if chosen else orelse)
        raise AssertionError(f"the checker lets no {type(node).__name__} through")

    def _negation(self, node: ast.expr) -> bool | Unknown:
        answer = self._truth(node)
        return answer if isinstance(answer, Unknown) else not answer

    def _attribute(self, base: str, attr: str) -> Answer:
        facts = self.scope.facts
        if base == "params":
            return _known(self.scope.params.get(attr), f"params.{attr}")
        if base == "metrics":
            return _known(facts.metrics.get(attr), f"metrics.{attr}")
        group: object = getattr(facts, base)
        found: object = getattr(group, attr)
        return _known(found, f"{base}.{attr}")

    def _call(self, name: str, args: list[ast.expr]) -> Answer:
        if name in QUESTIONS:
            (arg,) = args
            assert isinstance(arg, ast.Constant)
            return _ask(name, str(arg.value), self.scope)
        return self._arithmetic(ARITHMETIC[name][2], args)

    def _arithmetic(self, function: Callable[..., float], nodes: Iterable[ast.expr]) -> Answer:
        numbers: list[float] = []
        missing: frozenset[str] = frozenset()
        for answer in map(self.value, nodes):
            if isinstance(answer, Unknown):
                missing |= answer.names
            else:
                numbers.append(_number(answer, self.source))
        if missing:
            return Unknown(missing)
        try:
            return self._bounded(function(*numbers))
        except (ArithmeticError, ValueError) as error:
            raise ExpressionError(f"cannot be computed ({error})", where=self.source) from error

    def _bounded(self, number: float) -> float:
        # Magnitudes beyond this mean a mistake; without the bound a product could grow to megabytes of digits.
        if not abs(number) <= MAX_MAGNITUDE:
            raise ExpressionError("a number beyond 2**63", where=self.source)
        return number

    def _truth(self, node: ast.expr) -> bool | Unknown:
        answer = self.value(node)
        if isinstance(answer, bool | Unknown):
            return answer
        raise ExpressionError(f"{answer!r} used as yes or no", where=self.source)

    def _junction(self, is_and: bool, answers: Iterator[bool | Unknown]) -> bool | Unknown:
        missing: frozenset[str] = frozenset()
        for answer in answers:
            if isinstance(answer, Unknown):
                missing |= answer.names
            elif answer is not is_and:
                return answer
        return Unknown(missing) if missing else is_and

    def _comparison(self, left: ast.expr, ops: list[ast.cmpop], rights: list[ast.expr]) -> bool | Unknown:
        values = [self.value(node) for node in (left, *rights)]
        links = (self._link(op, values[i], values[i + 1]) for i, op in enumerate(ops))
        return self._junction(True, links)

    def _link(self, op: ast.cmpop, a: Answer, b: Answer) -> bool | Unknown:
        if isinstance(a, Unknown):
            return Unknown(a.names | b.names) if isinstance(b, Unknown) else a
        if isinstance(b, Unknown):
            return b
        if isinstance(op, ast.Eq | ast.NotEq):
            return (a == b) is isinstance(op, ast.Eq)
        if isinstance(op, ast.In | ast.NotIn):
            if isinstance(a, str) and isinstance(b, str | tuple):
                return (a in b) is isinstance(op, ast.In)
            raise ExpressionError(f"cannot look for {a!r} in {b!r}", where=self.source)
        return ORDER[type(op)](_number(a, self.source), _number(b, self.source))


def _known(value: object, name: str) -> Answer:
    match value:
        case None:
            return Unknown(frozenset({name}))
        case bool() | int() | float() | str() | tuple():
            return value
        case frozenset():
            return tuple(sorted(str(item) for item in value))
    raise ExpressionError(f"{name} holds a {type(value).__name__}, which expressions cannot read")


def _number(value: Value, source: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise ExpressionError(f"{value!r} is not a number", where=source)


def _ask(question: str, word: str, scope: Scope) -> Answer:
    facts = scope.facts
    known: Mapping[str, frozenset[str] | None] = {
        "has": facts.device.capabilities,
        "forbids": facts.target.forbids,
        "provides": facts.capabilities,
    }
    unknown = Unknown(frozenset({f"{question}({word!r})"}))
    if question == "counter":
        return unknown if scope.counters is None else scope.counters.get(word, 0)
    if question == "share":
        return facts.profile.shares.get(word, unknown) if facts.profile.usable else unknown
    words = known[question]
    return unknown if words is None else word in words
