"""The gate's answer as a fact of the journal: its figures in their own units, each with how far the floor still is.

Where the sides of a comparison were exchanged, as for an ablation, they are put back here.
"""

from __future__ import annotations

from vibeserve_tui import events as ev
from vibeserve_tui import reasons
from vibeserve_tui.evaluation.floors import Floors
from vibeserve_tui.evaluation.gate import Closed
from vibeserve_tui.metrics import Comparison, Figure, Role, gain_in_words


def as_fact(comparison: Comparison, evidence: str, floors: Floors, *, swap: bool = False) -> ev.Measured:
    """`evidence` names the blob from which it can be computed again; `swap` when A and B were exchanged."""
    return ev.Measured(
        outcome=comparison.outcome.value,
        reason=comparison.reason,
        blocks=comparison.used,
        figures=tuple(_figure(figure, floors, swap=swap) for figure in comparison.figures),
        evidence=evidence,
        provisional=comparison.provisional,
        took_s=round(comparison.took_s, 1),
    )


DISPROVED = ("crash", "guard:errors")
"""Ends of a confirmation that are the champion's own fault, whatever its figures."""


def doubt_of(measured: ev.Measured) -> str:
    """Why a confirmation confirms nothing, though it did not disprove the gain either; "" where it did one of both."""
    if measured.provisional:
        return "only CPU time shows the gain"
    undecided = measured.outcome == "void" or measured.reason == Closed.ENVIRONMENT
    guarded = measured.reason.startswith("guard:") and measured.reason not in DISPROVED
    return reasons.in_words(measured.reason) if undecided or guarded else ""


def in_words(comparison: Comparison) -> str:
    """×1.23 [1.17, 1.29]"""
    return gain_in_words(comparison.ratio, comparison.ci_low, comparison.ci_high) or "not measured"


def _figure(figure: Figure, floors: Floors, *, swap: bool) -> ev.Figure:
    a, b = (figure.b, figure.a) if swap else (figure.a, figure.b)
    low, high = (figure.ci_high, figure.ci_low) if swap else (figure.ci_low, figure.ci_high)
    turn = _inverse if swap else (lambda ratio: ratio)
    return ev.Figure(
        metric=figure.spec.name,
        level=figure.spec.level or "",
        unit=figure.spec.unit,
        direction=figure.spec.direction.value,
        a=a,
        b=b,
        ratio=turn(figure.ratio),
        ci_low=turn(low),
        ci_high=turn(high),
        headline=figure.spec.role is Role.HEADLINE,
        guard=figure.spec.role is Role.GUARD,
        headroom=floors.distance(figure.spec.key, figure.spec.direction, b),
    )


def _inverse(ratio: float | None) -> float | None:
    return 1 / ratio if ratio else None
