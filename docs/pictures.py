"""Pictures from the real app: replays a recorded run without a terminal and saves its screens as SVG.

    python docs/pictures.py [RUN_DIR] [--out docs/pictures]

Without a run it takes the recorded one that ships with the package. Nothing is drawn by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui.client import ReplayClient
from vibeserve_tui.demo import unpacked
from vibeserve_tui.inputs.config import Config, Ui
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.tui.app import VibeServeApp
from vibeserve_tui.verbs.services import AppServices

SETTLE_S = 0.6


@dataclass(frozen=True, slots=True)
class Scene:
    """A place in the recording, the keys that lead to a screen, and its size."""

    name: str
    fraction: float
    keys: tuple[str, ...] = ()
    size: tuple[int, int] = (120, 40)
    theme: str = "vibeserve-dark"


SCENES = (
    Scene("run", 0.63),
    Scene("run-wide", 0.63, size=(200, 60)),
    Scene("run-small", 0.63, size=(80, 24)),
    Scene("run-light", 0.63, theme="vibeserve-light"),
    Scene("review", 1.0, ("g", "down", "down", "enter")),
    Scene("diff", 1.0, ("g", "down", "down", "3", "z")),
    Scene("compare", 1.0, ("g", "down", "down", "c")),
    Scene("board", 0.6, ("4", "z")),
    Scene("finished", 1.0),
)


async def take(scene: Scene, run: RunDir, out: Path) -> None:
    client = ReplayClient(run, speed=1.0)
    client.paused = True
    client.seek(scene.fraction)
    ui = Ui(theme=scene.theme, glyphs="unicode", hints=False, animations=False)
    app = VibeServeApp(AppServices(run.path.parent), client, config=Config(ui=ui))
    async with app.run_test(size=scene.size) as pilot:
        await pilot.pause(SETTLE_S)
        for key in scene.keys:
            await pilot.press(key)
            await pilot.pause(SETTLE_S / 3)
        await pilot.pause(SETTLE_S)
        app.save_screenshot(f"{scene.name}.svg", str(out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("pictures"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vibeserve-pictures-") as scratch:
        run = RunDir(options.run) if options.run else unpacked(Path(scratch))
        for scene in SCENES:
            asyncio.run(take(scene, run, options.out))
            print(options.out / f"{scene.name}.svg")


if __name__ == "__main__":
    main()
