"""Can this model call tools? Asked before a role depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vibeserve_tui.agents.local.actions import grammar_of, instructions, read_action
from vibeserve_tui.agents.local.completion import Ask, Message
from vibeserve_tui.agents.local.process import Worker
from vibeserve_tui.agents.loop.turns import ToolSpec

WORD = "seven"
TRIES = 3
MOST_TOKENS = 400
TOOL = ToolSpec(
    "repeat",
    "Says a word back.",
    {
        "type": "object",
        "properties": {"word": {"type": "string", "maxLength": 20}},
        "required": ["word"],
        "additionalProperties": False,
    },
)


class Skill(StrEnum):
    FOLLOWS = "follows"
    FORM_ONLY = "form_only"
    """Its calls have the right form, but not what was asked for."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Probed:
    skill: Skill
    verdict: str
    """For a person, in one line."""


async def probe(worker: Worker, name: str) -> Probed:
    """Ask for one simple call, a few times. Raises AgentError when the model does not answer at all."""
    ask = Ask(
        messages=(
            Message(role="system", content=instructions([TOOL])),
            Message(role="user", content=f'Call the tool `repeat` with the word "{WORD}".'),
        ),
        grammar=grammar_of([TOOL]),
        max_tokens=min(MOST_TOKENS, worker.ready.context // 2),
    )
    forced = "by a grammar" if worker.ready.constrained else "by asking only: xgrammar is not installed"
    calls = 0
    for seed in range(TRIES):
        completion = await worker.complete(ask.model_copy(update={"seed": seed}))
        action = read_action(completion.text)
        if action is None or action.tool != TOOL.name:
            continue
        calls += 1
        if WORD in action.arguments:
            return Probed(Skill.FOLLOWS, f"{name} can call tools ({forced}; {worker.ready.context} tokens of context)")
    if calls:
        return Probed(
            Skill.FORM_ONLY, f"{name} calls tools in the right form ({forced}) but not as asked: expect little of it"
        )
    return Probed(Skill.NONE, f"{name} cannot call tools: none of {TRIES} tries was a call ({forced})")
