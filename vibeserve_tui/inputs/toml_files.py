"""TOML that a person wrote: read with caps, validated once, every fault with file and field.

It knows no schema of its own (targets, profiles and settings bring theirs) and never returns
a half-valid value: either the whole file is right or an error names the first thing to mend.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from vibeserve_tui.errors import InputError, did_you_mean

MAX_BYTES = 1 << 20
MAX_DEPTH = 16
MAX_INTEGER = 2**63
MAX_PATH = 200
"""Characters; a name beyond 255 bytes is an error wherever it is looked up."""
MAX_FAULTS = 20
"""Of one file, that are told at once."""
_MAX_DOTS = 64  # tomllib takes quadratic time: 3 s for a key of 16,000 parts, and a file may hold 500,000

Location = tuple[int | str, ...]


class Section(BaseModel):
    """A TOML table: unknown keys are refused, types are taken literally, values never change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


Schema = TypeVar("Schema", bound=Section)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a file. `field` is a path such as `levels[1].requests`."""

    field: str
    what: str
    fix: str = ""


def section_fault(what: str, *, fix: str = "", field: str = "") -> PydanticCustomError:
    """What a validator raises: it carries the fix, and the field when the fault lies deeper than its section."""
    return PydanticCustomError("fault", "{what}", {"what": what, "fix": fix, "field": field})


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A parsed file together with its text, which is needed to name the line of a fault."""

    path: Path
    text: str
    table: Mapping[str, object]
    error: type[InputError]

    @classmethod
    def read(cls, path: Path, error: type[InputError]) -> TomlFile:
        text = read_text(path, error)
        if any(part.count(".") > _MAX_DOTS for line in text.splitlines() for part in line.split("=")):
            raise error("a key has too many dots", where=str(path), fix=f"at most {MAX_DEPTH} levels")
        try:
            table = tomllib.loads(text)
        except RecursionError:
            raise error("tables are nested too deeply", where=str(path), fix=f"at most {MAX_DEPTH} levels") from None
        except ValueError as problem:  # TOMLDecodeError, or an integer of thousands of digits
            raise error(f"not valid TOML: {problem}", where=str(path), fix="mend the syntax at that place") from None
        return cls(path, text, table, error)

    def faults(self, schema: type[Section]) -> list[Fault]:
        """Everything that keeps the table from being a `schema`, unknown keys first."""
        return validate(self.table, schema)[1]

    def parse(self, schema: type[Schema]) -> Schema:
        value, faults = validate(self.table, schema)
        if value is None:
            raise self.problem(faults[0])
        return value

    def problem(self, fault: Fault) -> InputError:
        """The error that a person reads for one fault: `FILE: FIELD (line N): what (fix: …)`."""
        place = f"{self.path}: {fault.field}" if fault.field else str(self.path)
        line = line_of(self.text, fault.field)
        return self.error(fault.what, where=f"{place} (line {line})" if line else place, fix=fault.fix)


def read_text(path: Path, error: type[InputError], *, max_bytes: int = MAX_BYTES) -> str:
    """The UTF-8 text of a regular file of at most `max_bytes`; a fifo or device is refused, not waited for."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise error("is not a regular file", where=str(path), fix="give the path of a plain file")
            content = file.read(max_bytes + 1)
    except OSError as problem:
        raise error(f"cannot be read: {problem.strerror}", where=str(path), fix="check the path") from None
    if len(content) > max_bytes:
        raise error(f"is larger than {max_bytes:,} bytes", where=str(path), fix="keep data in files of its own")
    try:
        return content.decode()
    except UnicodeDecodeError as problem:
        raise error(f"is not UTF-8 (byte {problem.start})", where=str(path), fix="save it as UTF-8") from None


def validate(table: Mapping[str, object], schema: type[Schema]) -> tuple[Schema | None, list[Fault]]:
    """The value, or None and at least one fault."""
    unusable = list(_unusable_values(table))
    if unusable:
        return None, unusable
    try:
        # As JSON, so that strict types still take an array for a tuple and text for an enumeration.
        return schema.model_validate_json(json.dumps(table)), []
    except ValidationError as problem:
        details = problem.errors(include_url=False)
        details.sort(key=lambda detail: detail["type"] != "extra_forbidden")  # the cause of a "missing" twin
        shown = details[:MAX_FAULTS]
        return None, [_fault(detail, table, schema) for detail in shown if not _is_consequence(detail, shown)]


def _is_consequence(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> bool:
    """An array counts as too short when the entries in it are wrong."""
    inside = [other["loc"] for other in details if len(other["loc"]) > len(detail["loc"])]
    return detail["type"] == "too_short" and any(loc[: len(detail["loc"])] == detail["loc"] for loc in inside)


def merged(base: Mapping[str, object], overrides: Mapping[str, object]) -> dict[str, object]:
    """`base` with `overrides` laid over it: tables are merged, anything else is replaced."""
    result = dict(base)
    for key, value in overrides.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return result


def _unusable_values(value: object, field: str = "", depth: int = 0) -> Iterator[Fault]:
    """Values that no schema here has a use for: dates, nan, inf, endless numbers, bottomless nesting; in YAML odd keys."""
    if depth > MAX_DEPTH:
        yield Fault(field[:80], "is nested too deeply", f"at most {MAX_DEPTH} levels")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, str):
                yield from _unusable_values(
                    inner, f"{field}.{_shown_key(key)}" if field else _shown_key(key), depth + 1
                )
            else:
                yield Fault(field, "has a key that is no text", "write keys in quotes")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unusable_values(inner, f"{field}[{index}]", depth + 1)
    elif isinstance(value, float) and not abs(value) < float("inf"):
        yield Fault(field, f"{value} is not a finite number", "give a finite number")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        yield Fault(field, "is an integer of more than 64 bits", "give a smaller one")
    elif not isinstance(value, str | int | float | bool):
        yield Fault(field, "dates and times are not used here", "write it as text in quotes")


def _fault(detail: ErrorDetails, table: Mapping[str, object], schema: type[Section]) -> Fault:
    field = field_path(_location_in(table, detail))
    deeper = ""
    if detail["type"] == "fault":
        deeper = detail["ctx"]["field"]
    elif detail["type"] == "union_tag_invalid":
        deeper = detail["ctx"]["discriminator"].strip("'")
    what, fix = _reason(detail, schema)
    return Fault(".".join(filter(None, (field, deeper))), what, fix)


def _reason(detail: ErrorDetails, schema: type[Section]) -> tuple[str, str]:
    """What is wrong and how to mend it, in the words of someone who edits the file."""
    context, given, location = detail.get("ctx", {}), detail["input"], detail["loc"]
    match detail["type"]:
        case "fault":
            return context["what"], context["fix"]
        case "extra_forbidden":
            known = _keys_at(schema, location[:-1])
            suggestion = did_you_mean(str(location[-1]), known)
            fix = "rename or remove it" if suggestion else f"known here: {', '.join(sorted(known))}"
            return f"unknown key{suggestion}", fix
        case "missing":
            return "is missing", _fix_for_missing(schema, location)
        case "union_tag_not_found":
            return f"needs {context['discriminator']}", "it says which other keys are allowed"
        case "literal_error" | "enum" | "union_tag_invalid":
            return _not_one_of(context.get("tag", given), context.get("expected_tags") or context["expected"])
    what = re.sub(r"^[A-Z][a-z]+ should", "should", detail["msg"]).replace(" after validation", "")
    return what if ", not " in what else f"{what}, not {_shown(given)}", ""


def _not_one_of(given: object, quoted: str) -> tuple[str, str]:
    known = re.findall(r"'([^']*)'", quoted) or [quoted]
    suggestion = did_you_mean(given, known) if isinstance(given, str) else ""
    return f"{_shown(given)} is not known here{suggestion}", f"one of: {', '.join(filter(None, known))}"


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _location_in(table: object, detail: ErrorDetails) -> Location:
    """The error's location without what pydantic adds: the tag of a union, the marker of a key."""
    kept: list[int | str] = []
    here = table
    last = len(detail["loc"]) - 1
    for position, part in enumerate(detail["loc"]):
        inner = _entry(here, part)
        if inner is not None:
            here = inner
        if inner is not None or (position == last and detail["type"] == "missing"):
            kept.append(part)
    return tuple(kept)


def _entry(value: object, part: int | str) -> object:
    """What stands at `part` of a table or an array; None, which TOML does not have, where nothing does."""
    if isinstance(part, int):
        return value[part] if isinstance(value, list) else None
    return value.get(part) if isinstance(value, Mapping) else None


def field_path(location: Location) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += ("." if path else "") + _shown_key(part)
    return path


def _shown_key(key: str) -> str:
    """Keys are foreign text, and this goes to a terminal."""
    return (key if key.isprintable() else ascii(key))[:80]


def _schema_at(schema: type[Section], location: Location) -> Mapping[str, object]:
    """The JSON schema of the table at a location; pydantic writes all of it, unions with their tags included."""
    root = schema.model_json_schema(by_alias=True)
    node: Mapping[str, object] = root
    for part in (None, *location):
        if part is not None:
            node = _child(node, part)
        reference = node.get("$ref")
        if isinstance(reference, str):
            node = _mapping(_mapping(root["$defs"])[reference.removeprefix("#/$defs/")])
    return node


def _child(node: Mapping[str, object], part: int | str) -> Mapping[str, object]:
    if isinstance(part, int):
        return _mapping(node.get("items"))
    properties = _mapping(node.get("properties"))
    if part in properties:
        return _mapping(properties[part])
    tags = _mapping(_mapping(node.get("discriminator")).get("mapping"))
    if part in tags:
        return {"$ref": tags[part]}
    return _mapping(node.get("additionalProperties"))


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _keys_at(schema: type[Section], location: Location) -> list[str]:
    return list(_mapping(_schema_at(schema, location).get("properties")))


def _fix_for_missing(schema: type[Section], location: Location) -> str:
    name = location[-1]
    description = _schema_at(schema, location).get("description")
    meaning = f": {' '.join(description.split())}" if isinstance(description, str) else ""
    return f"add {name}{meaning}"


_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]")
_NAME = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_KEY = re.compile(rf"\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=")


def line_of(text: str, field: str) -> int | None:
    """The line on which `field`, or the nearest table, array or row around it, is written."""
    wanted = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", field)]
    best: tuple[int, int] | None = None
    for number, path in _written_paths(text):
        if wanted[: len(path)] == path and (best is None or len(path) > best[0]):
            best = (len(path), number)
    return best[1] if best else None


@lru_cache(maxsize=1)
def _written_paths(text: str) -> Sequence[tuple[int, list[int | str]]]:
    """Line number and path of each header, key, and row of an array that has its rows on lines of their own."""
    found: list[tuple[int, list[int | str]]] = []
    table: list[int | str] = []
    tables: dict[str, int] = {}
    array: list[int | str] = []
    row = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = list(_key_parts(header[2]))
            if header[1] == "[[":
                index = tables[header[2]] = tables.get(header[2], -1) + 1
                table.append(index)
            found.append((number, table))
        elif key := _KEY.match(line):
            array, row = [*table, *_key_parts(key[1])], -1
            found.append((number, array))
        elif line.lstrip().startswith("{"):
            row += 1
            found.append((number, [*array, row]))
    return found


def _key_parts(dotted: str) -> Iterator[str]:
    return (part.strip().strip("\"'") for part in dotted.split("."))
