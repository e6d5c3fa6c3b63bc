"""The user's own skills: those that were promoted from runs, or put there by hand; runs see them like shipped ones."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from vibeserve_tui.resources import Shipped, shipped_folder


def own_skills_folder() -> Path:
    return platformdirs.user_data_path("vibeserve") / "skills"


def skills_folders() -> list[Path]:
    """The shipped ones first, so that one of the user's own takes the place of its namesake."""
    own = own_skills_folder()
    return [shipped_folder(Shipped.SKILLS), *([own] if own.is_dir() else [])]
