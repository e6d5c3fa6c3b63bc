"""The run so far in a few lines of text, each part bounded: a prompt of round 200 is no longer than one of round 10."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vibeserve_tui import events as ev
from vibeserve_tui.agents.loop.transcript import BUDGET_LEFT
from vibeserve_tui.agents.toolbox.record import issue_line, round_line
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state.issues import in_order
from vibeserve_tui.state.workspace import Store

SHOWN_ROUNDS = 10
SHOWN_ISSUES = 15
SHOWN_NOTES = 8
SHOWN_FILES = 60
MEMORY_LIMIT = 4000
PLATEAU = 3
"""Rounds in a row, about one part of the server, of which none was kept."""


def standing(state: RunState, *, rounds_left: int, seconds_left: float) -> str:
    """Champion and what is left of the budget."""
    lines = [_champion(state)] if state.rounds else []
    money = _money(state)
    lines.append(
        f"{BUDGET_LEFT} {max(0, rounds_left)} rounds, {max(0.0, seconds_left) / 60:.0f} minutes{f', {money}' if money else ''}."
    )
    return "\n".join(lines)


def _champion(state: RunState) -> str:
    record = state.rounds[state.champion]
    if not state.champion:
        return "The champion is the seed, round 0."
    way = [state.rounds[number].measured for number in state.measured_way(state.champion)]
    ratios = [step.headline.ratio for step in way if step and step.headline and step.headline.ratio]
    # One step that was kept without a measurement leaves the whole open.
    total = f", ×{math.prod(ratios):.2f} over the seed as the product of its rounds" if len(ratios) == len(way) else ""
    made_of = f"; recipes in its tree: {', '.join(record.skills)}" if record.skills else ""
    return f"The champion is round {state.champion}: {record.task.title}{total}{made_of}."


def _money(state: RunState) -> str:
    if state.max_usd is None:
        return ""
    spent = "an unknown part" if state.usd is None else f"{state.usd:.2f}"
    return f"{spent} of {state.max_usd:.2f} USD spent"


def rounds_in_words(state: RunState) -> str:
    numbers = sorted(state.rounds)
    earlier = numbers[:-SHOWN_ROUNDS]
    lines = [f"({len(earlier)} earlier rounds; `rounds` shows them)"] if earlier else []
    for number in numbers[-SHOWN_ROUNDS:]:
        record = state.rounds[number]
        claim = record.task.hypothesis.id if record.task.hypothesis else ""
        settled = f"; hypothesis {claim} {record.hypothesis_outcome}" if record.hypothesis_outcome else ""
        lines.append(f"{round_line(record)}{settled}")
    return "\n".join(lines) or "none yet"


def board_in_words(state: RunState) -> str:
    open_ones = [issue for issue in in_order(state.issues.values()) if issue.status is not ev.IssueStatus.DONE]
    lines = [issue_line(issue)[:300] for issue in open_ones[:SHOWN_ISSUES]]
    if len(open_ones) > SHOWN_ISSUES:
        lines.append(f"(and {len(open_ones) - SHOWN_ISSUES} more; `issues` searches them)")
    return "\n".join(lines) or "empty"


def memory_in_words(state: RunState) -> str:
    """Its end, from a whole line on: what was learnt last counts most."""
    text = state.memory.strip()
    if len(text) <= MEMORY_LIMIT:
        return text or "empty"
    return "(the beginning is left out; `memory` searches it)\n" + text[-MEMORY_LIMIT:].partition("\n")[2]


def notes_of(state: RunState) -> list[str]:
    return [note[:1000] for note in state.notes[-SHOWN_NOTES:]]


def stuck_family(state: RunState) -> str:
    """The part of the server on which the last rounds brought nothing; "" when there is none."""
    last = [state.rounds[number] for number in sorted(state.rounds) if number][-PLATEAU:]
    families = {record.task.family for record in last}
    fruitless = len(last) == PLATEAU and all(record.outcome is not ev.Outcome.KEPT for record in last)
    return families.pop() if fruitless and len(families) == 1 else ""


def advices(state: RunState) -> Iterator[str]:
    """What the last rounds demand of the next one."""
    last = state.rounds[max(state.rounds)] if state.rounds else None
    if last is not None and last.number and last.outcome is ev.Outcome.FAILED:
        yield f"Round {last.number} failed in all its attempts: plan something strictly smaller, or something else."
    if family := stuck_family(state):
        yield f"The last {PLATEAU} rounds were about `{family}` and brought nothing: work on another part of the server."


def tree_in_words(store: Store, commit: str) -> str:
    files = store.files(commit)
    more = f"\n(and {len(files) - SHOWN_FILES} more)" if len(files) > SHOWN_FILES else ""
    return "Files: " + ", ".join(files[:SHOWN_FILES]) + more


def hypothesis_in_words(hypothesis: ev.Hypothesis | None) -> str:
    if hypothesis is None:
        return "none was stated"
    lines = [hypothesis.claim]
    known = {
        "Mechanism": hypothesis.mechanism,
        "Expected": f"×{hypothesis.expected_low:.2f} to ×{hypothesis.expected_high:.2f} over the champion on {hypothesis.metric or 'the headline metric'}",
        "Wrong if": hypothesis.falsifier,
        "Counter that must rise": hypothesis.activation,
        "Must stay as it is": "; ".join(hypothesis.invariants),
        "Refines": hypothesis.parent,
    }
    return "\n".join([*lines, *(f"{name}: {text}" for name, text in known.items() if text)])
