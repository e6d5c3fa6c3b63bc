"""The app: it chooses themes and signs, mounts screens and forwards. It holds no run state and decides nothing.

Closing, killing or crashing it never touches a run: the engine is another process.
"""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.app import App
from textual.binding import BindingType

from vibeserve_tui.client import RunClient
from vibeserve_tui.tui import themes
from vibeserve_tui.tui.glyphs import GlyphSet, wants_ascii
from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.screens.run import RunScreen
from vibeserve_tui.tui.screens.steering import Steering
from vibeserve_tui.tui.services import Services

DETACH_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Ui:
    """The `[ui]` part of the configuration."""

    theme: str = themes.DEFAULT
    glyphs: GlyphSet = "auto"
    keymap: tuple[tuple[str, str], ...] = ()
    themes_dir: Path | None = None


class VibeServeApp(App[int]):
    CSS_PATH = "app.tcss"
    TITLE = "vibeserve"
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")

    def __init__(self, services: Services, client: RunClient | None = None, ui: Ui | None = None) -> None:
        super().__init__()
        self.services, self.client, self.ui = services, client, ui or Ui()
        self._interrupted = -DETACH_WITHIN_S
        own = (*themes.OWN, *(themes.user_themes(self.ui.themes_dir) if self.ui.themes_dir else ()))
        for theme in own:
            self.register_theme(theme)
        self._theme_names = [theme.name for theme in own] + ["ansi-dark", "ansi-light"]
        self.theme = self.ui.theme
        self.set_class(wants_ascii(self.ui.glyphs, os.environ), "-ascii")
        self.set_keymap(dict(self.ui.keymap))

    def on_mount(self) -> None:
        if self.client is not None:
            self.push_screen(RunScreen(self.client))
        # What stands now stays; later collections need not walk it.
        self.call_after_refresh(_freeze)

    def action_leave(self) -> None:
        """A screen over a run asks what should become of it."""
        if isinstance(self.screen, Steering):
            self.screen.action_leave()
        else:
            self.exit()

    def action_interrupt(self) -> None:
        """Ctrl+C asks as `q` does; a second one within two seconds detaches at once."""
        now = time.monotonic()
        if now - self._interrupted < DETACH_WITHIN_S:
            self.exit()
            return
        self._interrupted = now
        self.action_leave()

    def action_next_theme(self) -> None:
        names = self._theme_names
        self.theme = names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0]

    def action_save_picture(self) -> None:
        path = self.save_screenshot(path=str(Path.cwd()))
        self.notify(f"saved {path}", markup=False)


def _freeze() -> None:
    gc.collect()
    gc.freeze()


def run_app(services: Services, client: RunClient | None = None, ui: Ui | None = None) -> int:
    """Run the app until the operator leaves; returns the process's exit code."""
    # The launcher's COLUMNS and LINES would win over the real size of the terminal.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    if os.environ.get("SSH_CONNECTION"):
        os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    # A benchmark on the same cores must not feel the app.
    os.nice(10)
    app = VibeServeApp(services, client, ui)
    result = app.run()
    # Textual exits with 0 after an exception unless its own code is asked for.
    return app.return_code or result or 0
