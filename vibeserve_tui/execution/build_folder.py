"""A commit's folder for compiled artefacts: read-only once its first server was ready.

What is there at the first readiness depends on the tree and the weights alone, for nobody has been asked anything yet.
A folder that stayed writable would carry answers, or the number of starts, from a server that is checked to one that
is timed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui import foreign_trees


@dataclass(frozen=True, slots=True)
class BuildFolder:
    path: Path
    """The same for every start: compilers store absolute paths."""

    def open(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def is_closed(self) -> bool:
        return self._mark.exists()

    def close(self) -> bool:
        """Keep what is there now; whether it was this call that did so. Raises OSError for what cannot be copied.

        A server that is up keeps the folder that it has, which no later start will see.
        """
        try:
            self._mark.touch(exist_ok=False)
        except FileExistsError:
            return False
        kept = self.path.with_name(f"{self.path.name}.kept")
        foreign_trees.remove(kept)
        foreign_trees.copy(self.path, kept)
        # A mount leads to the folder, not to its name: whoever writes there now goes on writing to the abandoned one.
        self.path.rename(self._abandoned)
        kept.rename(self.path)
        return True

    def forget(self) -> None:
        """Remove what was written after readiness, once the server that did so has ended."""
        foreign_trees.remove(self._abandoned)

    @property
    def _mark(self) -> Path:
        return self.path.with_name(f"{self.path.name}.ready")

    @property
    def _abandoned(self) -> Path:
        return self.path.with_name(f"{self.path.name}.abandoned")
