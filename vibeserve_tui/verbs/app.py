"""app (no verb): opens the app on the start screen or on a run; only here do the command line and Textual meet."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from vibeserve_tui.client import AttachedClient, RunClient
from vibeserve_tui.errors import InputError
from vibeserve_tui.headless import is_interactive
from vibeserve_tui.inputs.config import load_config, user_config_file
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.tui.app import run_app
from vibeserve_tui.verbs.common import add_runs_dir, root_of
from vibeserve_tui.verbs.services import AppServices


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    add_runs_dir(parser)


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    root = root_of(options)
    if not is_interactive():
        raise InputError("the app needs a terminal", fix="vibeserve ls lists runs, vibeserve run --headless starts one")
    return _show(None, root)


def show(directory: RunDir) -> int:
    """Open the app on a run that an engine works on, or worked on."""
    return _show(AttachedClient(directory), directory.path.parent)


def show_client(client: RunClient, root: Path) -> int:
    """Open the app on a recording; `root` is where the runs of its start screen lie."""
    return _show(client, root)


def _show(client: RunClient | None, root: Path) -> int:
    config = load_config(os.environ, project=Path.cwd())
    return run_app(AppServices(root), client, config=config, config_dir=user_config_file().parent)
