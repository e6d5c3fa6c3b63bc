"""Hands the terminal to the user's editor and takes it back afterwards."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from textual.app import App, SuspendNotSupported

from vibeserve_tui.tui.content import content


def open_in_editor(app: App[int], path: Path) -> bool:
    """Open the file in $VISUAL, $EDITOR or vi, and wait; False with a toast when that is not possible."""
    wanted = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        command = shlex.split(wanted) or ["vi"]
        # Descriptors 1 and 2 are a log while the app runs; the editor needs the terminal itself.
        with app.suspend(), Path("/dev/tty").open("wb", buffering=0) as terminal:
            subprocess.run([*command, str(path)], stdout=terminal, stderr=terminal, check=False)
    except ValueError as error:
        words = f"$VISUAL or $EDITOR is no command: {error}"
        app.notify(content(words, app).plain, severity="error", markup=False)
        return False
    except FileNotFoundError:
        words = f"{command[0]} is not installed: set $EDITOR"
        app.notify(content(words, app).plain, severity="error", markup=False)
        return False
    except (SuspendNotSupported, OSError):
        app.notify("this terminal cannot be handed over", severity="error", markup=False)
        return False
    return True
