"""What the engine makes of a confirmation: against the seed, and against the champion that was confirmed last."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from tests.fakes import measured
from vibeserve_tui import events as ev
from vibeserve_tui.engine import confirm
from vibeserve_tui.roles.measured import doubt_of
from vibeserve_tui.workshop import Workshop


class FakeGate:
    """Measures what it was told to, and writes down against what."""

    def __init__(self, to_seed: float, since: float = 1.0, doubt: str = "") -> None:
        self.ratios = {0: to_seed}
        self.since = since
        self.doubt = doubt
        self.against: list[int] = []

    async def confirm(self, champion: str, baseline: str, *, certain: float) -> ev.Confirmed:
        self.against.append(0)
        figures = measured(ratio=self.ratios[0]).figures
        return ev.Confirmed(champion=5, baseline=0, figures=figures, blocks=4, doubt=self.doubt)

    async def confirm_since(self, before: int) -> ev.MeasuredAgain:
        self.against.append(before)
        outcome = "accepted" if self.since > 1 else "indecisive"
        return ev.MeasuredAgain(a=before, b=5, measured=measured(outcome, ratio=self.since))


def confirmed(ratio: float) -> ev.Confirmed:
    return ev.Confirmed(champion=3, baseline=0, figures=measured(ratio=ratio).figures, blocks=4)


async def outcome(gate: FakeGate, *before: ev.Confirmed) -> list[ev.Event]:
    told: list[ev.Event] = []
    state = SimpleNamespace(
        champion=5,
        champion_commit="c5",
        rounds={0: SimpleNamespace(commit="seed")},
        confirmed=list(before),
        confirmed_headline=None,
    )
    run = SimpleNamespace(state=state, dir=SimpleNamespace(name="the-run"), emit=lambda *facts: told.extend(facts))
    await confirm(cast("Workshop", SimpleNamespace(run=run, evaluator=gate, speedup_so_far=lambda: 1.0)))
    return told[1:]


async def test_the_first_confirmation_has_only_the_seed_to_be_held_against() -> None:
    gate = FakeGate(1.5)
    assert [fact.kind for fact in await outcome(gate)] == ["confirmed"]
    assert gate.against == [0]


async def test_a_gain_that_is_not_there_makes_the_seed_the_champion_again() -> None:
    gate = FakeGate(1.0)
    assert [fact.kind for fact in await outcome(gate, confirmed(1.3))] == ["confirmed", "warned", "champion_moved"]
    assert gate.against == [0]


async def test_a_later_champion_is_held_against_the_one_confirmed_last_too() -> None:
    gate = FakeGate(1.5, since=1.2)
    assert [fact.kind for fact in await outcome(gate, confirmed(1.3))] == ["confirmed", "measured_again"]
    assert gate.against == [0, 3]


async def test_steps_that_came_to_nothing_are_said_with_the_way_back() -> None:
    facts = await outcome(FakeGate(1.5, since=1.0), confirmed(1.3))
    assert [fact.kind for fact in facts] == ["confirmed", "measured_again", "warned"]
    assert facts[-1].text == (  # type: ignore[attr-defined]
        "round 5 was not confirmed to be faster than round 3, which was confirmed before "
        "(fix: vibeserve revert the-run --to 3)"
    )


@pytest.mark.parametrize("ratio", [1.0, 0.9])
async def test_a_champion_that_was_not_confirmed_is_nothing_to_be_held_against(ratio: float) -> None:
    gate = FakeGate(1.5)
    await outcome(gate, confirmed(ratio))
    assert gate.against == [0]


@pytest.mark.parametrize("ratio", [1.5, 0.9])
async def test_figures_in_doubt_neither_confirm_a_champion_nor_dethrone_it(ratio: float) -> None:
    gate = FakeGate(ratio, doubt="the machine was too busy to measure")
    facts = await outcome(gate, confirmed(1.3))
    assert [fact.kind for fact in facts] == ["confirmed", "warned"]
    assert "not confirmed against the seed: the machine was too busy to measure (fix: " in facts[-1].text  # type: ignore[attr-defined]
    assert gate.against == [0]


async def test_what_was_in_doubt_is_nothing_to_be_held_against() -> None:
    gate = FakeGate(1.5)
    await outcome(gate, confirmed(1.3).model_copy(update={"doubt": "void"}))
    assert gate.against == [0]


@pytest.mark.parametrize(
    ("answer", "doubt"),
    [
        (measured(), ""),
        (measured("rejected", reason="futile"), ""),
        (measured("rejected", reason="crash"), ""),
        (measured("rejected", reason="guard:errors"), ""),
        (measured("rejected", reason="the answers are wrong", fault="the answers are wrong"), ""),
        (measured("rejected", reason="guard:p90_ttft_ms@c16"), "another figure got worse than is tolerated: p90_ttft_ms@c16"),
        (measured("indecisive", reason="environment"), "the machine was too busy to measure"),
        (measured("void", reason="roofline"), "faster than this device can be"),
        (measured(provisional=True), "only CPU time shows the gain"),
    ],
)  # fmt: skip
def test_a_broken_guard_and_a_busy_machine_leave_a_confirmation_in_doubt(answer: ev.Measured, doubt: str) -> None:
    assert doubt_of(answer) == doubt
