"""The prompts' templates, rendered strictly: a name that a template asks for and nobody gives is an error."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vibeserve_tui.agents.protocol import Role

FOLDER = Path(__file__).with_name("prompts")


@cache
def environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - prompts are plain text
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(name: str, /, **context: object) -> str:
    return environment().get_template(f"{name}.j2").render(context).strip() + "\n"


def system_prompt(role: Role) -> str:
    """Role, rights and how to work: the same in every run."""
    return render(f"{role.value}.system")
