"""Carrying out the calls of one turn: checked strictly, reading ones side by side, writing ones in order.

Whatever is wrong with a call becomes its answer, so that the model can mend it; only our own mistakes are raised.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from pydantic import BaseModel, ValidationError

from vibeserve_tui.agents.loop.turns import Answer, Call, ToolSpec
from vibeserve_tui.agents.protocol import SUBMIT, Tool, ToolError

SIDE_BY_SIDE = 8
MAX_ANSWER = 60_000
"""Characters of an answer that a model is shown; tools cap theirs well below it."""


@dataclass(slots=True)
class Toolbelt:
    """The tools of one conversation, and `submit`, which takes its result."""

    tools: Sequence[Tool]
    schema: type[BaseModel]
    submitted: BaseModel | None = None
    faulty: bool = False
    """Every call of the last turn was wrong in itself: no JSON, no such tool, arguments that do not fit."""
    _by_name: dict[str, Tool] = field(init=False)

    def __post_init__(self) -> None:
        self._by_name = {tool.name: tool for tool in self.tools}

    @property
    def names(self) -> tuple[str, ...]:
        return (*self._by_name, SUBMIT)

    def specs(self) -> tuple[ToolSpec, ...]:
        specs = [ToolSpec(tool.name, tool.description, tool.arguments.model_json_schema()) for tool in self.tools]
        end = ToolSpec(SUBMIT, "Hand in your answer. It ends the task.", self.schema.model_json_schema())
        return (*specs, end)

    async def carry_out(self, calls: Sequence[Call]) -> AsyncGenerator[Answer]:
        """The answers, submit's last: a valid one counts only if nothing else of its turn failed."""
        failed = False
        ready = [(call, self._checked(call)) for call in sorted(calls, key=lambda call: call.name == SUBMIT)]
        for alone, group in groupby(ready, key=lambda pair: not self._reads(pair[0], pair[1])):
            for batch in _batches(list(group), 1 if alone else SIDE_BY_SIDE):
                for answer in await asyncio.gather(*(self._answer(call, given, failed) for call, given in batch)):
                    failed = failed or not answer.ok
                    yield answer
        self.faulty = all(isinstance(given, str) for _, given in ready)

    def _reads(self, call: Call, given: BaseModel | str) -> bool:
        return isinstance(given, str) or (call.name != SUBMIT and self._by_name[call.name].read_only)

    def _checked(self, call: Call) -> BaseModel | str:
        """Arguments as the tool takes them, or what is wrong with them."""
        if call.name not in self.names:
            return f"there is no tool {call.name!r}; there are: {', '.join(self.names)}"
        schema = self.schema if call.name == SUBMIT else self._by_name[call.name].arguments
        try:
            return schema.model_validate_json(call.arguments or "{}")
        except ValidationError as error:
            return f"nothing was executed: {_in_words(error)}"

    async def _answer(self, call: Call, given: BaseModel | str, failed: bool) -> Answer:
        if isinstance(given, str):
            return Answer(call, given, ok=False)
        if call.name == SUBMIT:
            if failed:
                return Answer(call, "not accepted: another call of this turn failed; mend it, then submit", ok=False)
            self.submitted = self.submitted or given
            return Answer(call, "accepted", ok=True)
        started = time.perf_counter()
        try:
            text, ok = await self._by_name[call.name].call(given), True
        except ToolError as error:
            text, ok = str(error), False
        return Answer(call, _sendable(text), ok, round(time.perf_counter() - started, 3))


def _batches(pairs: list[tuple[Call, BaseModel | str]], size: int) -> Iterator[list[tuple[Call, BaseModel | str]]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def _in_words(error: ValidationError) -> str:
    """Pydantic's list without the input, which the model has just written, and without links."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}" for fault in faults[:20])


def _sendable(text: str) -> str:
    """Valid Unicode of a bearable length, head and tail."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= MAX_ANSWER:
        return text
    half = MAX_ANSWER // 2
    return f"{text[:half]}\n… {len(text) - MAX_ANSWER} characters are left out here …\n{text[-half:]}"
