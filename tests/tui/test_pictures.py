"""Colours as they are drawn: a few screens as SVG. `VIBESERVE_UPDATE_SNAPSHOTS=1 pytest` stores what it sees."""

from __future__ import annotations

import pytest

from tests.tui.stage import assert_snapshot, stage
from tests.tui.start_services import Library
from vibeserve_tui.inputs.config import Ui

pytestmark = pytest.mark.slow
PICTURES = {
    "run-dark": ("running", (), "vibeserve-dark"),
    "run-light": ("running", (), "vibeserve-light"),
    "run-contrast": ("running", (), "vibeserve-contrast"),
    "run-ansi": ("running", (), "vibeserve-ansi"),
    "review-dark": ("waiting", (), "vibeserve-dark"),
    "diff-dark": ("finished", ("3", "z"), "vibeserve-dark"),
    "diff-light": ("finished", ("3", "z"), "vibeserve-light"),
    "compare-dark": ("finished", ("c",), "vibeserve-dark"),
    "find-dark": ("finished", ("3", "z", "slash", *"bucket", "enter"), "vibeserve-dark"),
}


@pytest.mark.parametrize("name", PICTURES)
async def test_a_screen_has_its_colours(name: str) -> None:
    journal, keys, theme = PICTURES[name]
    ui = Ui(theme=theme, glyphs="unicode", hints=False, animations=False)
    async with stage(journal, (80, 24), ui=ui, services=Library()) as opened:
        await opened.press(*keys)
        await opened.pilot.pause(0.1)
        assert_snapshot(name, opened.app.export_screenshot(simplify=True), kind="svg")
