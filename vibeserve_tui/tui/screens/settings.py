"""The looks, changed and seen at once; closing writes each changed line back into the user's file."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from vibeserve_tui.errors import ProfileError
from vibeserve_tui.inputs.config import Ui
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.ink import BLANK, Ink, Line, fit, line
from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.panes.bars import Footer
from vibeserve_tui.tui.settings import write_setting
from vibeserve_tui.tui.shell import shell_of
from vibeserve_tui.tui.widgets.line_view import LineView

ROWS = (
    ("theme", "colours"),
    ("glyphs", "auto: ASCII where the locale asks"),
    ("bell", "the bell when a round waits for you"),
    ("hints", "a line of help, once, when it helps"),
)


def draw_settings(ui: Ui, where: str) -> list[Line]:
    rows: list[Line] = [
        line((fit(name, 8), Ink.MUTED), fit(_word(ui, name), 22), (note, Ink.MUTED)) for name, note in ROWS
    ]
    return [*rows, BLANK, line(("keys and the rest: ", Ink.MUTED), where)]


def _word(ui: Ui, name: str) -> str:
    value = getattr(ui, name)
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


class SettingsScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = bindings("settings")

    def __init__(self, themes: tuple[str, ...]) -> None:
        super().__init__()
        self._themes = themes
        self._before: Ui | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="box dialog"):
            yield LineView(id="rows")
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self._before = shell_of(self).ui
        self.query_one(".dialog").border_title = content("Settings", self)
        self._draw(0)
        self.query_one("#rows").focus()
        self.call_after_refresh(self.query_one(Footer).show, shell_of(self).keys_of("settings"))

    def _draw(self, cursor: int) -> None:
        shell = shell_of(self)
        view = self.query_one("#rows", LineView)
        lines = draw_settings(shell.ui, str(shell.settings_file or "this app keeps no settings file"))
        view.styles.height = len(lines)
        view.set_lines(lines, cursor=cursor)

    def action_change(self, step: int) -> None:
        shell = shell_of(self)
        at = self.query_one("#rows", LineView).cursor or 0
        if at >= len(ROWS):
            return
        name = ROWS[at][0]
        options: tuple[str | bool, ...] = {
            "theme": self._themes,
            "glyphs": ("auto", "unicode", "ascii"),
            "bell": (True, False),
            "hints": (True, False),
        }[name]
        value = getattr(shell.ui, name)
        place = options.index(value) if value in options else 0
        shell.apply_ui(shell.ui.model_copy(update={name: options[(place + step) % len(options)]}))
        self._draw(at)

    def action_close(self) -> None:
        try:
            self._write()
        except ProfileError as error:
            words = f"{error}; it holds until you leave"
            self.notify(content(words, self).plain, severity="error", markup=False)
        self.dismiss(None)

    def _write(self) -> None:
        shell = shell_of(self)
        for name, _ in ROWS:
            value = getattr(shell.ui, name)
            if shell.settings_file is not None and self._before is not None and value != getattr(self._before, name):
                write_setting(shell.settings_file, "ui", name, value)
