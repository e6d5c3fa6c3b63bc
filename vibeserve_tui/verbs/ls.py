"""ls: the runs on this machine, newest first."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict

from vibeserve_tui.client import RunSummary, list_runs
from vibeserve_tui.metrics import level_in_words
from vibeserve_tui.safe_text import clean_line
from vibeserve_tui.verbs.common import add_runs_dir, root_of, table


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    add_runs_dir(parser)
    parser.add_argument("--json", action="store_true", help="one JSON array instead of a table")


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    root = root_of(options)
    runs = list_runs(root)
    if options.json:
        print(json.dumps([{**asdict(summary), "path": str(summary.path)} for summary in runs], indent=1))
        return 0
    if not runs:
        print(f"no runs in {clean_line(str(root))}; start one: vibeserve run", file=sys.stderr)
        return 0
    rows = [("RUN", "STATE", "ROUNDS", "RESULT", "STARTED")]
    rows += [_row(summary) for summary in runs]
    print(table(rows, right=(2,)))
    return 0


def _row(summary: RunSummary) -> tuple[str, str, str, str, str]:
    if summary.fault:
        return summary.run, "unreadable", "", clean_line(summary.fault), ""
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(summary.started_wall)) if summary.started_wall else "–"
    state = "waiting for you" if summary.waiting else str(summary.liveness).replace("_", " ")
    return summary.run, state, f"{summary.rounds}/{summary.max_rounds}", _result(summary), started


def _result(summary: RunSummary) -> str:
    if summary.baseline is None or summary.champion is None:
        return "–"
    gain = f"×{summary.gain:.1f}  " if summary.gain else ""
    return f"{gain}{summary.metric} {level_in_words(summary.champion, summary.unit)}"
