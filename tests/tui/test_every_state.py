"""Every screen in every state a run can be in, as text at 80×24: one stored sheet a state, to be read by people."""

from __future__ import annotations

import pytest

from tests.tui.fakes import FakeServices, screen_text
from tests.tui.stage import Stage, assert_snapshot, stage
from tests.tui.start_services import Library
from tests.tui.test_start import start_screen, until
from vibeserve_tui.client import Liveness
from vibeserve_tui.inputs.config import Config, Ui
from vibeserve_tui.tui.app import VibeServeApp
from vibeserve_tui.tui.layout import PANES

pytestmark = pytest.mark.slow
SIZE = (80, 24)
LIVENESS = {
    "empty": None,
    "running": None,
    "waiting": None,
    "paused": None,
    "finished": None,
    "failed": None,
    "engine_lost": Liveness.CRASHED,
    "engine_silent": Liveness.NOT_RESPONDING,
}
"""By journal, what the engine's process is doing; None = what the journal says."""
DIALOGS = {
    "help": ("question_mark",), "settings": ("comma",), "leave": ("q",), "steer": ("s",),
    "ask": ("A",), "budget and approval": ("B",), "cancel the round": ("x",), "file an issue": ("i",), "edit an issue": ("4", "e"),
    "edit the memory": ("5", "e"), "find in a diff": ("3", "slash"), "filter": ("slash",), "an issue in full": ("4", "enter"),
    "a tool call in full": ("6", "k", "enter"), "skills": ("L",), "board as columns at 80": ("4", "z"),
}  # fmt: skip


def titled(title: str, text: str) -> str:
    return f"═══ {title} ═══\n{text}\n"


async def back(opened: Stage) -> None:
    """To the run screen as it was opened."""
    while opened.app.screen is not opened.screen:
        await opened.press("escape")
    await opened.press("1")


async def sheet_of(opened: Stage) -> str:
    shown = [titled("as it opens", opened.text)]
    await back(opened)
    for digit, name in enumerate(PANES, 1):
        await opened.press(str(digit))
        shown.append(titled(f"{digit} {name}", opened.text))
    await opened.press("1")
    for title, keys in {
        "review": ("enter",),
        "its judge": ("enter", "3"),
        "compare": ("left_square_bracket", "c"),
    }.items():
        await opened.press(*keys)
        shown.append(titled(title, opened.text))
        opened.app.clear_notifications()
        await back(opened)
    return "".join(shown)


@pytest.mark.parametrize("state", LIVENESS)
async def test_every_pane_looks_as_stored_in_this_state(state: str) -> None:
    async with stage(state, SIZE, liveness=LIVENESS[state]) as opened:
        assert_snapshot(f"state-{state}", await sheet_of(opened))


async def test_every_dialog_looks_as_stored() -> None:
    shown = []
    async with stage("running", SIZE, services=Library()) as opened:
        for title, keys in DIALOGS.items():
            await opened.press(*keys)
            await opened.pilot.pause(0.1)
            shown.append(titled(title, opened.text))
            opened.screen._zoomed = False
            await back(opened)
            await opened.press("escape", "escape")
    assert_snapshot("dialogs", "".join(shown))


async def test_the_first_start_on_a_machine_looks_as_stored() -> None:
    nothing = VibeServeApp(FakeServices(), config=Config(ui=Ui(glyphs="unicode", hints=False)))
    async with nothing.run_test(size=SIZE) as pilot:
        await until(nothing, pilot, "No runs yet")
        shown = [titled("no target, no finding, no run", screen_text(nothing))]
    async with start_screen(Library(past=()), SIZE) as (app, pilot):
        await until(app, pilot, "2 cores, AVX2")
        await until(app, pilot, "No runs yet")
        shown.append(titled("no run yet", screen_text(app)))
        await pilot.press("down", "down", "down")
        await until(app, pilot, "✗ needs metal")
        shown.append(titled("a target that cannot run here", screen_text(app)))
        await pilot.press("d")
        await until(app, pilot, "install driver 550")
        shown.append(titled("this machine", screen_text(app)))
    assert_snapshot("first-start", "".join(shown))
