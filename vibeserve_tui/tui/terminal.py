"""The terminal belongs to the app alone: nothing that anything else prints can reach the screen.

Textual captures Python's own print, but a C library, an allocator or an interpreter that dies write to the descriptors
1 and 2. While the app draws, both are a log file, and the app draws on a duplicate of the terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from textual.app import App
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver

LOG_BYTES = 1 << 20
"""A log of strays that is longer than this is begun anew."""
KEEP_TITLE, GIVE_TITLE_BACK = "\x1b[22;2t", "\x1b[23;2t"


@contextmanager
def guarded(log: Path) -> Iterator[TextIOWrapper]:
    """Yields the terminal to draw on; descriptors 1 and 2 are the log until the end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    mode = os.O_TRUNC if log.exists() and log.stat().st_size > LOG_BYTES else os.O_APPEND
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | mode, 0o600)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    with os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace") as terminal:
        try:
            for number in kept:
                os.dup2(sink, number)
            yield terminal
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, original in kept.items():
                os.dup2(original, number)
                os.close(original)
            os.close(sink)


def driver_on(terminal: TextIOWrapper) -> type[Driver]:
    """Textual's driver, drawing on this terminal instead of on standard error, and minding the window's title."""

    class TerminalDriver(LinuxDriver):
        def __init__(
            self, app: App[object], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
        ) -> None:
            super().__init__(app, debug=debug, mouse=mouse, size=size)
            self._file = terminal

        def _get_terminal_size(self) -> tuple[int, int]:
            """Of this very terminal: Textual asks standard output, which is a log now."""
            try:
                columns, lines = os.get_terminal_size(terminal.fileno())
            except OSError:
                return 80, 24
            return columns or 80, lines or 24

        def start_application_mode(self) -> None:
            super().start_application_mode()  # type: ignore[no-untyped-call]  # Textual's own is not annotated
            self.write(KEEP_TITLE)

        def stop_application_mode(self) -> None:
            self.write(GIVE_TITLE_BACK)
            super().stop_application_mode()

    return TerminalDriver
