"""What went wrong: warnings, failed tool calls, refused commands; below them the end of the engine's own log."""

from __future__ import annotations

import os
from pathlib import Path

from vibeserve_tui.run_state import Status
from vibeserve_tui.safe_text import clean
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import Ink, Line, line
from vibeserve_tui.tui.panes.agents import draw_feed_line
from vibeserve_tui.tui.panes.pane import Drawing, Pane, empty
from vibeserve_tui.tui.view import RunView

LOG_BYTES = 16_384
OUTPUT_LINES = 12
"""Lines of a failed tool's output that are shown; the end usually says why."""


class LogsPane(Pane):
    digit, label = "7", "Logs"
    views = frozenset({"logs", "agents", "header"})

    def draw(self, view: RunView) -> Drawing:
        state = view.state
        lines: list[Line] = [line((f"{glyphs.ATTENTION} ", Ink.WARN), text) for text in state.warnings]
        if state.status is Status.FAILED:
            lines.append(line((f"{glyphs.FAILED} ", Ink.BAD), f"the run failed: {state.status_reason}"))
        for entry in state.feed:
            if entry.ok is False:
                lines.append(draw_feed_line(entry, self.text_width))
                lines += [
                    line((f"    {row}", Ink.MUTED))
                    for row in clean(entry.detail).rstrip().split("\n")[-OUTPUT_LINES:]
                    if row
                ]
        refused = [reason for reason in state.answered.values() if reason != "accepted"]
        lines += [line((f"{glyphs.FAILED} ", Ink.BAD), f"a command was refused: {reason}") for reason in refused]
        lines += self._engine_log(view)
        if not lines:
            return Drawing(empty("No warnings, no failed tool calls.", self.text_width), "Logs")
        at_end = self.scroll_offset.y >= self.max_scroll_y
        count = len(state.warnings)
        return Drawing(lines, "Logs", f"{count} warning{'' if count == 1 else 's'}", to_end=at_end)

    @staticmethod
    def _engine_log(view: RunView) -> list[Line]:
        if view.run_dir is None:
            return []
        text = tail_of(RunDir(view.run_dir).log, LOG_BYTES)
        return (
            [line(("engine.log", Ink.BOLD)), *(line((row, Ink.MUTED)) for row in clean(text).splitlines())]
            if text
            else []
        )


def tail_of(path: Path, most: int) -> str:
    """The last whole lines of a file that may still grow; nothing when there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return text.partition("\n")[2] if size > most else text
