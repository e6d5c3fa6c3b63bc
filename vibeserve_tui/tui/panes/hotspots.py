"""Where the time goes: phases, top operations and hints of the last profile; never a measurement."""

from __future__ import annotations

from collections.abc import Mapping

from vibeserve_tui.events import ProfileTaken
from vibeserve_tui.tui.ink import Ink, Line, fit, line, right
from vibeserve_tui.tui.panes.memory import draw_markdown
from vibeserve_tui.tui.panes.pane import Drawing, Pane, empty
from vibeserve_tui.tui.view import RunView
from vibeserve_tui.tui.widgets.whisker import bar

MOST = 12


def draw_profile(profile: ProfileTaken, width: int) -> list[Line]:
    lines = [*_shares("phases", profile.phases, width), *_shares("top operations", profile.operations, width)]
    if profile.hints:
        lines.append(line(("hints", Ink.BOLD)))
        for hint in profile.hints:
            lines += draw_markdown(f"- {hint}", width)
    return lines


def _shares(title: str, shares: Mapping[str, float], width: int) -> list[Line]:
    if not shares:
        return []
    shares = dict(sorted(shares.items(), key=lambda item: -item[1])[:MOST])
    name = min(max(len(text) for text in shares), max(8, width // 2))
    cells = max(0, min(30, width - name - 9))
    rows = [
        line(
            fit(text, name),
            (right(f"{100 * share:.1f} %", 8), Ink.PLAIN),
            (" " + bar(share, max(shares.values()), cells), Ink.MUTED),
        )
        for text, share in shares.items()
    ]
    return [line((title, Ink.BOLD)), *rows, ()]


class HotspotsPane(Pane):
    digit, label = "9", "Hotspots"
    views = frozenset({"hotspots"})

    def draw(self, view: RunView) -> Drawing:
        profiles = view.state.profiles
        if not profiles:
            return Drawing(empty("A profile of its own run follows each measurement; it never is one."), "Hotspots")
        number = view.selected if view.selected in profiles else max(profiles)
        profile = profiles[number]
        return Drawing(
            draw_profile(profile, self.text_width), f"Hotspots · r{number}", f"{profile.tool} · {profile.quality}"
        )
