"""The kernel as a candidate holds it: the seed's package with the recipe's files beside it."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SEED = ROOT / "targets/tiny-llama-chat/seed"
ASSETS = ROOT / "skills/native-cpu-kernel/assets"


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose package `server` has the native kernel."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(SEED / "server", root / "server")
    shutil.copytree(ASSETS / "native", root / "server/native")
    return root


@pytest.fixture(scope="module")
def native(tree: Path) -> Iterator[ModuleType]:
    """The package `server.native`, gone again afterwards: other tests have a `server` of their own."""
    sys.path.insert(0, str(tree))
    try:
        yield importlib.import_module("server.native")
    finally:
        sys.path.remove(str(tree))
        for name in [name for name in sys.modules if name.partition(".")[0] == "server"]:
            del sys.modules[name]


@pytest.fixture(scope="session")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests, in whichever worker they run: each variant of each shape is compiled once."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "native-kernels"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def open_native(native: ModuleType, build_dir: Path) -> Callable[..., Any]:
    """open_native(model folder, settings by name) → NativeModel"""

    def opened(folder: Path, **settings: object) -> Any:
        defaults = {"threads": 1, "slots": 4, "max_len": 128, "weights": "lossless", "variant": ""}
        return native.open_native(folder, build_dir, native.Settings(**{**defaults, **settings}))

    return opened
