"""Settings: where to serve and from what (environment), and the knobs of config.json.

A knob is read by its name and type at the place that uses it. When the server is built, a key that nobody read is an
error: it is a typo, or belongs to code that is no longer there.
"""

import json
import os
from pathlib import Path


class ConfigError(Exception):
    """Something in the environment or in config.json is not what the server needs."""


class Config:
    def __init__(self, knobs: dict[str, object], environment: dict[str, str]) -> None:
        self._knobs = knobs
        self._unread = set(knobs)
        self._environment = environment

    @classmethod
    def load(cls) -> "Config":
        try:
            knobs = json.loads((Path(__file__).parent / "config.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"config.json: {error}") from error
        if not isinstance(knobs, dict):
            raise ConfigError("config.json: must be an object")
        return cls(knobs, dict(os.environ))

    @property
    def model_dir(self) -> Path:
        return Path(self._required("MODEL_DIR"))

    @property
    def host(self) -> str:
        return self._environment.get("HOST", "127.0.0.1")

    @property
    def port(self) -> int:
        text = self._required("PORT")
        if not text.isdecimal():
            raise ConfigError(f"the environment variable PORT is {text!r}, must be a number")
        return int(text)

    @property
    def commit(self) -> str:
        return self._environment.get("VIBESERVE_COMMIT", "")

    @property
    def build_dir(self) -> Path:
        """A writable folder for whatever is compiled at start."""
        return Path(self._environment.get("BUILD_DIR") or self._environment.get("TMPDIR", "/tmp"))

    def integer(self, name: str) -> int:
        value = self._knob(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"config.json: {name} is {value!r}, must be an integer")
        return value

    def text(self, name: str) -> str:
        value = self._knob(name)
        if not isinstance(value, str):
            raise ConfigError(f"config.json: {name} is {value!r}, must be a string")
        return value

    def excuse(self, *names: str) -> None:
        """These knobs belong to code that stays in the tree but has no part in this start."""
        self._unread.difference_update(names)

    def refuse_unread(self) -> None:
        if self._unread:
            raise ConfigError(f"config.json: unknown key {min(self._unread)!r}: nothing in this server reads it")

    def _knob(self, name: str) -> object:
        if name not in self._knobs:
            raise ConfigError(f"config.json: {name} is missing")
        self._unread.discard(name)
        return self._knobs[name]

    def _required(self, name: str) -> str:
        value = self._environment.get(name, "")
        if not value:
            raise ConfigError(f"the environment variable {name} is not set")
        return value
