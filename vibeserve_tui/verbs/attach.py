"""attach: watch a run that is going on, in the app or as text; leaving never stops it."""

from __future__ import annotations

import argparse

from vibeserve_tui.headless import follow, is_interactive
from vibeserve_tui.verbs.common import add_run, run_of


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    add_run(parser)
    parser.add_argument("--headless", action="store_true", help="text instead of the app")
    parser.add_argument("--events", default="text", choices=["text", "jsonl", "quiet"], help="what to print")


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    directory = run_of(options)
    if is_interactive() and not options.headless and options.events == "text":
        from vibeserve_tui.verbs.app import show

        return show(directory)
    return follow(directory, events=options.events, stop_on_interrupt=False)
