"""Every sign the screens use, and what each becomes where a terminal shows ASCII only.

Status is never shown by colour alone: the sign carries it, the ink only repeats it. Each sign is one cell wide and
not an emoji (`⏸` or `⚙` may be drawn two cells wide), and so is its ASCII twin, so that no column ever moves; only `⏎`,
which stands in running text, becomes a word.
"""

from __future__ import annotations

import locale
from collections.abc import Mapping
from typing import Literal

from vibeserve_tui.events import IssueStatus, Outcome

GlyphSet = Literal["auto", "unicode", "ascii"]

KEPT = "●"
CHAMPION = "◆"
INDECISIVE = "≈"
REVERTED = "↺"
FAILED = "✗"
VOID = "∅"
RUNNING = "◐"
WAITING = "‖"
PINNED = "★"
OPEN = "○"
BLOCKED = "■"
DONE = "✓"
OK = "✓"
ATTENTION = "!"
MISSING = "✗"
ABSENT = "–"
TOOL = "›"
CURSOR = "▌"
MARK = "◇"
ELLIPSIS = "…"
LINEAGE = "←"
FOLD = "⋯"
DASH = "╌"
LIMIT = "┈"
PROGRESS, REMAINING = "▓", "░"
SPARKS = "▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉"

OUTCOMES = {
    Outcome.KEPT: KEPT,
    Outcome.REVERTED: REVERTED,
    Outcome.INDECISIVE: INDECISIVE,
    Outcome.FAILED: FAILED,
    Outcome.VOID: VOID,
}
ISSUES = {
    IssueStatus.OPEN: OPEN,
    IssueStatus.DOING: RUNNING,
    IssueStatus.DONE: DONE,
    IssueStatus.BLOCKED: BLOCKED,
    IssueStatus.PARKED: ABSENT,
    IssueStatus.ABANDONED: ABSENT,
}

_ASCII = {
    "●": "*", "◆": "@", "≈": "~", "↺": "<", "✗": "x", "∅": "0", "◐": ">", "‖": "?", "★": "^", "○": "o", "■": "#", "✓": "v",
    "–": "-", "—": "-", "›": "$", "▌": "=", "◇": "+", "…": "~", "←": "<", "→": ">", "┊": ":", "⋯": ".", "╌": "-", "┈": "=", "▓": "#", "░": ".",
    "−": "-", "×": "x", "·": "-", "Δ": "d", "δ": "d", "≥": ">", "≤": "<", "±": "~", "⏎": "RET", "↑": "^", "↓": "v", "’": "'",
    "▐": "|", "─": "-", "│": "|", "┤": "|", "├": "|", "┼": "+", "└": "+", "┴": "+", "┬": "+", "╭": "+", "╮": "+", "╰": "+", "╯": "+",
    "◂": "<", "▸": ">", "█": "#", "▏": " ", "▎": " ", "▍": "-", "▋": "=", "▊": "=", "▉": "#",
    "▁": "_", "▂": ".", "▃": "-", "▄": "~", "▅": "=", "▆": "+", "▇": "*", "⠀": " ",
}  # fmt: skip
_BRAILLE = {chr(0x2801 + dots): "." for dots in range(255)} | dict.fromkeys("⠉⠒⠤⣀", "-")
_TO_ASCII = str.maketrans(_BRAILLE | _ASCII)


def to_ascii(text: str) -> str:
    """The text with every sign of ours replaced by its ASCII twin, cell by cell."""
    return text if text.isascii() else text.translate(_TO_ASCII)


def wants_ascii(chosen: GlyphSet, environment: Mapping[str, str]) -> bool:
    """Whether signs must be ASCII: by choice, or `auto` in a locale that lacks them or draws them two cells wide."""
    if chosen != "auto":
        return chosen == "ascii"
    language = environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG") or ""
    if language.startswith(("zh", "ja", "ko")):
        return True
    return "utf" not in language.lower() and "utf" not in locale.getpreferredencoding(do_setlocale=False).lower()
