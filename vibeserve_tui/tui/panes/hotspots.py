"""Where the time goes: phases, gaps, top operations and hints of the last profile; never a measurement."""

from __future__ import annotations

from collections.abc import Mapping

from vibeserve_tui.events import ProfileTaken
from vibeserve_tui.tui.ink import Ink, Line, fit, line, right
from vibeserve_tui.tui.panes.memory import draw_markdown
from vibeserve_tui.tui.panes.pane import Drawing, Pane, empty
from vibeserve_tui.tui.view import RunView
from vibeserve_tui.tui.widgets.whisker import bar

MOST = 12
HINTS: Mapping[str, str] = {
    "http_bound": "HTTP and tokenising take more than a quarter",
    "scheduler_bound": "the scheduler takes more than a fifth",
    "model_bound": "the model itself takes more than three fifths",
    "sampling_bound": "choosing tokens takes more than a seventh",
    "python_overhead_bound": "the device waits for Python",
    "cpu_launch_bound": "launching kernels takes longer than they do",
    "sync_bound": "the host waits for the device again and again",
    "memcpy_bound": "copies take a large part of the device's time",
    "comm_bound": "devices talk to one another",
}
"""Codes of the profilers in words; one that is not known here is shown as it is."""
QUALITIES: Mapping[str, str] = {
    "usable": "the profiler cost little",
    "perturbed": "the profiler slowed the server down: trust the order, not the shares",
    "uncalibrated": "what the profiler cost is not known",
}


def draw_profile(profile: ProfileTaken, width: int) -> list[Line]:
    lines = [
        *_shares("phases", profile.phases, width),
        line(("gaps", Ink.BOLD)),
        *draw_markdown(_gaps(profile), width),
        (),
        *_shares("top operations", profile.operations, width),
    ]
    if profile.hints:
        lines.append(line(("hints", Ink.BOLD)))
        for hint in profile.hints:
            lines += draw_markdown(f"- {HINTS.get(hint, hint.replace('_', ' '))}", width)
    return lines


def _gaps(profile: ProfileTaken) -> str:
    if profile.idle is None:
        return f"{profile.tool} did not see whether the device had nothing to do"
    window = f"of {profile.window_s:g} s " if profile.window_s else ""
    return f"at least {100 * profile.idle:.1f} % {window}nothing was computed"


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
            return Drawing(
                empty(
                    "After each kept round a profile shows here where its time goes; it is never a measurement.",
                    self.text_width,
                ),
                "Hotspots",
            )
        number = view.selected if view.selected in profiles else max(profiles)
        profile = profiles[number]
        foot = f"{profile.tool} · {_quality(profile)}"
        return Drawing(draw_profile(profile, self.text_width), f"Hotspots · r{number}, where the time goes", foot)


def _quality(profile: ProfileTaken) -> str:
    """The figure where it is known, in words where not."""
    if profile.observer_effect is None:
        return QUALITIES.get(profile.quality, profile.quality)
    trust = "" if profile.quality == "usable" else ": trust the order, not the shares"
    return f"it cost the server {100 * profile.observer_effect:.0f} %{trust}"
