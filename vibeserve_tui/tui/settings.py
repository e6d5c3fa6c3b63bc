"""One setting written back into the user's file: only its own line changes, comments and order stay."""

from __future__ import annotations

import json
import re
from pathlib import Path

_TABLE = re.compile(r"^\s*\[(?P<name>[^\[\]]+)\]")


def write_setting(path: Path, table: str, name: str, value: str | bool) -> None:
    """Set `name` in `[table]` of this TOML file, which is created with its folder if it is not there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
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
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(path)


def _is_table(line: str, table: str) -> bool:
    match = _TABLE.match(line)
    return match is not None and match["name"].strip() == table
