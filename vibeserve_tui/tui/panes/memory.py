"""The memory file as the rounds wrote it: what worked, what did not, what to try."""

from __future__ import annotations

import re
import textwrap

from vibeserve_tui.safe_text import clean
from vibeserve_tui.tui.ink import Ink, Line, line
from vibeserve_tui.tui.panes.pane import Drawing, Pane, empty
from vibeserve_tui.tui.view import RunView

_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+")
_HEADING = re.compile(r"#{1,6} ")


def draw_markdown(text: str, width: int) -> list[Line]:
    """Headings bold, paragraphs and list items filled to the width, items with a hanging indent, code as it is."""
    lines: list[Line] = []
    paragraph: list[str] = []

    def flush() -> None:
        if paragraph:
            lines.extend(_filled(paragraph, width))
            paragraph.clear()

    in_code = False
    for raw in clean(text).split("\n"):
        fence = raw.lstrip().startswith("```")
        if in_code or fence or not raw.strip() or _HEADING.match(raw) or "|" in raw[:2]:
            flush()
            in_code ^= fence
            if not fence:
                lines.append(_unfilled(raw, in_code=in_code))
        else:
            if _ITEM.match(raw):
                flush()
            paragraph.append(raw)
    flush()
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _unfilled(raw: str, *, in_code: bool) -> Line:
    if not raw.strip():
        return ()
    return line((raw, Ink.MUTED if in_code else Ink.BOLD if raw.startswith("#") else Ink.PLAIN))


def _filled(paragraph: list[str], width: int) -> list[Line]:
    first = paragraph[0]
    item = _ITEM.match(first)
    indent = " " * (len(item[0]) if item else len(first) - len(first.lstrip()))
    words = " ".join([first.rstrip(), *(raw.strip() for raw in paragraph[1:])])
    parts = textwrap.wrap(words, max(10, width), subsequent_indent=indent, break_on_hyphens=False)
    return [line(part) for part in parts]


class MemoryPane(Pane):
    digit, label = "5", "Memory"
    views = frozenset({"memory"})

    def draw(self, view: RunView) -> Drawing:
        text = view.state.memory
        if not text.strip():
            return Drawing(
                empty("Empty. Rounds write what worked and what did not. e edits.", self.text_width),
                "Memory · progress.md",
                "e edit",
            )
        return Drawing(draw_markdown(text, self.text_width), "Memory · progress.md", "e edit")
