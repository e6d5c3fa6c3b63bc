"""replay, demo: play a recorded run in the screens of a live one, or as text."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from vibeserve_tui.client import ReplayClient
from vibeserve_tui.errors import InputError
from vibeserve_tui.headless import Printer, is_interactive
from vibeserve_tui.state.run_dir import RunDir, find_run
from vibeserve_tui.verbs.common import add_runs_dir, root_of


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    if verb == "replay":
        parser.add_argument(
            "run", nargs="?", default="latest", metavar="RUN", help="a run's id, its directory, or `latest`"
        )
    parser.add_argument("--speed", type=float, default=20.0, help="times its own speed; 0 = at once")
    parser.add_argument("--headless", action="store_true", help="text instead of the app")
    parser.add_argument("--events", default="text", choices=["text", "jsonl", "quiet"], help="what to print")
    add_runs_dir(parser)


def run(options: argparse.Namespace, verb: str) -> int:
    if not options.speed >= 0:  # nan is neither
        raise InputError(f"--speed {options.speed:g}: a recording cannot run backwards", fix="a number from 0 up")
    if verb == "demo":
        from vibeserve_tui.demo import unpacked

        with tempfile.TemporaryDirectory(prefix="vibeserve-demo-") as scratch:
            return _play(unpacked(Path(scratch)), options)
    return _play(find_run(options.run, root_of(options)), options)


def _play(directory: RunDir, options: argparse.Namespace) -> int:
    client = ReplayClient(directory, options.speed or 1e9)
    if is_interactive() and not options.headless and options.events == "text":
        from vibeserve_tui.verbs.app import show_client

        return show_client(client, root_of(options))
    printer = Printer(options.events)
    client.listener = printer.show
    printer.state = client.state
    while client.fraction < 1 or client.poll():
        client.poll()
        if options.speed:
            time.sleep(0.05)
    print(f"end of the recording {directory.name}", file=sys.stderr)
    return 0
