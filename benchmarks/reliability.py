"""What a run withstands, tried out: prints a table. `python benchmarks/reliability.py [--quick] [--rows N …]`.

Each row comes from the tests of that name, which record how many trials they made. All rows take about half an hour, most of
it at the disk; a quiet machine is needed only by the rows with a time: who is killed, and ctrl-c. What a sandbox costs is `benchmarks/sandbox.py`'s.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUICK = {
    "FAILPOINTS": "60", "RECOVERIES": "10", "KILLS": "20", "POWER_CUTS": "300", "DISK_FAULTS": "10", "ORPHANS": "10",
    "INTERRUPTS": "3",
}  # fmt: skip
FULL = {"RECOVERIES": "100", "KILLS": "200", "INTERRUPTS": "20", "ORPHANS": "50", "DISK_FAULTS": "0"}
"""What the tests do fewer of, for the sake of their time; 0 = every one."""


@dataclass(frozen=True)
class Row:
    measure: str
    tests: tuple[str, ...]
    """Paths below tests/, with `::` and a name where it is not the whole file."""


CRASHES, POWER, DISK = ("reliability/test_crashes.py", "reliability/test_power.py", "reliability/test_disk_faults.py")
CLI, NO_KEYRING = "agents/cli/test_coding_cli.py", "test_a_keyring_of_the_desktop_is_out_of_a_clis_reach"
AT_A_WRITE = "test_whatever_write_fails_the_run_ends_clearly_and_goes_on_later"
ROWS = (
    Row("SIGKILL at every write", (f"{CRASHES}::test_a_kill_at_any_failpoint_loses_nothing",)),
    Row("crashes during recovery", (f"{CRASHES}::test_crashes_during_recovery_lose_nothing",)),
    Row("random kill -9 of the engine and its git", (f"{CRASHES}::test_random_kills_of_the_whole_group_lose_nothing",)),
    Row("power cuts, simulated", (f"{POWER}::test_no_acknowledged_record_is_lost_in_a_power_cut",)),
    Row("disk full (ENOSPC) at a write", (f"{DISK}::{AT_A_WRITE}[enospc-4]",)),
    Row("disk broken (EIO) at a write", (f"{DISK}::{AT_A_WRITE}[eio-5]",)),
    Row("app, engine, launcher, box or terminal killed", ("reliability/test_orphans.py::test_nothing_outlives_its_family",)),
    Row("sandbox escapes, each tier, root and user", ("execution/test_escapes.py",)),
    Row("planted git settings, hooks, filters, trees", ("state/test_git_attacks.py",)),
    Row("a key in env, .env and keyrings", ("reliability/test_canary.py", f"{CLI}::{NO_KEYRING}")),
    Row("malformed inputs", ("reliability/test_malformed.py",)),
    Row("terminal injections", ("reliability/test_hostile_text.py",)),
    Row("two engines on one run", ("reliability/test_inbox.py::test_of_two_engines_exactly_one_gets_the_run",)),
    Row("ctrl-c twice", ("reliability/test_leaving.py::test_ctrl_c_twice_ends_at_once_and_leaves_terminal_and_run_in_order",)),
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer trials of each kind")
    parser.add_argument("--rows", type=int, nargs="*", help="the numbers of some, from 0", default=range(len(ROWS)))
    options = parser.parse_args(argv)
    scale = {f"VIBESERVE_TEST_{name}": value for name, value in (QUICK if options.quick else FULL).items()}
    print("| what was done to a run | trials | failures | seconds |\n|---|---|---|---|", flush=True)
    failures = 0
    for row in (ROWS[number] for number in options.rows):
        trials, failed, took_s = try_out(row, scale)
        failures += failed
        print(f"| {row.measure} | {trials} | {failed} | {took_s:.0f} |", flush=True)
    return int(failures > 0)


def try_out(row: Row, scale: dict[str, str]) -> tuple[str, int, float]:
    """Trials in words, failed tests, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        argv = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--junitxml", report, "-p", "no:cacheprovider"]
        begun = time.monotonic()
        subprocess.run(
            [*argv, *(f"tests/{test}" for test in row.tests)],
            cwd=ROOT, env={**os.environ, **scale}, stdout=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        took_s = time.monotonic() - begun
        if not report.exists():
            return "none", 1, took_s
        root = ET.parse(report).getroot()  # noqa: S314 - our own
    cases = list(root.iter("testcase"))
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    named = [item.get("value", "") for case in cases for item in case.iter("property") if item.get("name") == "trials"]
    return ", ".join(dict.fromkeys(named)) or f"{len(cases)} cases", failed + (not cases), took_s


if __name__ == "__main__":
    sys.exit(main())
