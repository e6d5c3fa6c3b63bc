"""One setting written back into the user's file: only its own line changes, comments and order stay.

A file that would not be valid any more is left as it is.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from vibeserve_tui.errors import ProfileError
from vibeserve_tui.inputs.toml_files import read_text

_TABLE = re.compile(r"^\s*\[(?P<name>[^\[\]]+)\]")


def write_setting(path: Path, table: str, name: str, value: str | bool) -> None:
    """Set `name` in `[table]` of this TOML file, which is created with its folder if it is not there.

    Raises ProfileError where that cannot be done.
    """
    path = path.resolve()  # what is a link, as in a folder of dotfiles, stays one
    lines = read_text(path, ProfileError).splitlines() if path.is_file() else []
    row = f"{name} = {json.dumps(value)}"
    start = next((at for at, line in enumerate(lines) if _is_table(line, table)), None)
    if start is None:
        lines += [*([""] if lines else []), f"[{table}]", row]
    else:
        end = next((at for at in range(start + 1, len(lines)) if _TABLE.match(lines[at])), len(lines))
        at = next((at for at in range(start + 1, end) if re.match(rf"\s*{re.escape(name)}\s*=", lines[at])), None)
        if at is None:
            lines.insert(start + 1, row)
        else:
            lines[at] = row
    text = "\n".join(lines) + "\n"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        fix = f"write {table} as a table of its own, [{table}]"
        raise ProfileError(f"{name} cannot be added to it", where=str(path), fix=fix) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise ProfileError(f"cannot be written: {error.strerror}", where=str(path)) from error


def _is_table(line: str, table: str) -> bool:
    match = _TABLE.match(line)
    return match is not None and match["name"].strip() == table
