"""resume: go on with a run that was paused, interrupted or killed; only the step in flight is done again."""

from __future__ import annotations

import argparse
import sys
import time

from vibeserve_tui.client import Liveness, liveness_of, start_engine
from vibeserve_tui.commands import Resume, SetBudget
from vibeserve_tui.errors import RunError
from vibeserve_tui.headless import follow, is_interactive
from vibeserve_tui.starting import gave_up
from vibeserve_tui.state.run_dir import RunDir, lock_holder
from vibeserve_tui.verbs.common import add_limits, add_run, run_of, send

EXAMPLES = """
examples:
  vibeserve resume                      the newest run, wherever it was
  vibeserve resume latest --max-usd 20  one that paused because its budget was spent
"""


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    parser.epilog = EXAMPLES
    add_run(parser)
    parser.add_argument("--headless", action="store_true", help="text instead of the app")
    parser.add_argument("--events", default="text", choices=["text", "jsonl", "quiet"], help="what to print")
    parser.add_argument("--detach", action="store_true", help="start the engine and return")
    add_limits(parser, more=", counted from the run's beginning")


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    directory = run_of(options)
    alive = liveness_of(directory)
    if alive in (Liveness.FINISHED, Liveness.FAILED):
        raise RunError(f"the run is over ({alive})", where=directory.name, fix="vibeserve report shows what it found")
    if options.max_usd is not None or options.max_tokens is not None:
        directory.post(SetBudget(max_usd=options.max_usd, max_tokens=options.max_tokens))
    if lock_holder(directory) is None:
        _wait_for_engine(directory)
    elif alive is Liveness.PAUSED:
        return send(directory, Resume())
    else:
        print(f"{directory.name} is being worked on already", file=sys.stderr)
    if options.detach:
        return 0
    if is_interactive() and not options.headless and options.events == "text":
        from vibeserve_tui.verbs.app import show

        return show(directory)
    return follow(directory, events=options.events)


def _wait_for_engine(directory: RunDir) -> None:
    """Until the new engine owns the run; what it says when it gives up instead is raised."""
    before = directory.journal.stat().st_size
    engine = start_engine(directory)
    while lock_holder(directory) is None and directory.journal.stat().st_size == before:
        if engine.poll() is not None:
            raise gave_up(directory, engine.returncode)
        time.sleep(0.05)
