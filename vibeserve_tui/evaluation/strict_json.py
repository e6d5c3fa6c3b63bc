"""JSON read key by key: a wrong type, a missing key or an unknown one is an error with its place.

The load generator runs from the standard library alone, so that it starts in milliseconds and
brings nothing into its box; this is the little that it needs of a schema library.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

from vibeserve_tui.errors import InputError, did_you_mean

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
T = TypeVar("T")
MAX_INTEGER = 2**63


def parse(text: str | bytes, where: str) -> Json:
    """The document; `InputError` names `where` and the line that is not JSON."""
    try:
        document: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", where=where) from error
    return document


def is_finite(value: float) -> bool:
    """An integer that no float can hold is as good as infinite."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


class Fields:
    """The fields of one JSON object. `close()` refuses whatever was not read."""

    def __init__(self, value: Json, where: str) -> None:
        if not isinstance(value, dict):
            raise InputError(f"an object is needed, not {_kind(value)}", where=where)
        self._left = dict(value)
        self._where = where
        self._read: list[str] = []

    def close(self) -> None:
        for key in self._left:
            raise InputError(f"unknown key {key!r}{did_you_mean(key, self._read)}", where=self._where)

    def json(self, key: str, default: Json = None) -> Json:
        self._read.append(key)
        return self._left.pop(key, default)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._need(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a string", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self._need(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
            raise self._wrong(key, "a finite number", value)
        return float(value)

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._need(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, "an integer", value)
        if abs(value) > MAX_INTEGER:
            raise self._wrong(key, "an integer of at most 64 bits", value)
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self._need(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def array(self, key: str) -> list[Json]:
        value = self._need(key, None)
        if not isinstance(value, list):
            raise self._wrong(key, "a list", value)
        return value

    def numbers(self, key: str) -> list[float]:
        values: list[float] = []
        for value in self.array(key):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self._wrong(key, "a list of numbers", value)
            values.append(value)
        return values

    def texts(self, key: str) -> list[str]:
        values: list[str] = []
        for value in self.array(key):
            if not isinstance(value, str):
                raise self._wrong(key, "a list of strings", value)
            values.append(value)
        return values

    def text_table(self, key: str) -> dict[str, str]:
        table: dict[str, str] = {}
        value = self.json(key, {})
        if not isinstance(value, dict):
            raise self._wrong(key, "an object of strings", value)
        for name, entry in value.items():
            if not isinstance(entry, str):
                raise self._wrong(f"{key}.{name}", "a string", entry)
            table[name] = entry
        return table

    def optional(self, key: str, read: Callable[[str], T]) -> T | None:
        """None where the key is absent or null, else what `read`, a method of this object, says."""
        if self._left.get(key) is None:
            self.json(key)
            return None
        return read(key)

    def _need(self, key: str, default: Json) -> Json:
        if key not in self._left and default is None:
            raise InputError(f"{key!r} is missing", where=self._where)
        return self.json(key, default)

    def _wrong(self, key: str, wanted: str, value: Json) -> InputError:
        return InputError(f"{key!r} must be {wanted}, not {_kind(value)}", where=self._where)


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case dict():
            return "an object"
        case list():
            return "a list"
        case _:
            return repr(value)[:60]


def without_none(table: Mapping[str, Json]) -> dict[str, Json]:
    """Absent and null mean the same here; absent is shorter."""
    return {key: value for key, value in table.items() if value is not None}
