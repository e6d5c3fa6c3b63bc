"""What a screen may ask of the app it stands on: services, the key table, and the looks.

Screens import this, the app implements it; so no screen knows the app and no cycle arises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from rich.style import Style
from textual.app import App
from textual.dom import DOMNode
from textual.screen import Screen

from vibeserve_tui.ascii_signs import to_ascii
from vibeserve_tui.errors import VibeServeError
from vibeserve_tui.inputs.config import Ui
from vibeserve_tui.safe_text import clean_line
from vibeserve_tui.tui.hints import Hints
from vibeserve_tui.tui.ink import Ink
from vibeserve_tui.tui.keymap import Key, KeyTable
from vibeserve_tui.tui.outside import Outside
from vibeserve_tui.tui.palette import ink_styles
from vibeserve_tui.tui.services import Services

HINT_S = 8.0
Answer = TypeVar("Answer")
Result = TypeVar("Result")


class Shell(App[int]):
    services: Services
    table: KeyTable
    ui: Ui
    settings_file: Path | None
    outside: Outside
    hints: Hints
    ascii_only: bool = False

    @property
    def ink_styles(self) -> Mapping[Ink, Style]:
        """The looks of all inks in the present theme."""
        if self._inks_of != self.theme:
            self._inks_of = self.theme
            self._inks = ink_styles(self.get_css_variables(), ansi=self.native_ansi_color, no_color=self.no_color)
        return self._inks

    _inks: Mapping[Ink, Style] = {}
    _inks_of = ""

    def ask(
        self, question: Callable[[], Answer], then: Callable[[Answer], None], failed: Callable[[str], None]
    ) -> None:
        """Ask in another thread, take the answer on the app's own; a fault that is meant for people goes to `failed`."""

        def work() -> None:
            try:
                answer = question()
            except VibeServeError as error:
                self.call_later(failed, str(error))
            except OSError as error:
                self.call_later(failed, f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
            except Exception as error:  # noqa: BLE001 - the thread's border: the app's own handler takes it
                self.call_later(_raise, error)
            else:
                self.call_later(then, answer)

        self.outside.do(work)

    def hint(self, situation: str) -> None:
        """Show this situation's hint, if the user has not seen it yet."""
        if words := self.hints.take(situation):
            shown = f"hint: {to_ascii(words) if self.ascii_only else words}"
            self.notify(clean_line(shown), timeout=HINT_S, markup=False)

    def keys_of(self, *scopes: str) -> list[Key]:
        """The keys of these scopes, with the user's own keys in their place."""
        return [key for scope in scopes for key in self.table[scope]]

    def apply_ui(self, ui: Ui) -> None:
        """Take over changed looks at once."""
        raise NotImplementedError


def _raise(error: Exception) -> None:
    raise error


def stands(screen: Screen[Result], parts: Iterable[str]) -> bool:
    """Whether all these widgets are there: a timer may fire before a screen is composed, or while it is taken down."""
    present = {node.id for node in screen.walk_children()}
    return present.issuperset(parts)


def shell_of(node: DOMNode) -> Shell:
    app = node.app
    assert isinstance(app, Shell), "every screen of this package stands on the app of this package"
    return app
