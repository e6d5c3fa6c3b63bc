"""Reading what CLIs print: their formats change with every release, so what is not known is passed over."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from vibeserve_tui.agents.cli.driver import SERVER


class Lenient(BaseModel):
    """A part of a program's output: what we do not know of it is ignored, because it changes with every release."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Event = TypeVar("Event", bound=Lenient)


def parsed(event: type[Event], line: str) -> Event | None:
    """None for lines of another kind: banners, warnings, events of a newer release."""
    try:
        return event.model_validate_json(line)
    except ValidationError:
        return None


def as_text(value: JsonValue) -> str:
    """Tool output as a person reads it: text parts joined, anything else as JSON."""
    match value:
        case None:
            return ""
        case str():
            return value
        case list():
            return "\n".join(filter(None, map(as_text, value)))
        case {"text": str(text)}:
            return text
        case _:
            return json.dumps(value, ensure_ascii=False)


def plain(name: str) -> str:
    """Our own tools under their own names, whatever the CLI puts before them."""
    for prefix in (f"mcp__{SERVER}__", f"mcp_{SERVER}_", f"{SERVER}__", f"{SERVER}_", f"{SERVER}/"):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name
