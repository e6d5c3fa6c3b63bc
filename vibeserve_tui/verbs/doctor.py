"""doctor: what this machine can do and how to fix what is missing; with RUN, whether its journal is sound."""

from __future__ import annotations

import argparse
import json
import os
from itertools import chain
from pathlib import Path

from vibeserve_tui.backend import Requirement
from vibeserve_tui.doctor import examine, examine_run
from vibeserve_tui.safe_text import clean
from vibeserve_tui.verbs.common import add_runs_dir, root_of

MISSING = {"required": "✗", "recommended": "!", "info": "–"}


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    parser.add_argument(
        "run", nargs="?", default="", metavar="RUN", help="examine this run's journal instead of the machine"
    )
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    add_runs_dir(parser)


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    if options.run:
        return _examine_run(options)
    from vibeserve_tui.inputs.config import load_config
    from vibeserve_tui.starting import agents_here

    findings = []
    for finding in chain(examine(root_of(options)), agents_here(load_config(os.environ, project=Path.cwd()))):
        findings.append(finding)
        if not options.json:
            print(_line(finding), flush=True)  # trying everything takes seconds
    if options.json:
        print(json.dumps([finding.model_dump() for finding in findings], indent=1))
    return 3 if any(not f.ok and f.severity == "required" for f in findings) else 0


def _examine_run(options: argparse.Namespace) -> int:
    from vibeserve_tui.state.run_dir import find_run

    print("\n".join(examine_run(find_run(options.run, root_of(options)))))
    return 0


def _line(finding: Requirement) -> str:
    mark = "✓" if finding.ok else MISSING[finding.severity]
    fix = f"\n    fix: {finding.fix}" if not finding.ok and finding.fix else ""
    return clean(f"{mark} {finding.id:<22} {finding.observed}{fix}")
