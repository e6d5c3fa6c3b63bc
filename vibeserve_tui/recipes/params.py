"""Parameters of a recipe: their legal values here, their defaults, and the neighbours of a setting.

Bounds may depend on the machine, so a domain exists only together with facts. Nothing here decides which
setting to try; that is `tuning`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vibeserve_tui.errors import SkillError, did_you_mean
from vibeserve_tui.recipes.expressions import Scope, Unknown, Value
from vibeserve_tui.recipes.facts import Facts
from vibeserve_tui.recipes.recipe import Recipe
from vibeserve_tui.recipes.recipe_spec import BoolParam, EnumParam, NumberParam

Params = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Domain:
    """The legal values of one parameter on this machine: a list, or a range when `values` is empty."""

    default: Value
    values: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False
    tunable: bool = True

    def contains(self, value: Value) -> bool:
        if self.values:
            return any(value == legal and _fits(value, legal) for legal in self.values)
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return self.low <= value <= self.high

    def neighbours(self, value: Value) -> tuple[Value, ...]:
        """The next legal values below and above; every other value where there is no order."""
        if self.values:
            if not isinstance(value, int | float) or isinstance(value, bool) or value not in self.values:
                return tuple(other for other in self.values if other != value)
            at = self.values.index(value)
            return self.values[max(0, at - 1) : at] + self.values[at + 1 : at + 2]
        assert isinstance(value, int | float)
        step = 1 if self.whole else (self.high - self.low) / 8
        near = (value / 2, value * 2 or step) if self.log else (value - step, value + step)
        legal = dict.fromkeys(self._nearest(candidate) for candidate in near)
        return tuple(candidate for candidate in legal if candidate != value)

    def _nearest(self, value: float) -> float:
        bounded = max(self.low, min(value, self.high))
        return round(bounded) if self.whole else bounded

    def __str__(self) -> str:
        return ", ".join(map(str, self.values)) or f"{self.low:g}..{self.high:g}"


def _fits(value: Value, legal: Value) -> bool:
    """Whether the value may stand where the legal one does: 1 for 1.0, but neither 1.0 nor True for 1."""
    return type(value) is type(legal) or (type(value) is int and isinstance(legal, float))


def domains(recipe: Recipe, facts: Facts) -> Mapping[str, Domain] | Unknown:
    """Every parameter's legal values, or what must be known first. Raises SkillError where a bound makes no sense."""
    scope = Scope(facts)
    found: dict[str, Domain] = {}
    for name, spec in recipe.spec.params.items():
        match spec:
            case NumberParam():
                domain = _number_domain(spec, scope)
            case BoolParam():
                default = spec.default.holds(scope)
                domain = default if isinstance(default, Unknown) else Domain(default, (False, True))
            case EnumParam():
                domain = Domain(spec.default, spec.choices)
        if isinstance(domain, Unknown):
            return domain
        relevant = True if spec.when is None else spec.when.holds(scope)
        found[name] = replace(domain, tunable=relevant is True)
    return found


def resolve(recipe: Recipe, chosen: Params, facts: Facts) -> Params | Unknown:
    """All parameters, chosen or default. Raises SkillError for a name or a value that is not legal."""
    known = domains(recipe, facts)
    if isinstance(known, Unknown):
        return known
    for name, value in chosen.items():
        where = f"{recipe.id}: {name}"
        if name not in known:
            hint = did_you_mean(name, known)
            raise SkillError(f"no such parameter{hint}", where=where, fix=f"it has: {', '.join(known) or 'none'}")
        if not known[name].contains(value):
            raise SkillError(f"{value!r} is not a legal value", where=where, fix=f"legal: {known[name]}")
    return {name: chosen.get(name, domain.default) for name, domain in known.items()}


def _number_domain(spec: NumberParam, scope: Scope) -> Domain | Unknown:
    whole = spec.type == "int"
    default = spec.default.number(scope)
    if isinstance(default, Unknown):
        return default
    bounds: list[float] = []
    for expression in spec.range or spec.choices or ():
        bound = expression.number(scope)
        if isinstance(bound, Unknown):
            return bound
        bounds.append(round(bound) if whole else bound)
    bounds = sorted(set(bounds))
    if spec.choices is not None:
        # Upwards, because a default such as a buffer's length is a need.
        snapped = next((bound for bound in bounds if bound >= default), bounds[-1])
        return Domain(snapped, tuple(bounds), log=spec.log)
    low, high = bounds[0], bounds[-1]
    clamped = max(low, min(round(default) if whole else default, high))
    return Domain(clamped, low=low, high=high, whole=whole, log=spec.log)
