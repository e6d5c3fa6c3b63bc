"""The app: it chooses themes and signs, mounts screens and forwards. It holds no run state and decides nothing.

Closing, killing or crashing it never touches a run: the engine is another process.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.console import RenderableType
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from vibeserve_tui.client import RunClient
from vibeserve_tui.inputs.config import Config, Ui
from vibeserve_tui.state.run_dir import runs_root
from vibeserve_tui.tui import themes
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.crash import last_words, write_report
from vibeserve_tui.tui.glyphs import wants_ascii
from vibeserve_tui.tui.hints import Hints
from vibeserve_tui.tui.keymap import SCREENS, bindings, shown_keys, with_user_keys
from vibeserve_tui.tui.outside import Outside
from vibeserve_tui.tui.screens.compare import CompareScreen
from vibeserve_tui.tui.screens.compare_runs import CompareRunsScreen
from vibeserve_tui.tui.screens.help import HelpScreen
from vibeserve_tui.tui.screens.review import ReviewScreen
from vibeserve_tui.tui.screens.run import RunScreen
from vibeserve_tui.tui.screens.settings import SettingsScreen
from vibeserve_tui.tui.screens.skills import SkillsScreen
from vibeserve_tui.tui.screens.start import StartScreen
from vibeserve_tui.tui.screens.steering import Steering
from vibeserve_tui.tui.services import Services
from vibeserve_tui.tui.shell import Shell
from vibeserve_tui.tui.terminal import driver_on, guarded

DETACH_WITHIN_S = 2.0
NICENESS = 10


class VibeServeApp(Shell):
    CSS_PATH = "app.tcss"
    TITLE = "vibeserve"
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")

    def __init__(
        self,
        services: Services,
        client: RunClient | None = None,
        *,
        config: Config | None = None,
        config_dir: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # NO_COLOR means none: else Textual would send every colour as a grey of its own.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self._clock = clock
        config = config or Config()
        self.services, self.client, self.ui = services, client, config.ui
        self.hints = Hints(services.crash_dir / "hints-seen", wanted=config.ui.hints)
        self.table = with_user_keys(config.keymap)
        self.outside = Outside()
        self.settings_file = config_dir / "config.toml" if config_dir else None
        self.crash: BaseException | None = None
        self.way_back = ""
        self._interrupted = -DETACH_WITHIN_S
        own = [*themes.OWN, *(themes.user_themes(config_dir / "themes") if config_dir else ())]
        for theme in own:
            self.register_theme(theme)
        self.theme_names = (*(theme.name for theme in own), "ansi-light")
        self.set_keymap(dict(config.keymap))
        if not config.ui.animations or os.environ.get("SSH_CONNECTION"):
            self.animation_level = "none"
        self.apply_ui(self.ui)

    def apply_ui(self, ui: Ui) -> None:
        self.ui = ui
        self.hints.wanted = ui.hints
        self.theme = ui.theme if ui.theme in self.available_themes else themes.DEFAULT
        self.ascii_only = wants_ascii(ui.glyphs, os.environ)
        self.set_class(self.ascii_only, "-ascii")
        if self.is_running:
            self.refresh_css()

    def on_mount(self) -> None:
        if self.client is not None:
            self.push_screen(RunScreen(self.client, self._clock))
        else:
            self.push_screen(StartScreen(self.services, self._clock))
        # What stands now stays; later collections need not walk it.
        self.call_after_refresh(_freeze)

    def on_unmount(self) -> None:
        self.outside.close()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: every key of the screen by what it does, and its panes by name."""
        for scope in SCREENS[screen_name(screen)]:
            for key in self.table[scope]:
                if key.action and scope != "lines":
                    owner = self if scope == "app" else screen
                    run = partial(self.run_action, key.action, default_namespace=owner)
                    yield SystemCommand(f"{key.help}", shown_keys(key), run)
        for binding in screen.BINDINGS:
            if isinstance(binding, Binding) and binding.action.startswith("go("):
                run = partial(self.run_action, binding.action, default_namespace=screen)
                yield SystemCommand(f"go to {binding.description}", binding.key, run)

    def action_help(self) -> None:
        self.push_screen(HelpScreen(screen_name(self.screen)))

    def action_settings(self) -> None:
        self.push_screen(SettingsScreen(self.theme_names))

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

    @property
    def run_on_screen(self) -> RunScreen | None:
        return next((screen for screen in reversed(self.screen_stack) if isinstance(screen, RunScreen)), None)

    def exit(self, result: int | None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """Whoever leaves a run that goes on is told afterwards how to come back."""
        screen = self.run_on_screen
        self.way_back = way_back(screen.client) if screen and screen.view.goes_on else ""
        super().exit(result, return_code, message)

    def action_next_theme(self) -> None:
        names = self.theme_names
        at = names.index(self.theme) if self.theme in names else -1
        self.apply_ui(self.ui.model_copy(update={"theme": names[(at + 1) % len(names)]}))

    def action_save_picture(self) -> None:
        path = self.save_screenshot(path=str(Path.cwd()))
        self.notify(content(f"saved {path}", self).plain, markup=False)

    def watch_title(self, title: str) -> None:
        """The terminal's own title follows the app's; a run that waits shows in the list of windows."""
        if self._driver is not None and self.is_running:
            self._driver.write(f"\x1b]2;{content(title, self).plain}\x07")

    def _fatal_error(self) -> None:
        """Keep the fault for the report instead of printing a traceback with the values of local variables."""
        self.crash = sys.exc_info()[1] or self._exception
        if screen := self.run_on_screen:
            self.client = screen.client
        self._close_messages_no_wait()


def screen_name(screen: Screen[object]) -> str:
    """The name under which the key table knows the scopes of this screen."""
    match screen:
        case StartScreen():
            return "start"
        case CompareScreen():
            return "compare"
        case CompareRunsScreen():
            return "compare-runs"
        case ReviewScreen():
            return "review"
        case SkillsScreen():
            return "skills"
        case _:
            return "run"


def _freeze() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


def run_app(
    services: Services,
    client: RunClient | None = None,
    *,
    config: Config | None = None,
    config_dir: Path | None = None,
) -> int:
    """Run the app until the operator leaves; returns the process's exit code.

    With a client it opens on that run, without one on the start screen. `config_dir` holds config.toml and themes/.
    Raises ProfileError for a keymap that clashes and for a broken theme file.
    """
    # The launcher's COLUMNS and LINES would win over the real size of the terminal.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    with guarded(services.crash_dir / "stray-output.log") as terminal:
        gc.disable()  # what is made until the first screen stands is there to stay
        app = VibeServeApp(services, client, config=config, config_dir=config_dir)
        app.driver_class = driver_on(terminal)
        # With 16 colours the nearest one to most of ours is white; the terminal's own palette keeps the meanings apart.
        if app.theme == themes.DEFAULT and app.console.color_system in ("standard", "windows"):
            app.theme = themes.ANSI.name
        if sys.platform == "linux":
            # A benchmark on the same cores must not feel the app. Here the call is for this thread alone, so engines
            # that the threads of `outside` start are spared; elsewhere they would inherit it.
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
        result = app.run()
    if app.crash is None:
        sys.stderr.write(f"the run goes on without the app; back to it: {app.way_back}\n" if app.way_back else "")
        return app.return_code or result or 0
    path = None
    with contextlib.suppress(OSError):
        path = write_report(app.crash, services.crash_dir, seq=app.client.state.seq if app.client else None)
    sys.stderr.write(last_words(app.crash, path, way_back(app.client) if app.client else "") + "\n")
    return 1


def way_back(client: RunClient) -> str:
    """The command that attaches to this run: by its name where the runs usually lie, else by its folder."""
    folder = client.run_dir
    name = client.state.run if folder is None or folder.parent == runs_root() else str(folder)
    return f"vibeserve attach {name}"
