"""Measure the default run as a newcomer would have it, and print what it promises beside what it gave.

    python benchmarks/default_run.py [--forbid compiler] [--out FILE]

It runs `vibeserve run` with the quick profile in a directory of its own and reads the run's own report: time to the
first kept round, time of the whole run, confirmed ratios with their intervals, outcomes. One run, nothing averaged;
exits 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from vibeserve_tui import events as ev
from vibeserve_tui.client import open_state
from vibeserve_tui.report import as_data
from vibeserve_tui.state.journal import read_journal
from vibeserve_tui.state.run_dir import RunDir

PROMISES = {"with a compiler": {"c1": 5.0, "c16": 8.0}, "without": {"c1": 1.2, "c16": 3.0}}
FIRST_KEPT_S = 240.0
WHOLE_RUN_S = 900.0
ENDS = ({"kept"}, {"reverted", "indecisive"}, {"failed"})
"""A run that meets none of its dead ends has not searched."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forbid", action="append", default=[], help="e.g. compiler: no recipe may use one")
    parser.add_argument("--runs-dir", type=Path, default=None, help="keep the run here instead of a temporary folder")
    parser.add_argument("--out", type=Path, default=None, help="write the figures there as JSON, too")
    options = parser.parse_args()
    root = options.runs_dir or Path(tempfile.mkdtemp(prefix="vibeserve-benchmark-"))
    forbid = [word for name in options.forbid for word in ("--forbid", name)]
    command = [sys.executable, "-m", "vibeserve_tui", "run", "--headless", "--no-experience", "--runs-dir", str(root)]
    began = time.monotonic()
    code = subprocess.run([*command, *forbid], check=False).returncode
    wall_s = time.monotonic() - began
    run = RunDir(max(root.glob("*/journal.jsonl"), key=lambda path: path.stat().st_mtime).parent)
    figures = summary(run, wall_s, code, "without" if "compiler" in options.forbid else "with a compiler")
    print(json.dumps(figures, indent=1))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    return 0 if figures["promises_kept"] else 1


def summary(run: RunDir, wall_s: float, code: int, case: str) -> dict[str, object]:
    data = as_data(open_state(run))
    throughput = {row["level"]: row for row in data["confirmed"] if row["metric"] == "output_throughput"}
    outcomes = Counter(row["outcome"] for row in data["rounds"] if row["number"] and row["kind"] != "ablation")
    first = first_kept_s(run)
    promises = {
        **{f"at least x{ratio:g} at {level}": (throughput.get(level, {}).get("ratio") or 0) >= ratio
           for level, ratio in PROMISES[case].items()},
        f"first kept round within {FIRST_KEPT_S:g} s": first is not None and first <= FIRST_KEPT_S,
        f"whole run within {WHOLE_RUN_S:g} s": wall_s <= WHOLE_RUN_S,
        "rounds of three kinds of outcome": all(kinds & outcomes.keys() for kinds in ENDS),
    }  # fmt: skip
    return {
        "case": case,
        "exit_code": code,
        "wall_s": round(wall_s, 1),
        "first_kept_s": first,
        "confirmed": {level: {k: row[k] for k in ("baseline", "champion", "ratio", "ci_low", "ci_high")}
                      for level, row in throughput.items()},
        "promises": promises,
        "promises_kept": all(promises.values()),
        "outcomes": dict(outcomes),
        "champion": data["champion"]["skills"] if data["champion"] else [],
        "device": data["device"]["name"] if data["device"] else "",
    }  # fmt: skip


def first_kept_s(run: RunDir) -> float | None:
    """Seconds from the start of the run to the first round that was kept."""
    start = None
    for record in read_journal(run.journal):
        start = record.ts_wall if start is None else start
        if (
            isinstance(record.event, ev.RoundFinished)
            and record.event.record.number
            and record.event.record.outcome == "kept"
        ):
            return round(record.ts_wall - start, 1)
    return None


if __name__ == "__main__":
    sys.exit(main())
