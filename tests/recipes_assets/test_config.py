"""What the seed's settings refuse, and that a server says so in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipes_assets.candidates import MODEL


def start(tree: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "MODEL_DIR": str(MODEL), "PORT": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "server"],
        cwd=tree,
        env={**env, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("knobs", "complaint"),
    [
        ({"theads": 2}, "unknown key 'theads'"),
        ({"threads": "two"}, "threads is 'two', must be an integer"),
        ({"prefill_tokens": True}, "prefill_tokens is True, must be an integer"),
        ({"max_batch": None}, "max_batch is None, must be an integer"),
    ],
)
def test_a_wrong_knob_stops_the_server_with_one_line(
    composed_tree: Path, tmp_path: Path, knobs: dict[str, object], complaint: str
) -> None:
    tree = shutil.copytree(composed_tree, tmp_path / "tree")
    path = tree / "server/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **knobs}))
    stopped = start(tree)
    assert stopped.returncode == 2
    assert stopped.stderr.splitlines()[-1].startswith(f"server: config.json: {complaint}")
    assert "Traceback" not in stopped.stderr


def test_a_missing_or_wrong_environment_is_named(composed_tree: Path) -> None:
    assert "server: the environment variable MODEL_DIR is not set" in start(composed_tree, MODEL_DIR="").stderr
    assert "PORT is 'http', must be a number" in start(composed_tree, PORT="http").stderr
