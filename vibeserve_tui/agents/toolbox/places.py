"""Where an agent's paths lead: into its workspace, or to files that it may only read.

A path is relative to the workspace. `@target/…` is the public part of the target, `@outputs/…` the whole of a result
that was cut. Nothing else exists, and links are never followed.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui.agents.protocol import ToolError
from vibeserve_tui.agents.toolbox.arguments import told
from vibeserve_tui.agents.toolbox.outputs import PREFIX as OUTPUTS
from vibeserve_tui.agents.toolbox.outputs import Outputs
from vibeserve_tui.recipes.tree import read_text
from vibeserve_tui.recipes.tree_record import RECORD_PATH

TARGET = "@target/"
KEPT_BY_ENGINE = posixpath.dirname(RECORD_PATH)


@dataclass(frozen=True, slots=True)
class Places:
    workspace: Path
    public: Path
    """Folder with what of the target agents may see."""
    outputs: Outputs

    def text(self, path: str) -> str:
        """Raises ToolError for what is absent, no plain text file, or not the agent's to see."""
        if path.startswith(OUTPUTS):
            return self.outputs.read(path.removeprefix(OUTPUTS))
        root, inside = self.workspace, path
        if path.startswith(TARGET):
            root, inside = self.public, path.removeprefix(TARGET)
        with told():
            found = read_text(root, self._below(root, inside))
        if found is None:
            raise ToolError(f"{path}: there is no such file; glob shows what there is")
        return found

    def own(self, path: str) -> str:
        """A path of the workspace that may be written, relative to it."""
        if path.startswith("@"):
            raise ToolError(f"{path}: can only be read")
        inside = self._below(self.workspace, path)
        if inside == KEPT_BY_ENGINE or inside.startswith(f"{KEPT_BY_ENGINE}/"):
            raise ToolError(f"{path}: {KEPT_BY_ENGINE}/ is kept by the engine; recipes change it through apply_recipe")
        return inside

    @staticmethod
    def _below(root: Path, path: str) -> str:
        """Relative to the root; agents like to write absolute paths, which is fine as long as they lead there."""
        if "\0" in path:
            raise ToolError("a path holds no NUL")
        relative = path
        if posixpath.isabs(path):
            plain = posixpath.normpath(path)
            if not plain.startswith(f"{root}/"):
                raise ToolError(f"{path}: lies outside the workspace; write paths relative to it")
            relative = plain.removeprefix(f"{root}/")
        relative = posixpath.normpath(relative)
        if relative in (".", "..") or relative.startswith("../"):
            raise ToolError(f"{path}: lies outside the workspace" if relative != "." else "name a file")
        return relative
