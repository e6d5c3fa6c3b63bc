"""Three-way merge of a region, by git.

Used when the text a recipe was written against is no longer there: somebody's change and the recipe's change
are both kept if they do not touch each other.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from vibeserve_tui.errors import WorkspaceError


def merged(base: str, ours: str, theirs: str) -> str | None:
    """The text with both changes, or None when they conflict. Raises WorkspaceError when git cannot be run."""
    with TemporaryDirectory(prefix="vibeserve-merge-") as folder:
        for name, text in (("ours", ours), ("base", base), ("theirs", theirs)):
            Path(folder, name).write_bytes(text.encode())
        command = ["git", "merge-file", "-p", "--quiet", "ours", "base", "theirs"]
        try:
            run = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise WorkspaceError(f"git merge-file did not run: {error}", fix="install git") from error
    if run.returncode == 0:
        return run.stdout.decode()
    if run.returncode <= 127:  # the number of conflicts, as git caps it
        return None
    raise WorkspaceError(f"git merge-file failed: {run.stderr.decode(errors='replace').strip()}", fix="update git")
