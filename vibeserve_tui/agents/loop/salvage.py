"""Tool calls that a model printed instead of making them, as small models on plain servers do.

Only what names a tool of this conversation counts as one, so that a quoted example in prose never runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from pydantic import BaseModel, ValidationError

from vibeserve_tui.agents.loop.turns import Call
from vibeserve_tui.agents.protocol import SUBMIT

LONGEST = 100_000
"""Characters that are looked through; the patterns take quadratic time on text made to make them."""
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
_TAGGED = re.compile(r"<(tool_call|function_call)>\s*(.*?)\s*(?:</\1>|\Z)", re.DOTALL)
_FENCED = re.compile(r"```(?:json|tool_call)?\s*(\{.*?\})\s*```", re.DOTALL)
_NAMES = ("name", "tool", "function")
_ARGUMENTS = ("arguments", "args", "parameters", "input")


def without_thoughts(text: str) -> str:
    """The text without `<think>…</think>`, which some servers leave in."""
    return _THOUGHT.sub("", text).strip() if "<think" in text else text


def printed_calls(text: str, tools: Collection[str], answer: type[BaseModel]) -> tuple[Call, ...]:
    """The calls that stand in the text: tagged, else fenced, else the whole text being one object.

    An object that fits the answer's own schema is an answer that was not handed in.
    """
    text = text[:LONGEST]
    pieces = [match[2] for match in _TAGGED.finditer(text)] or _FENCED.findall(text) or [text]
    objects = [table for piece in pieces if (table := _object(piece))]
    named = [call for call in (_as_call(table, tools) for table in objects) if call]
    found = named or [(SUBMIT, json.dumps(table)) for table in objects[:1] if _fits(table, answer)]
    return tuple(Call(f"printed_{number}", name, arguments) for number, (name, arguments) in enumerate(found))


def _object(piece: str) -> dict[str, object]:
    try:
        table = json.loads(piece)
    except (ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}


def _as_call(table: dict[str, object], tools: Collection[str]) -> tuple[str, str] | None:
    name = next((value for key in _NAMES if isinstance(value := table.get(key), str)), "")
    arguments = next((value for key in _ARGUMENTS if isinstance(value := table.get(key), dict | str)), None)
    if name not in tools or arguments is None:
        return None
    return name, arguments if isinstance(arguments, str) else json.dumps(arguments)


def _fits(table: dict[str, object], answer: type[BaseModel]) -> bool:
    try:
        answer.model_validate_json(json.dumps(table))
    except ValidationError:
        return False
    return True
