"""How a CLI hands in its answer: by the `submit` tool, or as JSON in its last words.

Both are held against the role's schema; what does not fit is told with its reasons, never guessed at.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from vibeserve_tui.agents.protocol import SUBMIT, Tool

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


@dataclass(slots=True)
class Submission:
    """What was handed in so far."""

    schema: type[BaseModel]
    keep: Callable[[], None]
    """Called before an answer is accepted, to keep what it speaks of."""
    value: BaseModel | None = None
    faults: int = 0
    """Answers in a row that did not fit."""
    last_fault: str = ""

    def tool(self) -> Tool:
        return Tool(
            name=SUBMIT,
            description="Hand in your answer. This ends your task; do nothing afterwards.",
            arguments=self.schema,
            call=self._take,
            read_only=False,
        )

    async def _take(self, value: BaseModel) -> str:
        await asyncio.to_thread(self.keep)
        self.value, self.faults = value, 0
        return "Accepted. You are done."

    def refused(self, error: ValidationError) -> str:
        self.faults += 1
        self.last_fault = faults(error)
        return f"The answer does not fit:\n{self.last_fault}"

    def take_words(self, text: str) -> None:
        """The last JSON object of the text, if it is an answer."""
        candidates = [*_FENCED.findall(text)[-1:], text.strip()]
        for candidate in candidates:
            if not candidate.strip().startswith("{"):
                continue
            try:
                self.value = self.schema.model_validate_json(candidate)
            except ValidationError as error:
                self.refused(error)
            return

    def instructions(self) -> str:
        """What stands at the end of a prompt."""
        schema = json.dumps(self.schema.model_json_schema(), ensure_ascii=False)
        return (
            "Finish by calling the tool `submit` of the MCP server `vibeserve`, once, with your whole answer. Should that "
            "tool be missing, end with the answer as one JSON object in a ```json block. Its schema:\n" + schema
        )

    def reminder(self) -> str:
        wrong = f" Your last answer did not fit:\n{self.last_fault}\n" if self.last_fault else " "
        return f"You stopped without a valid answer.{wrong}\n{self.instructions()}"


def faults(error: ValidationError) -> str:
    """One line a fault: where and what; never the input, which the model knows."""
    found = error.errors(include_url=False, include_input=False)
    return "\n".join(f"- {'.'.join(map(str, fault['loc'])) or 'answer'}: {fault['msg']}" for fault in found[:20])
