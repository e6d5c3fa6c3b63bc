"""What is left behind when the app itself fails: a file without prompts or file contents, and the way back to the run."""

from __future__ import annotations

import json
import platform
import time
import traceback
from importlib.metadata import version
from pathlib import Path

from vibeserve_tui import __version__
from vibeserve_tui.safe_text import clean_line

LONGEST_MESSAGE = 200
LIBRARIES = ("textual", "rich", "pydantic")


def write_report(error: BaseException, folder: Path, *, seq: int | None) -> Path:
    """Write `crash-<time>.json`: versions, where it happened, how far the journal was read. No local variable goes in."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"crash-{time.strftime('%Y%m%d-%H%M%S')}.json"
    frames = traceback.extract_tb(error.__traceback__)
    report = {
        "vibeserve": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "error": type(error).__name__,
        "message": _in_short(error),
        "frames": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
        "journal_seq": seq,
    }
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return path


def _in_short(error: BaseException) -> str:
    """The first line of what it says; those behind it quote what was read."""
    return clean_line((str(error).splitlines() or [""])[0])[:LONGEST_MESSAGE]


def last_words(error: BaseException, path: Path | None, way_back: str) -> str:
    """Three lines for the terminal; `way_back` is the command that attaches to the run."""
    lines = [f"vibeserve: the app failed: {type(error).__name__}: {_in_short(error)}"]
    lines.append(f"  report: {path}" if path else "  no report of it could be written")
    if way_back:
        lines.append(f"  the run continues: {way_back}")
    return "\n".join(lines)
