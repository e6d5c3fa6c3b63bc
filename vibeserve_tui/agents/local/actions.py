"""Actions of a small model: one JSON object a turn, in a form that can be forced.

`{"thought", "tool", "args"}`. The grammar is looser than the tools' own schemas, because grammar engines know less of
JSON schema; whoever carries an action out validates it all the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

LONGEST_THOUGHT = 240
LONGEST_COUNTED = 300
"""Characters up to which a length is part of the grammar; longer ones would make it huge."""
_UNDERSTOOD = frozenset({
    "type", "properties", "required", "items", "prefixItems", "anyOf", "oneOf", "allOf", "enum", "const", "$ref",
    "additionalProperties", "minItems", "maxItems", "minLength", "maxLength", "pattern", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum",
})  # fmt: skip
_LITERAL = frozenset({"enum", "const", "required", "type"})
_NAMED = frozenset({"properties", "$defs"})
"""What holds schemas by names of their own."""
HOW_TO_ACT = """\
You act by writing one JSON object and nothing else: {"thought": why, in a few words, "tool": name, "args": arguments}.
Then you read the tool's result and write the next object. Files are written whole. These are the tools:
"""


class Spec(Protocol):
    """A tool as a model is told of it."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def schema(self) -> dict[str, object]: ...


@dataclass(frozen=True, slots=True)
class Action:
    thought: str
    tool: str
    arguments: str
    """JSON."""


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    thought: str = ""
    tool: str
    args: dict[str, JsonValue] = {}


def instructions(tools: Sequence[Spec]) -> str:
    """How to act, and with what, in as few tokens as that takes."""
    lines = [f"- {tool.name}: {tool.description}\n  args: {_told(tool.schema)}" for tool in tools]
    return HOW_TO_ACT + "\n".join(lines)


def _told(schema: dict[str, object]) -> str:
    return json.dumps(_untitled(_as_json(schema)), separators=(",", ":"))


def _untitled(schema: JsonValue) -> JsonValue:
    """Without the titles that say once more what the names of fields and definitions say."""
    if isinstance(schema, list):
        return [_untitled(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: {field: _untitled(part) for field, part in value.items()}
        if name in _NAMED and isinstance(value, dict)
        else _untitled(value)
        for name, value in schema.items()
        if name != "title"
    }


def read_action(text: str) -> Action | None:
    """None for a text that is no action."""
    try:
        written = _Written.model_validate_json(text)
    except ValidationError:
        return None
    return Action(written.thought, written.tool, json.dumps(written.args, ensure_ascii=False))


def grammar_of(tools: Sequence[Spec]) -> dict[str, JsonValue]:
    """A JSON schema that every action with one of these tools fits, and no other text."""
    definitions: dict[str, JsonValue] = {}
    variants: list[JsonValue] = []
    for tool in tools:
        schema = _as_json(tool.schema)
        own = schema.get("$defs")
        if isinstance(own, dict):
            definitions |= {f"{tool.name}_{name}": _reduced(part, tool.name) for name, part in own.items()}
        properties: dict[str, JsonValue] = {
            "thought": {"type": "string", "maxLength": LONGEST_THOUGHT},
            "tool": {"const": tool.name},
            "args": _reduced(schema, tool.name),
        }
        variants.append(
            {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
        )
    return {"anyOf": variants} | ({"$defs": definitions} if definitions else {})


def _as_json(schema: dict[str, object]) -> dict[str, JsonValue]:
    copied: dict[str, JsonValue] = json.loads(json.dumps(schema))
    return copied


def _reduced(schema: JsonValue, owner: str) -> JsonValue:
    """Without what grammar engines do not know or cannot afford; references lead to the owner's definitions."""
    if isinstance(schema, list):
        return [_reduced(part, owner) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, JsonValue] = {}
    for name, value in schema.items():
        if name == "$ref":
            kept[name] = str(value).replace("#/$defs/", f"#/$defs/{owner}_")
        elif name == "properties" and isinstance(value, dict):
            kept[name] = {field: _reduced(part, owner) for field, part in value.items()}
        elif name in _LITERAL:
            kept[name] = value
        elif name in _UNDERSTOOD and not _is_too_much(name, value):
            kept[name] = _reduced(value, owner)
    return kept


def _is_too_much(name: str, value: JsonValue) -> bool:
    """llama.cpp takes patterns from the first to the last character only."""
    if name == "pattern":
        return not (isinstance(value, str) and value.startswith("^") and value.endswith("$"))
    return name == "maxLength" and isinstance(value, int) and value > LONGEST_COUNTED
