"""A local model as a wire of the loop: one action a turn, forced by a grammar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vibeserve_tui.agents.local.actions import grammar_of, instructions, read_action
from vibeserve_tui.agents.local.completion import Ask, Completion, Message, PromptTooLong
from vibeserve_tui.agents.local.process import Worker
from vibeserve_tui.agents.loop.faults import Fault
from vibeserve_tui.agents.loop.room import PLEASE_SUMMARISE
from vibeserve_tui.agents.loop.turns import Answers, Asked, Call, Entry, Prefix, Reply
from vibeserve_tui.agents.protocol import Tokens
from vibeserve_tui.errors import AgentError


class LocalWire:
    """Speaks with a worker that somebody else started and will end."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._turns = 0

    async def turn(self, model: str, prefix: Prefix, history: Sequence[Entry]) -> Reply:
        self._turns += 1
        free = isinstance(history[-1], Asked) and history[-1].text == PLEASE_SUMMARISE
        ask = Ask(
            messages=messages(prefix, history),
            grammar=None if free else grammar_of(prefix.tools),
            max_tokens=min(prefix.output_tokens, self._worker.ready.context // 2),
            seed=self._turns,
        )
        try:
            completion = await self._worker.complete(ask)
        except PromptTooLong as error:
            raise Fault(str(error), "room") from error
        except AgentError as error:
            raise Fault(str(error), "none") from error
        return self._reply(model, completion)

    async def close(self) -> None:
        """The worker outlives a conversation."""

    def _reply(self, model: str, completion: Completion) -> Reply:
        tokens = Tokens(input=completion.prompt_tokens, output=completion.output_tokens)
        native = (completion.text,)
        if completion.cut:
            return Reply(model, "", (), "length", native, tokens)
        action = read_action(completion.text)
        if action is None:
            return Reply(model, completion.text, (), "end", native, tokens)
        call = Call(f"call_{self._turns}", action.tool, action.arguments)
        return Reply(model, action.thought, (call,), "calls", native, tokens)


def messages(prefix: Prefix, history: Sequence[Entry]) -> tuple[Message, ...]:
    """User and assistant strictly in turn, as most chat templates demand."""
    shown: list[Message] = []
    for message in _messages(prefix, history):
        if shown and shown[-1].role == message.role:
            message = Message(role=message.role, content=f"{shown.pop().content}\n\n{message.content}")
        shown.append(message)
    return tuple(shown)


def _messages(prefix: Prefix, history: Sequence[Entry]) -> Iterator[Message]:
    system = "\n\n".join(filter(None, (prefix.system, prefix.stable, instructions(prefix.tools))))
    yield Message(role="system", content=system)
    for entry in history:
        match entry:
            case Asked(text=text):
                yield Message(role="user", content=text)
            case Reply(native=(text,)):
                yield Message(role="assistant", content=text)
            case Answers(answers=answers):
                text = "\n\n".join(f"Result of {answer.call.name}:\n{answer.text or '(nothing)'}" for answer in answers)
                yield Message(role="user", content=text)
