from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.recipes_assets.candidates import Server, build, served

COMPOSED = {
    "kv-cache-preallocate": {},
    "preallocated-decode-buffers": {},
    "fused-qkv-and-gate-up": {},
    "continuous-batching": {},
    "chunked-prefill": {"prefill_tokens": 64},
    "prefix-cache-radix": {},
    "predicted-outputs": {},
    "http-path": {},
    "tokenizer-cache-and-parallel": {},
}
"""Recipes that stand together in one tree: one server for all tests that need nothing special."""


@pytest.fixture(scope="session")
def composed_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("composed") / "tree", COMPOSED)


@pytest.fixture(scope="session")
def composed(composed_tree: Path) -> Iterator[Server]:
    with served(composed_tree) as server:
        yield server


@pytest.fixture(scope="module")
def package(composed_tree: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Import a module of the composed tree's package `server`; gone again afterwards, as other tests have their own."""
    sys.path.insert(0, str(composed_tree))
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        yield lambda name: importlib.import_module(f"server.{name}")
    finally:
        sys.dont_write_bytecode = before
        sys.path.remove(str(composed_tree))
        for name in [name for name in sys.modules if name.partition(".")[0] == "server"]:
            del sys.modules[name]
