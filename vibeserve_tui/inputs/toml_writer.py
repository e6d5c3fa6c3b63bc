"""A validated section written as TOML again, each field under its own docstring as a comment.

Comments come from the schema itself, so a generated file never explains a field that is gone. A file that a person
wrote is changed in one table only.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Collection, Iterator, Mapping

from vibeserve_tui.inputs.toml_files import Section

_WIDTH = 100
_HEADER = re.compile(r"\[+([^\[\]]+)\]+(?:\s*#.*)?")
_LIMITS = re.compile(r"\s*limits\s*=")


def commented(document: Section) -> str:
    """`document` as a TOML file with all fields, defaults included; absent optional ones as comments."""
    tables = [(name, value) for name, value in _fields(document) if isinstance(value, Section)]
    lines = list(_rows(document, leave_out={name for name, _ in tables}))
    for name, table in tables:
        lines += ["", *_comment(_description(document, name) or table.__doc__), f"[{name}]", *_rows(table)]
    return "\n".join(lines) + "\n"


def _fields(section: Section) -> Iterator[tuple[str, object]]:
    for attribute, field in type(section).model_fields.items():
        yield field.alias or attribute, getattr(section, attribute)


def _description(section: Section, name: str) -> str | None:
    fields = type(section).model_fields.items()
    return next(field.description for attribute, field in fields if (field.alias or attribute) == name)


def _rows(section: Section, leave_out: Collection[str] = ()) -> Iterator[str]:
    for name, value in _fields(section):
        if name in leave_out:
            continue
        yield from _comment(_description(section, name))
        yield f"# {name} =" if value is None else f"{name} = {_written(value)}"


def _comment(text: str | None) -> list[str]:
    return textwrap.wrap(" ".join((text or "").split()), _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _written(value: object) -> str:
    if isinstance(value, Section):
        return _inline({name: inner for name, inner in _fields(value) if inner is not None})
    if isinstance(value, Mapping):
        return _inline(value)
    if isinstance(value, tuple):
        if any(isinstance(entry, Section) for entry in value):
            return "\n".join(["[", *(f"  {_written(entry)}," for entry in value), "]"])
        return f"[{', '.join(map(_written, value))}]"
    return json.dumps(value, ensure_ascii=False)  # TOML's strings, numbers and booleans are JSON's


def _inline(table: Mapping[str, object]) -> str:
    return f"{{ {', '.join(f'{name} = {_written(value)}' for name, value in table.items())} }}" if table else "{}"


def with_limits(text: str, limits: Section) -> str:
    """A target.toml with these accuracy.limits in place of any that it has; everything else stays as it was written."""
    kept: list[str] = []
    table = ""
    for line in text.splitlines():
        if header := _HEADER.fullmatch(line.strip()):
            table = header[1]
        replaced = table == "accuracy.limits" or (table == "accuracy" and _LIMITS.match(line))
        if not replaced:
            kept.append(line)
    while kept and not kept[-1].strip():
        kept.pop()
    rows = (f"{name} = {_written(value)}" for name, value in _fields(limits) if value is not None)
    return "\n".join([*kept, "", "[accuracy.limits]", *rows, ""])
