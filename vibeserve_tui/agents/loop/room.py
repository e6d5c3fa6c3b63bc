"""Making room in a conversation that fills its model's context: old tool results first, then a summary.

Nothing that was said to the model is shortened, and a call is never parted from its answer. Roles begin afresh each
time, so this is rare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vibeserve_tui.agents.loop.turns import Answer, Answers, Asked, Entry, Reply, length_of

FULL = 0.7
"""Share of the context from which on room is made."""
KEPT_RESULTS = 10
"""Tool results, counted from the end, that stay as they are."""
KEPT_TOKENS = 20_000
"""Of the end of the conversation, word for word beside a summary."""
SHOWN = 200
"""Characters of a removed result that stay: its head names what it was, its tail where the full text is."""

PLEASE_SUMMARISE = (
    "The conversation no longer fits. Call no tool now. Write a summary for yourself from which you can go on with the "
    "task: what was asked, what you found out (with paths and names), what you changed, what failed and why, and what "
    "is left to do."
)


def shortened(history: Sequence[Entry]) -> list[Entry]:
    """The history with all but the last tool results cut to a line."""
    old = sum(len(entry.answers) for entry in history if isinstance(entry, Answers)) - KEPT_RESULTS
    result = list[Entry]()
    for entry in history:
        if isinstance(entry, Answers) and old > 0:
            answers = tuple(_stub(a) if n < old else a for n, a in enumerate(entry.answers))
            old -= len(entry.answers)
            result.append(Answers(answers))
        else:
            result.append(entry)
    return result


def _stub(answer: Answer) -> Answer:
    if len(answer.text) <= 2 * SHOWN:
        return answer
    text = (
        f"{answer.text[:SHOWN]}\n[{len(answer.text) - 2 * SHOWN} characters were removed to make room; "
        f"call the tool again if you need them]\n{answer.text[-SHOWN:]}"
    )
    return replace(answer, text=text)


def summarised(history: Sequence[Entry], summary: str, characters: float) -> list[Entry]:
    """What was asked, the summary, and the end of the history of at most so many characters."""
    asked = history[0]
    assert isinstance(asked, Asked)
    begin = f"{asked.text}\n\n# What happened so far, in your own words\n{summary}"
    return [Asked(begin), *_end_of(history[1:], characters)]


def _end_of(history: Sequence[Entry], characters: float) -> Sequence[Entry]:
    """The longest end that begins with a reply, leaves something out, and is not too long."""
    room = characters
    first = len(history)
    for place in range(len(history) - 1, 0, -1):
        room -= length_of(history[place])
        if room < 0:
            break
        if isinstance(history[place], Reply):
            first = place
    return history[first:]
