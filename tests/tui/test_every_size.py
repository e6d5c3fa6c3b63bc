"""Laws that hold on every screen, in every state of a run, at every size that the app is made for, after any resize.

The sheets of `test_every_state.py` are read by people, at 80x24. Here the same screens are gone through at the other sizes:
nothing is torn, overlaps or runs out of the screen, no figure is cut, and what has to be seen is there.
"""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from rich.cells import cell_len
from textual.screen import Screen
from textual.widget import Widget

from tests.tui import journals
from tests.tui.fakes import screen_text
from tests.tui.stage import Stage, stage
from tests.tui.start_services import Library
from tests.tui.test_every_state import DIALOGS, LIVENESS
from vibeserve_tui.inputs.config import Config, Ui
from vibeserve_tui.tui.app import VibeServeApp
from vibeserve_tui.tui.layout import PANES

pytestmark = pytest.mark.slow
SIZES = ((60, 16), (200, 60), (120, 40))
LEFT, RIGHT = "│╭╰", "│╮╯"
WAY_OUT = re.compile(r"(?:^|  | )(?:esc|q|n) (?:esc )?\w+")
FIGURE_CUT = re.compile(r"(?:[+−~×$]\d[\d.,]*|\d (?:tok|m|Mi))…(?=[ │▐]|$)")
STATES = {
    "empty": "◐ starting", "running": "measuring", "waiting": "‖ round 9 waits for you", "paused": "‖ paused", "finished": "✓ finished",
    "failed": "✗ failed", "engine_lost": "crashed", "engine_silent": "! engine not responding",
}  # fmt: skip
"""What the header's first line has to say."""
BUSY = frozenset({"running", "waiting", "finished"})
"""States in which every pane has something of its own to show; in the others they are those of a shorter run."""
PAGES = {
    "review": (("enter",), r"\[1 Metrics"),
    "its diff": (("enter", "2"), r"\[2 Diff"),
    "its judge": (("enter", "3"), r"\[3 Judge"),
    "compare": (("left_square_bracket", "c"), r"A = r\d.*B = r\d"),
}
"""Pages over a run that has rounds, and what each has to show."""


def torn(text: str, size: tuple[int, int]) -> list[str]:
    """Rows that are too wide, boxes that do not close at the edge, and panes that failed."""
    rows = text.rstrip("\n").split("\n")
    found = [row for row in rows if cell_len(row) > size[0]]
    # Beside the panes of the left half stands the line of tabs, which has no border.
    found += [row for row in rows if row[:1] in tuple(LEFT) and row[-1:] not in tuple(RIGHT) and "3 Diff" not in row]
    found += [row for row in rows if "this pane failed" in row]
    return found if len(rows) <= size[1] else [*found, f"{len(rows)} rows"]


def overlapping(screen: Screen[object]) -> list[str]:
    """Pairs of widgets of the screen on top that lie over one another; a toast may, which goes by itself."""
    shown = [
        node
        for node in screen.walk_children(Widget)
        if node.is_on_screen and node.visible and not node.displayed_children and node.region.area
    ]
    shown = [node for node in shown if not {"Toast", "ToastHolder", "ToastRack", "Tooltip"} & set(node._css_type_names)]
    outside = [f"{node} leaves the screen" for node in shown if node.region not in screen.region]
    return outside + [f"{a} over {b}" for a, b in combinations(shown, 2) if a.region.overlaps(b.region)]


def lost_focus(screen: Screen[object]) -> list[str]:
    focused = screen.focused
    seen = focused is None or (focused.is_on_screen and focused.region.area and focused.region in screen.region)
    return [] if seen else [f"{focused} takes the keys and is not on the screen"]


def faults_of(app: VibeServeApp, size: tuple[int, int]) -> list[str]:
    text = screen_text(app)
    rows = text.rstrip("\n").split("\n")
    found = [*torn(text, size), *overlapping(app.screen), *lost_focus(app.screen)]
    found += [row for row in rows if FIGURE_CUT.search(row)]
    return found if WAY_OUT.search(rows[-1]) else [*found, f"no way out: {rows[-1]}"]


async def walk(opened: Stage, state: str, size: tuple[int, int]) -> dict[str, list[str]]:
    """Every pane and page at this size; what is wrong, by where."""
    faults: dict[str, list[str]] = {}
    for digit, name in enumerate(PANES if state in BUSY else PANES[:4], 1):
        await opened.press(str(digit))
        rows = opened.text.split("\n")
        faults[name] = faults_of(opened.app, size)
        faults[name] += [] if STATES[state] in rows[0] else [f"state: {rows[0]}"]
        faults[name] += [] if state == "empty" or re.search(r"\d.* tok/s", rows[1]) else [f"result: {rows[1]}"]
    await opened.press("1")
    opened.screen.action_follow()
    for name, (keys, fact) in PAGES.items() if state != "empty" else ():
        await opened.press(*keys)
        faults[name] = faults_of(opened.app, size) + ([] if re.search(fact, opened.text) else [opened.text])
        opened.app.clear_notifications()
        await opened.press("escape")
    return {f"{name} at {size[0]}x{size[1]}": found for name, found in faults.items() if found}


async def home(opened: Stage) -> None:
    """To the rounds, from whatever lies over them."""
    while opened.app.screen is not opened.screen:
        await opened.press("escape")
    opened.screen._zoomed = False
    opened.screen.action_go("rounds")
    await opened.settle()


@pytest.mark.parametrize("state", STATES)
async def test_every_pane_and_page_holds_at_every_size_in_this_state(state: str) -> None:
    faults: dict[str, list[str]] = {}
    async with stage(state, SIZES[-1], liveness=LIVENESS[state], services=Library()) as opened:
        await home(opened)
        for size in SIZES:
            await opened.pilot.resize_terminal(*size)
            faults |= await walk(opened, state, size)
    assert faults == {}


async def test_every_dialog_holds_at_every_size() -> None:
    faults: dict[str, list[str]] = {}
    async with stage("running", SIZES[-1], services=Library()) as opened:
        for size in SIZES:
            await opened.pilot.resize_terminal(*size)
            for title, keys in (DIALOGS | {"palette": ("ctrl+p",)}).items():
                await opened.press(*keys)
                await opened.pilot.pause(0.05)
                found = torn(opened.text, size) if title == "palette" else faults_of(opened.app, size)
                faults |= {f"{title} at {size}": found} if found else {}
                await opened.press("escape")
                await home(opened)
    assert faults == {}


PLACES = {
    "start": (), "machine": ("d",), "skills": ("s",), "new target": ("n",), "settings": ("comma",), "help": ("question_mark",),
    "agents": ("a",), "two runs": ("4", "m", "down", "c"), "delete": ("4", "X"),
}  # fmt: skip


async def test_every_page_of_the_start_holds_at_every_size() -> None:
    faults: dict[str, list[str]] = {}
    config = Config(ui=Ui(glyphs="unicode", hints=False))
    app = VibeServeApp(Library(), config=config, clock=lambda: journals.START)
    async with app.run_test(size=SIZES[-1]) as pilot:
        for size in SIZES:
            await pilot.resize_terminal(*size)
            for title, keys in PLACES.items():
                await pilot.press(*keys)
                await pilot.pause(0.1)
                if found := faults_of(app, size):
                    faults[f"{title} at {size}"] = found
                await pilot.press("escape")
    assert faults == {}


async def test_all_of_it_can_be_spelled_in_ascii() -> None:
    """Also what Textual draws itself: its fields, its palette, its toasts."""
    faults: dict[str, set[str]] = {}
    async with stage("finished", (120, 40), services=Library(), ui=Ui(glyphs="ascii", hints=False)) as opened:
        places = {name: (str(digit),) for digit, name in enumerate(PANES, 1)} | {
            n: keys for n, (keys, _) in PAGES.items()
        }
        for title, keys in (places | DIALOGS | {"palette": ("ctrl+p",)}).items():
            await opened.press(*keys)
            await opened.pilot.pause(0.05)
            if not opened.text.isascii():
                faults[title] = {sign for sign in opened.text if not sign.isascii()}
            await opened.press("escape")
            await home(opened)
    assert faults == {}


def cells(app: VibeServeApp) -> list[list[tuple[str, str]]]:
    """The screen cell by cell, each with its look."""
    rows = app.screen._compositor.render_strips()
    return [[(letter, str(style)) for text, style, _ in row for letter in text] for row in rows]


@pytest.mark.parametrize("no_color", ["", "1"], ids=["colours", "no-color"])
async def test_where_the_keys_go_can_be_seen(no_color: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has the focus looks different from the same thing without it."""
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    unseen = []
    async with stage("running", (120, 40), services=Library()) as opened:
        for key in (*map(str, range(1, len(PANES) + 1)), "i", "comma", "s", "slash", "L", "question_mark"):
            await opened.press(key)
            with_focus, focused = cells(opened.app), opened.app.screen.focused
            opened.app.screen.set_focus(None)
            await opened.settle()
            if focused is None or cells(opened.app) == with_focus:
                unseen.append(f"{key}: {focused}")
            await home(opened)
    assert unseen == []
