"""Hints for the first runs of a newcomer: one line at the moment when it helps, each shown once and never again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

HINTS: Mapping[str, str] = {
    "help": "? lists every key of a screen · ctrl+p finds an action by its name",
    "later": "the round goes on waiting · a opens it again",
    "zoom": "z zooms the pane in focus · tab and the digits go to another",
    "detach": "D detaches: the run goes on without this app · vibeserve attach comes back",
    "compare": "c compares the selected round with the one it started from · m marks another",
}
"""By the situation in which each is worth its line."""
AFTER_S: Mapping[str, float] = {"help": 3.0, "zoom": 25.0, "detach": 60.0}
"""Seconds on the run screen after which a hint without a situation of its own is due."""


class Hints:
    """What this user has seen is kept in a file, one name a line; where it cannot be kept, once per app is enough."""

    def __init__(self, file: Path, *, wanted: bool) -> None:
        self._file = file
        self.wanted = wanted
        self._seen = set(_read(file).split())

    def take(self, situation: str) -> str:
        """The hint for this situation, the first time it is asked for; then nothing."""
        if not self.wanted or situation in self._seen:
            return ""
        self._seen.add(situation)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{situation}\n")
        except OSError:
            return HINTS[situation]
        return HINTS[situation]

    def due(self, seconds: float) -> str:
        """The name of the next hint that only waits for its time."""
        late = (name for name, after in AFTER_S.items() if seconds >= after and name not in self._seen)
        return next(late, "") if self.wanted else ""


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
