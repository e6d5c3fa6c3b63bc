"""The memory file as the rounds wrote it: what worked, what did not, what to try."""

from __future__ import annotations

import textwrap

from vibeserve_tui.safe_text import clean
from vibeserve_tui.tui.ink import Ink, Line, line
from vibeserve_tui.tui.panes.pane import Drawing, Pane, empty
from vibeserve_tui.tui.view import RunView


def draw_markdown(text: str, width: int) -> list[Line]:
    """Headings bold, list items with a hanging indent, code muted; everything wrapped to the width."""
    lines: list[Line] = []
    in_code = False
    for raw in clean(text).split("\n"):
        if raw.lstrip().startswith("```"):
            in_code = not in_code
            continue
        if in_code:
            lines.append(line((raw, Ink.MUTED)))
        elif raw.startswith("#"):
            lines.append(line((raw, Ink.BOLD)))
        else:
            lines += _wrapped(raw, width)
    return lines


def _wrapped(raw: str, width: int) -> list[Line]:
    stripped = raw.lstrip()
    indent = len(raw) - len(stripped)
    hang = indent + (2 if stripped.startswith(("- ", "* ")) else 0)
    parts = textwrap.wrap(
        raw, max(10, width), subsequent_indent=" " * hang, drop_whitespace=True, break_on_hyphens=False
    )
    return [line(part) for part in parts] or [()]


class MemoryPane(Pane):
    digit, label = "5", "Memory"
    views = frozenset({"memory"})

    def draw(self, view: RunView) -> Drawing:
        text = view.state.memory
        if not text.strip():
            return Drawing(
                empty("Empty. Rounds write what worked and what did not. e edits."), "Memory · progress.md", "e edit"
            )
        return Drawing(draw_markdown(text, self.text_width), "Memory · progress.md", "e edit")
