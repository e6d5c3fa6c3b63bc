"""Questions about a run without a model: the records that the question's words point at, and no more than that."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vibeserve_tui import events as ev
from vibeserve_tui.agents.toolbox.record import issue_line, round_in_full, round_line
from vibeserve_tui.roles.standing import standing
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state.issues import in_order

SHOWN = 8
"""Lines of a search."""
NO_MODEL = "No model answers here: this is a lookup in the run's records."

_ROUND = re.compile(r"\b(?:round|r|#)\s*(\d{1,4})\b", re.IGNORECASE)
_LEFT = re.compile(r"\b(left|next|todo|remain\w*|try|idea\w*|open|backlog)\b", re.IGNORECASE)
_BEST = re.compile(r"\b(best|champion|fast\w*|result|gain\w*|speed\w*)\b", re.IGNORECASE)
_IDLE = frozenset(
    {
        "a", "an", "and", "are", "at", "be", "by", "did", "do", "does", "for", "how", "i", "in", "is", "it", "of",
        "on", "or", "that", "the", "there", "this", "to", "was", "we", "were", "what", "when", "which", "who", "why", "with", "you",
    }
)  # fmt: skip


def lookup(state: RunState, question: str) -> str:
    """What the records say to the question's words; it says that it is no more than that."""
    return "\n".join([NO_MODEL, "", *_found(state, question)])


def _found(state: RunState, question: str) -> Iterator[str]:
    numbers = [int(number) for number in _ROUND.findall(question)]
    for number in dict.fromkeys(numbers):
        yield from _about_round(state, number)
    if numbers:
        return
    if _LEFT.search(question):
        yield "Open on the board, the most urgent first:"
        waiting = [
            i for i in in_order(state.issues.values()) if i.status in (ev.IssueStatus.OPEN, ev.IssueStatus.DOING)
        ]
        yield from ([f"  {issue_line(issue)}" for issue in waiting[:SHOWN]] or ["  nothing"])
        return
    if _BEST.search(question):
        yield standing(
            state,
            rounds_left=state.rounds_left,
            seconds_left=60 * state.max_minutes - state.active_s,
        )
        yield from (f"  {round_line(state.rounds[number])}" for number in state.lineage(state.champion))
        return
    yield from _search(state, question)


def _about_round(state: RunState, number: int) -> Iterator[str]:
    record = state.rounds.get(number)
    here = state.in_flight
    if record is not None:
        yield from round_in_full(record)
    elif here is not None and here.number == number:
        yield f"r{number} is under way (attempt {here.attempt}): {here.task.title}"
        yield from (f"  rejected: {reason}" for reason in here.failures)
    else:
        yield f"There is no round {number}; the last is {max(state.rounds, default=0)}."


def _search(state: RunState, question: str) -> Iterator[str]:
    """Records by the number of the question's words that they hold."""
    words = {word for word in re.findall(r"[\w-]{2,}", question.lower()) if word not in _IDLE}
    lines = [round_line(state.rounds[number]) for number in sorted(state.rounds)]
    lines += [issue_line(issue) for issue in in_order(state.issues.values())]
    lines += [line.removeprefix("- ") for line in state.memory.splitlines() if line.startswith("- ")]
    hits = {line: sum(word in line.lower() for word in words) for line in dict.fromkeys(lines)}
    best = sorted((line for line in hits if hits[line]), key=lambda line: -hits[line])[:SHOWN]
    yield from best or [f"Nothing in rounds, board or memory holds any of: {', '.join(sorted(words)) or 'no words'}."]
