"""Every sign the screens use, and when their ASCII twins stand in for them.

Status is never shown by colour alone: the sign carries it, the ink only repeats it. Each sign is one cell wide and
not an emoji (`⏸` or `⚙` may be drawn two cells wide), and so is its ASCII twin, so that no column ever moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from vibeserve_tui.ascii_signs import draws_wide, lacks_signs
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


def wants_ascii(chosen: GlyphSet, environment: Mapping[str, str]) -> bool:
    """Whether signs must be ASCII: by choice, or `auto` in a locale that lacks them or draws them two cells wide."""
    if chosen != "auto":
        return chosen == "ascii"
    return draws_wide(environment) or lacks_signs(environment)
