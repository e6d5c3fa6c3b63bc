"""The user's own targets: folders in the data folder, each beside a link to the weights that it was made for.

They are found by name like the shipped ones. Making one here trusts it: its programs are copies of shipped ones.
"""

from __future__ import annotations

from pathlib import Path

import platformdirs

from vibeserve_tui.errors import TargetError
from vibeserve_tui.inputs.scaffold import Traffic, scaffold
from vibeserve_tui.inputs.target import FILE_NAME, LoadedTarget
from vibeserve_tui.inputs.trust import require_trust
from vibeserve_tui.resources import shipped_targets

WEIGHTS = ".weights"


def own_folder() -> Path:
    return platformdirs.user_data_path("vibeserve") / "targets"


def own_targets() -> dict[str, Path]:
    """Name and folder of each target that was made on this machine."""
    return {file.parent.name: file.parent for file in sorted(own_folder().glob(f"*/{FILE_NAME}"))}


def weights_of(folder: Path) -> Path | None:
    """The model folder that an own target was made for; None for any other target, and when the folder is gone."""
    link = folder.with_name(folder.name + WEIGHTS)
    return link.resolve() if link.is_symlink() and link.is_dir() else None


def make_target(name: str, model_dir: Path, *, backend: str = "cpu", traffic: Traffic | None = None) -> LoadedTarget:
    """A complete target around a model folder, trusted and found by its name from now on."""
    if name in shipped_targets():
        raise TargetError(f"{name} is the name of a shipped target", fix="choose another name")
    if not model_dir.is_dir():
        raise TargetError("there is no such folder", where=str(model_dir), fix="name the folder that holds config.json")
    folder = own_folder() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    target = scaffold(folder, model_dir.resolve(), backend=backend, traffic=traffic)
    link = folder.with_name(name + WEIGHTS)
    link.unlink(missing_ok=True)
    link.symlink_to(model_dir.resolve(), target_is_directory=True)
    require_trust(target, target.digest)
    return target
