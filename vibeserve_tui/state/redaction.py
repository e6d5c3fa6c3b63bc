"""The one sink through which everything goes that a run writes or shows: secrets come out as `[redacted]`.

Exact values are known because they were announced (`protect`) or stand in an environment variable whose name says that
it is secret; what only looks like a key is caught by its well-known shape. Nothing here reads a key file.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Mapping
from typing import Any, Self, TextIO
from urllib.parse import quote

MARK = "[redacted]"
SHORTEST = 8
"""A shorter value is no secret and would blot out ordinary words."""
_SECRET_NAME = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(?:_|$)", re.IGNORECASE)
_SHAPES = re.compile(
    r"sk-[A-Za-z0-9_-]{20,}"
    r"|AIza[0-9A-Za-z_-]{35}"
    r"|hf_[A-Za-z0-9]{30,}"
    r"|gh[pousr]_[A-Za-z0-9]{36,}"
    r"|github_pat_[A-Za-z0-9_]{40,}"
    r"|AKIA[0-9A-Z]{16}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----END).)*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|(?<=Bearer )[A-Za-z0-9._~+/=-]{16,}",
    re.DOTALL,
)
_HINTS = ("sk-", "AIza", "hf_", "gh", "github_pat_", "AKIA", "PRIVATE KEY", "Bearer ")
_known: dict[str, tuple[str, ...]] = {}


def protect(value: str) -> None:
    """From now on this value, as it is and as URLs, JSON and base64 carry it, is never written down."""
    if len(value) >= SHORTEST:
        _known[value] = _forms(value)


def protect_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Protect the value of every variable whose name says that it is secret."""
    for name in secret_names(environment):
        protect(environment[name])


def secret_names(environment: Mapping[str, str]) -> list[str]:
    return [name for name in environment if _SECRET_NAME.search(name)]


def forget() -> None:
    """Forget all announced values."""
    _known.clear()


def holds_secret(data: bytes) -> bool:
    """Does it hold an announced value? Shapes are not looked for: a program may well contain something key-like."""
    return any(form.encode() in data for forms in _known.values() for form in forms)


def redact(text: str) -> str:
    for forms in _known.values():
        for form in forms:
            text = text.replace(form, MARK)
    if any(hint in text for hint in _HINTS):
        text = _SHAPES.sub(MARK, text)
    return text


def redact_value(value: Any) -> Any:
    """JSON data with the secrets out of its strings and keys; numbers are left alone."""
    match value:
        case str():
            return redact(value)
        case dict():
            return {redact(str(name)): redact_value(member) for name, member in value.items()}
        case list() | tuple():
            return [redact_value(member) for member in value]
        case _:
            return value


def redact_bytes(data: bytes) -> bytes:
    """Bytes stay as they are but for the secrets; every byte is a character here, so nothing is lost on the way."""
    return redact(data.decode("latin-1")).encode("latin-1")


def _forms(value: str) -> tuple[str, ...]:
    raw = value.encode("utf-8", "surrogatepass")
    in_utf8 = raw.decode("latin-1")
    # The middle of a longer base64 text depends on where the value begins in it: three ways, without the edges.
    shifted = (base64.b64encode(bytes(shift) + raw).decode().rstrip("=")[4 * bool(shift) : -1] for shift in range(3))
    forms = (value, in_utf8, quote(value, safe=""), json.dumps(value)[1:-1], *shifted)
    return tuple(sorted({form for form in forms if len(form) >= SHORTEST}, key=len, reverse=True))


class RedactingStream(io.TextIOWrapper):
    """A text stream that hides secrets; stands in for stdout and stderr of the engine."""

    stands_for: TextIO

    @classmethod
    def around(cls, stream: TextIO) -> Self:
        made = cls(stream.buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        made.stands_for = stream  # which would close the file under us when nobody holds it
        return made

    def write(self, text: str, /) -> int:
        return super().write(redact(text))
