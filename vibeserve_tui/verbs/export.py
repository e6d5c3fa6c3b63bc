"""export RUN DIR: write the champion as a project that runs without VibeServe."""

from __future__ import annotations

import argparse
from pathlib import Path

from vibeserve_tui.export.project import export_project
from vibeserve_tui.verbs.common import add_run, run_of

EXAMPLES = """
examples:
  vibeserve export latest my-server             the confirmed champion of the newest run
  vibeserve export latest my-server --round 3   an earlier round, or one of a run that goes on
  cd my-server && PYTHON=../.venv/bin/python ./run.sh
"""


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    parser.epilog = EXAMPLES
    add_run(parser, optional=False)
    parser.add_argument("destination", type=Path, metavar="DIR", help="a folder that is empty or does not exist")
    parser.add_argument("--round", type=int, default=None, metavar="N", help="this round instead of the champion")
    parser.add_argument(
        "--force", action="store_true", help="take what was not confirmed or accepted, and replace an earlier export"
    )


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    origin = export_project(run_of(options), options.destination, number=options.round, force=options.force)
    proof = "confirmed against the seed" if origin.confirmed else "not confirmed"
    print(f"round {origin.record.number} of {origin.state.run}, {proof}; start it: {options.destination}/run.sh")
    return 0
