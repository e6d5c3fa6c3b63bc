"""Where a key is found when settings name its variable: the environment, else `.env` of the current folder.

A key is looked up at the moment it is sent and kept nowhere; in particular `.env` never enters the environment, which
children of this process might inherit. Nothing but the variable that is asked for is read out of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from vibeserve_tui.errors import InputError
from vibeserve_tui.inputs.toml_files import read_text

DOT_ENV = ".env"
_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)")


def find_key(name: str, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> str | None:
    """The value of the variable `name`, or None where it is not set or empty.

    Raises InputError for a .env that cannot be read, or has the key and can be read by other users too.
    """
    given = (os.environ if environment is None else environment).get(name)
    if given:
        return given.strip()
    file = (folder or Path.cwd()) / DOT_ENV
    if not file.is_file():
        return None
    for line in read_text(file, InputError).splitlines():
        match = _LINE.fullmatch(line)
        if match and match["name"] == name and (value := _unquoted(match["value"])):
            _require_private(file)
            return value
    return None


def require_key(name: str) -> str:
    """The value of the variable. Raises InputError saying in one line how to set it."""
    key = find_key(name)
    if key is None:
        raise InputError(f"{name} is not set", fix=f"export {name}=…, or write that line into {Path.cwd() / DOT_ENV}")
    return key


def without_key(text: str, key: str) -> str:
    """The text with the key blotted out: servers quote it when they refuse it, whole or in part."""
    if not key:
        return text
    cleaned = text.replace(key, "[key]")
    return cleaned.replace(key[:8], "[key]") if len(key) >= 16 else cleaned


def _require_private(file: Path) -> None:
    if file.stat().st_mode & 0o077:
        raise InputError("holds a key and can be read by other users", where=str(file), fix=f"chmod 600 {file}")


def _unquoted(value: str) -> str:
    value = value.strip()
    if value[:1] in ("'", '"'):
        return value[1:].split(value[0])[0]
    return re.split(r"\s#", value, maxsplit=1)[0].strip()
