"""Own themes, and themes that a user keeps as TOML files; everything else about colour is in `app.tcss`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from textual.theme import BUILTIN_THEMES, Theme

from vibeserve_tui.errors import ProfileError
from vibeserve_tui.inputs.toml_files import TomlFile

DEFAULT = "vibeserve-dark"
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}$")

# The terminal's own 16 colours; Textual's theme of this kind paints focus in the colour of success.
ANSI = replace(BUILTIN_THEMES["ansi-dark"], name="vibeserve-ansi", accent="ansi_cyan")
OWN: tuple[Theme, ...] = (
    Theme(
        name="vibeserve-dark", dark=True, primary="#58a6e8", secondary="#8fa3b8", accent="#4db2ff",
        foreground="#d9dfe6", background="#0f1317", surface="#0f1317", panel="#1a2027",
        success="#3fd17a", warning="#f2b134", error="#ff6b5e",
        variables={"code-keyword": "#d0b3ff", "code-name": "#7cc4ff", "code-string": "#e3c48d", "code-number": "#8fd6d0"},
    ),
    Theme(
        name="vibeserve-light", dark=False, primary="#0a5bb5", secondary="#4c5a68", accent="#0a5bb5",
        foreground="#1d2329", background="#fbfaf7", surface="#fbfaf7", panel="#eeece6",
        success="#0a7a3a", warning="#945600", error="#bb2318",
        variables={"code-keyword": "#6228a8", "code-name": "#0a468c", "code-string": "#6e3c00", "code-number": "#00534e"},
    ),
    Theme(
        name="vibeserve-contrast", dark=True, primary="#6fc3ff", secondary="#ffffff", accent="#6fc3ff",
        foreground="#ffffff", background="#000000", surface="#000000", panel="#101010",
        success="#5dff8f", warning="#ffd23f", error="#ff8a7d",
        variables={"code-keyword": "#e0c8ff", "code-name": "#b5deff", "code-string": "#ffe3ab", "code-number": "#b8f5ee"},
    ),
    ANSI,
)  # fmt: skip


class ThemeFile(BaseModel):
    """One `themes/<name>.toml` of the config folder: colours as `#rrggbb`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dark: bool = True
    primary: str
    foreground: str
    background: str
    accent: str
    success: str
    warning: str
    error: str

    @field_validator("primary", "foreground", "background", "accent", "success", "warning", "error")
    @classmethod
    def _is_a_colour(cls, value: str) -> str:
        if not _COLOUR.match(value):
            raise ValueError("a colour is written #rrggbb")
        return value


def user_themes(folder: Path) -> list[Theme]:
    """The themes of this folder; a file that is none raises ProfileError with its field."""
    return [_read(path) for path in sorted(folder.glob("*.toml"))]


def _read(path: Path) -> Theme:
    try:
        given = ThemeFile.model_validate(TomlFile.read(path, ProfileError).table)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "theme"
        raise ProfileError(
            f"{field}: {first['msg']}", where=str(path), fix="copy the names from an own theme"
        ) from error
    return Theme(
        name=path.stem, dark=given.dark, primary=given.primary, foreground=given.foreground, background=given.background,
        surface=given.background, panel=given.background, accent=given.accent, success=given.success,
        warning=given.warning, error=given.error,
    )  # fmt: skip
