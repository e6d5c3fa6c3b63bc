"""report: what a run found, as Markdown on stdout, a self-contained HTML page, or JSON."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from vibeserve_tui.client import open_state
from vibeserve_tui.errors import EnvironmentFault
from vibeserve_tui.report import as_data, as_html, as_markdown
from vibeserve_tui.verbs.common import add_run, run_of

EXAMPLES = """
examples:
  vibeserve report                              the newest run, as Markdown
  vibeserve report latest --out my-report       report.md, report.html with the chart, report.json
  vibeserve report latest --json | jq .confirmed
"""


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    parser.epilog = EXAMPLES
    add_run(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the facts as JSON")
    form.add_argument("--html", action="store_true", help="the HTML page on stdout")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.md, report.html and report.json there")


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    state = open_state(run_of(options))
    data = json.dumps(as_data(state), indent=1)
    if options.out:
        files = {"report.md": as_markdown(state), "report.html": as_html(state), "report.json": data + "\n"}
        _write(options.out, files)
        return 0
    print(
        data if options.json else as_html(state) if options.html else as_markdown(state),
        end="" if options.html else "\n",
    )
    return 0


def _write(folder: Path, files: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
            print(folder / name, file=sys.stderr)
    except OSError as error:
        raise EnvironmentFault(f"cannot be written: {error.strerror}", where=str(folder), fix="--out DIR") from error
