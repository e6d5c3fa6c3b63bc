"""What a screen may ask of the app it stands on: services, the key table, and the looks.

Screens import this, the app implements it; so no screen knows the app and no cycle arises.
"""

from __future__ import annotations

from pathlib import Path

from textual.app import App
from textual.dom import DOMNode

from vibeserve_tui.inputs.config import Ui
from vibeserve_tui.tui.keymap import Key, KeyTable
from vibeserve_tui.tui.services import Services


class Shell(App[int]):
    services: Services
    table: KeyTable
    ui: Ui
    settings_file: Path | None

    def keys_of(self, *scopes: str) -> list[Key]:
        """The keys of these scopes, with the user's own keys in their place."""
        return [key for scope in scopes for key in self.table[scope]]

    def apply_ui(self, ui: Ui) -> None:
        """Take over changed looks at once."""
        raise NotImplementedError


def shell_of(node: DOMNode) -> Shell:
    app = node.app
    assert isinstance(app, Shell), "every screen of this package stands on the app of this package"
    return app
