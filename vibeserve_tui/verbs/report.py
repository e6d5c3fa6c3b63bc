"""report: what a run found, as Markdown on stdout, a self-contained HTML page, or JSON."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from vibeserve_tui.client import open_state
from vibeserve_tui.report import as_data, as_html, as_markdown
from vibeserve_tui.verbs.common import add_run, run_of


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    add_run(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the facts as JSON")
    form.add_argument("--html", action="store_true", help="the HTML page on stdout")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.md, report.html and report.json there")


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    state = open_state(run_of(options))
    data = json.dumps(as_data(state), indent=1)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        files = {"report.md": as_markdown(state), "report.html": as_html(state), "report.json": data + "\n"}
        for name, text in files.items():
            (options.out / name).write_text(text, "utf-8")
            print(options.out / name, file=sys.stderr)
        return 0
    print(
        data if options.json else as_html(state) if options.html else as_markdown(state),
        end="" if options.html else "\n",
    )
    return 0
