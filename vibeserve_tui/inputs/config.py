"""The user's settings, in layers: defaults < user's file < project's file < environment < command line.

Settings say how the app looks and where agents answer; what a run does is a run profile's business.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveInt

from vibeserve_tui.errors import ProfileError
from vibeserve_tui.events import ApprovalMode
from vibeserve_tui.inputs.profiles import DEFAULT_PROFILE, Name
from vibeserve_tui.inputs.toml_files import Fault, Section, TomlFile, merged, section_fault, validate

PROJECT_FILE = "vibeserve.toml"
_PERSONAL = ("providers", "prices")
"""Tables that a project's file may not have: a cloned folder could else send the user's key to a server of its own."""
_VARIABLE = re.compile(r"VIBESERVE_([A-Z]+)__([A-Z_]+)")


def _variable_name(value: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*", value):
        raise section_fault(
            "is not a variable's name", fix="name the variable that holds the key, never the key itself"
        )
    return value


def _http_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise section_fault(f"{value[:60]!r} is not an http(s) URL", fix="write it like http://127.0.0.1:8080/v1")
    return value


class RunDefaults(Section):
    """[run]: what a run is started with when the command line does not say it."""

    profile: Annotated[str, Field(min_length=1)] = DEFAULT_PROFILE
    """A shipped profile's name, or the path of a file."""
    backend: Name | None = None
    agent: Name | None = None
    """Provider of every role."""
    model: str | None = None
    approval: ApprovalMode | None = None
    runs_dir: str | None = None
    """Where runs are kept; absent = the user's data folder."""


class Ui(Section):
    """[ui]: how the app looks."""

    theme: str = "vibeserve-dark"
    glyphs: Literal["auto", "unicode", "ascii"] = "auto"
    repaint_hz: Annotated[int, Field(ge=1, le=10)] = 4
    animations: bool = True
    bell: bool = True
    hints: bool = True


class Provider(Section):
    """[providers.NAME]: a server that answers for agents."""

    kind: Name
    """A file of vibeserve_tui/agents."""
    api: Literal["messages", "responses", "chat"] = "chat"
    base_url: Annotated[str, AfterValidator(_http_url)]
    api_key_env: Annotated[str, AfterValidator(_variable_name)] | None = None
    """Name of the environment variable that holds the key."""
    auth: Literal["bearer", "x-api-key", "none"] = "bearer"
    context: PositiveInt | None = None
    """Tokens that the server takes."""


class Price(Section):
    """[prices.MODEL]: USD per million tokens, for models that the price table does not know."""

    input: NonNegativeFloat
    output: NonNegativeFloat
    cache_read: NonNegativeFloat | None = None
    cache_write: NonNegativeFloat | None = None


class Config(Section):
    """All settings."""

    run: RunDefaults = RunDefaults()
    ui: Ui = Ui()
    keymap: Mapping[str, str] = {}
    """Binding id to keys."""
    providers: Mapping[str, Provider] = {}
    prices: Mapping[str, Price] = {}


def user_config_file() -> Path:
    return platformdirs.user_config_path("vibeserve") / "config.toml"


def load_config(
    environment: Mapping[str, str],
    *,
    project: Path,
    user_file: Path | None = None,
    overrides: Mapping[str, Mapping[str, object]] | None = None,
) -> Config:
    """All layers merged; `project` is the folder whose vibeserve.toml counts, `overrides` the command line's part."""
    layers = [
        _file_layer(user_file or user_config_file(), personal=True),
        _file_layer(project / PROJECT_FILE, personal=False),
        _environment_layer(environment),
        overrides or {},
    ]
    table: Mapping[str, object] = {}
    for layer in layers:
        table = merged(table, layer)
    config, faults = validate(table, Config)
    if config is None:
        raise ProfileError(faults[0].what, where=f"setting {faults[0].field}", fix=faults[0].fix)
    return config


def _file_layer(path: Path, *, personal: bool) -> Mapping[str, object]:
    if not path.exists():
        return {}
    file = TomlFile.read(path, ProfileError)
    file.parse(Config)  # each file by itself, so that a fault is named with its file
    for name in _PERSONAL:
        if name in file.table and not personal:
            raise file.problem(Fault(name, "is not read from a project's file", f"move it to {user_config_file()}"))
    return file.table


def _environment_layer(environment: Mapping[str, str]) -> Mapping[str, object]:
    """`VIBESERVE_UI__THEME=…` sets ui.theme; values are TOML, or else text."""
    table: dict[str, dict[str, object]] = {}
    for variable, value in sorted(environment.items()):
        if match := _VARIABLE.fullmatch(variable):
            section, key = match[1].lower(), match[2].lower()
            faults = validate({section: {key: _toml_value(value)}}, Config)[1]
            if faults:
                raise ProfileError(faults[0].what, where=variable, fix=faults[0].fix)
            table.setdefault(section, {})[key] = _toml_value(value)
    return table


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text
