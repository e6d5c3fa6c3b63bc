"""Warnings of the engine, failed tool calls and answers to commands: what went wrong, in order."""

from __future__ import annotations

from vibeserve_tui.safe_text import clean
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import Ink, Line, line
from vibeserve_tui.tui.panes.agents import draw_feed_line
from vibeserve_tui.tui.panes.pane import Drawing, Pane, empty
from vibeserve_tui.tui.view import RunView

OUTPUT_LINES = 12
"""Lines of a failed tool's output that are shown; the end usually says why."""


class LogsPane(Pane):
    digit, label = "7", "Logs"
    views = frozenset({"logs", "agents", "header"})

    def draw(self, view: RunView) -> Drawing:
        state = view.state
        lines: list[Line] = [line((f"{glyphs.ATTENTION} ", Ink.WARN), text) for text in state.warnings]
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
        if not lines:
            return Drawing(empty("No warnings, no failed tool calls."), "Logs")
        return Drawing(lines, "Logs", f"{len(state.warnings)} warnings", to_end=True)
