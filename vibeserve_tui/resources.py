"""Where the shipped skills, targets and profiles are: beside the package, or inside an installed one.

A checkout (also an editable install) has them at its root, a wheel in `vibeserve_tui/_data`.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from vibeserve_tui.errors import EnvironmentFault

_PACKAGE = Path(__file__).parent


class Shipped(StrEnum):
    """What ships; the value is the folder's name."""

    SKILLS = "skills"
    TARGETS = "targets"
    PROFILES = "profiles"


def shipped_folder(kind: Shipped, package: Path = _PACKAGE) -> Path:
    """The folder that holds all shipped entries of one kind."""
    for folder in (package / "_data" / kind, package.parent / kind):
        if folder.is_dir():
            return folder
    raise EnvironmentFault(f"the shipped {kind} are missing", where=str(package), fix="reinstall vibeserve-tui")


def shipped_targets() -> dict[str, Path]:
    """Name and folder of every shipped target."""
    return {file.parent.name: file.parent for file in sorted(shipped_folder(Shipped.TARGETS).glob("*/target.toml"))}


def shipped_profiles() -> dict[str, Path]:
    """Name and file of every shipped run profile."""
    return {file.stem: file for file in sorted(shipped_folder(Shipped.PROFILES).glob("*.toml"))}
