"""The whole server with the recipe applied: on the native kernel, and on torch where there is no compiler."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vibeserve_tui.recipes.apply import Applied, edit
from vibeserve_tui.recipes.facts import Facts
from vibeserve_tui.recipes.params import Params
from vibeserve_tui.recipes.recipe import load_recipe
from vibeserve_tui.recipes.tree import write_changes

ROOT = Path(__file__).parents[2]
SEED = ROOT / "targets/tiny-llama-chat/seed"
MODEL = ROOT / "targets/tiny-llama-chat/reference/model"
READY_SECONDS = 60


def apply(workspace: Path, *names: str, params: Params | None = None) -> Path:
    for name in names:
        result = edit(
            load_recipe(ROOT / "skills" / name / "recipe.toml"), params or {}, workspace, Facts(backend="cpu")
        )
        assert isinstance(result, Applied), result
        write_changes(workspace, result.changes)
    return workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    shutil.copytree(SEED, tmp_path / "candidate")
    return apply(tmp_path / "candidate", "kv-cache-preallocate", "native-cpu-kernel")


@contextmanager
def served(workspace: Path, log: Path, **environment: str) -> Iterator[str]:
    """The address of a server that is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        "PATH": os.environ["PATH"], "MODEL_DIR": str(MODEL), "HOST": "127.0.0.1", "PORT": str(port),
        "BUILD_DIR": str(workspace.parent / "build"), **environment,
    }  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "server"], cwd=workspace, env=env, stdout=out, stderr=out)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(process, address, log)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)


def wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            ask(f"{address}/health")
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(log.read_text())


def ask(url: str, body: dict[str, object] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url, data, timeout=30) as reply:  # noqa: S310 - a loopback address
        return json.load(reply)


def complete(address: str) -> list[int]:
    request = {"prompt": "def add(a, b):", "max_tokens": 24, "temperature": 0, "return_token_ids": True}
    return ask(f"{address}/v1/completions", request)["choices"][0]["token_ids"]


@pytest.mark.slow
def test_without_a_compiler_the_server_answers_on_torch_and_says_why(workspace: Path, tmp_path: Path) -> None:
    with served(workspace, tmp_path / "native.log") as address:
        assert ask(f"{address}/health")["kernel"].startswith("native-")
        expected = complete(address)
        assert ask(f"{address}/health")["counters"]["native_steps"] == 24
    bare = {"PATH": "/nonexistent", "BUILD_DIR": str(tmp_path / "empty")}
    with served(workspace, tmp_path / "torch.log", **bare) as address:
        health = ask(f"{address}/health")
        assert health["kernel"] == "torch (no compiler)"
        assert "native_steps" not in health["counters"]
        assert complete(address) == expected
    assert "server: kernel: torch (no compiler)" in (tmp_path / "torch.log").read_text()


@pytest.mark.slow
def test_the_int8_recipe_changes_the_weights_of_the_kernel(workspace: Path, tmp_path: Path) -> None:
    apply(workspace, "native-kernel-int8")
    with served(workspace, tmp_path / "log") as address:
        assert ask(f"{address}/health")["kernel"].endswith("-int8")
        assert len(complete(address)) == 24


def test_every_knob_of_the_torch_model_is_excused(native: ModuleType) -> None:
    """Otherwise a server with a torch recipe below the kernel would refuse to start."""
    knobs = set()
    for path in sorted((ROOT / "skills").glob("*/recipe.toml")):
        recipe = load_recipe(path)
        if "engine.runner.torch" in recipe.needs:
            knobs |= {operation.target.key for operation in recipe.spec.apply if operation.op == "set_config"}
    assert knobs - {"kernel_weights"} <= set(native.TORCH_KNOBS)


def test_applying_the_recipe_twice_changes_nothing(workspace: Path) -> None:
    before = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}
    apply(workspace, "native-cpu-kernel")
    assert {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()} == before
