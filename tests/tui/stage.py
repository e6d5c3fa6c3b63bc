"""Opens the app on a recorded run, at a size, with a clock that stands still."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from textual.pilot import Pilot

from tests.tui import journals
from tests.tui.fakes import FakeServices, ScriptClient, screen_text
from vibeserve_tui.client import Liveness
from vibeserve_tui.inputs.config import Config, Ui
from vibeserve_tui.tui.app import VibeServeApp
from vibeserve_tui.tui.screens.run import RunScreen
from vibeserve_tui.tui.services import Services

SNAPSHOTS = Path(__file__).parent / "snapshots"
UPDATE = "VIBESERVE_UPDATE_SNAPSHOTS"
LATER_S = 42.5
"""How long after the last record the frozen clock stands."""


@dataclass
class Stage:
    app: VibeServeApp
    pilot: Pilot[int]
    client: ScriptClient
    screen: RunScreen

    @property
    def text(self) -> str:
        return screen_text(self.app)

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
        await self.settle()

    async def until(self, text: str) -> None:
        """Wait until the screen shows this."""
        for _ in range(100):
            if text in self.text:
                return
            await self.pilot.pause(0.02)
        raise AssertionError(f"{text!r} is not on the screen:\n{self.text}")

    async def settle(self) -> None:
        """Let timers that draw have their turn, without waiting for real time."""
        self.screen.tick()
        self.screen.tick()
        await self.pilot.pause()


@asynccontextmanager
async def stage(
    journal: str = "running",
    size: tuple[int, int] = (120, 40),
    *,
    ui: Ui | None = None,
    liveness: Liveness | None = None,
    services: Services | None = None,
) -> AsyncIterator[Stage]:
    script = journals.ALL[journal]()
    client = ScriptClient(script, liveness)
    client.poll()
    app = VibeServeApp(
        services or FakeServices(),
        client,
        config=Config(ui=ui or Ui(glyphs="unicode", hints=False)),
        clock=lambda: script.now + LATER_S,
    )
    async with app.run_test(size=size, notifications=True) as pilot:
        screen = next(screen for screen in app.screen_stack if isinstance(screen, RunScreen))
        opened = Stage(app, pilot, client, screen)
        await opened.settle()
        yield opened


def assert_snapshot(name: str, text: str, *, kind: str = "txt") -> None:
    """Compare with the stored screen; with the environment variable set, store it instead."""
    path = SNAPSHOTS / f"{name}.{kind}"
    if os.environ.get(UPDATE):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert path.exists(), f"no snapshot {name}; {UPDATE}=1 pytest stores it"
    assert text == path.read_text(encoding="utf-8"), f"{name} changed; {UPDATE}=1 pytest stores the new one"
