"""What the settings of a server refuse, and that it says so in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.recipes_assets.candidates import MODEL


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("threads", "two", "threads is 'two', must be an integer"),
        ("prefill_tokens", True, "prefill_tokens is True, must be an integer"),
        ("max_batch", None, "max_batch is None, must be an integer"),
    ],
)
def test_a_knob_of_another_type_is_refused(
    package: Callable[[str], ModuleType], name: str, value: object, complaint: str
) -> None:
    settings = package("config")
    with pytest.raises(settings.ConfigError, match=complaint):
        settings.Config({name: value}, {}).integer(name)


def test_a_knob_that_nothing_read_is_refused(package: Callable[[str], ModuleType]) -> None:
    settings = package("config")
    config = settings.Config({"threads": 2, "theads": 2}, {})
    config.integer("threads")
    with pytest.raises(settings.ConfigError, match="unknown key 'theads'"):
        config.refuse_unread()


def test_a_missing_or_wrong_environment_is_named(package: Callable[[str], ModuleType]) -> None:
    settings = package("config")
    with pytest.raises(settings.ConfigError, match="the environment variable MODEL_DIR is not set"):
        _ = settings.Config({}, {"MODEL_DIR": ""}).model_dir
    with pytest.raises(settings.ConfigError, match="PORT is 'http', must be a number"):
        _ = settings.Config({}, {"PORT": "http"}).port


def test_a_wrong_knob_stops_the_server_with_one_line(composed_tree: Path, tmp_path: Path) -> None:
    tree = shutil.copytree(composed_tree, tmp_path / "tree")
    path = tree / "server/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "theads": 2}))
    env = {"PATH": os.environ["PATH"], "MODEL_DIR": str(MODEL), "PORT": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    stopped = subprocess.run(
        [sys.executable, "-m", "server"], cwd=tree, env=env, capture_output=True, text=True, timeout=180, check=False
    )
    assert stopped.returncode == 2
    assert stopped.stderr.splitlines()[-1].startswith("server: config.json: unknown key 'theads'")
    assert "Traceback" not in stopped.stderr
