"""The product's promise, played for real: a seed becomes a faster, proved server, and a killed engine loses nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vibeserve_tui.client import open_state
from vibeserve_tui.evaluation.evidence import Evidence
from vibeserve_tui.events import Outcome
from vibeserve_tui.report import as_data
from vibeserve_tui.resources import shipped_targets
from vibeserve_tui.state.run_dir import RunDir, lock_holder

COMMAND = [sys.executable, "-m", "vibeserve_tui"]
WHOLE_RUN_S = 900


def vibeserve(home: Path, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout, env=environment(home), check=False
    )


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home / "data")}


def wait_for(what: str, holds, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come within {timeout:.0f} s"
        time.sleep(0.2)


def engines_of(run: RunDir) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"VIBESERVE_RUN={run.name}".encode() in path.read_bytes():
                found.append((path.parent / "comm").read_text().strip())
        except OSError:
            continue
    return found


def short_target(folder: Path) -> Path:
    """The default target with less load: the same servers and judge, shorter windows; enough for its p90."""
    target = Path(shutil.copytree(shipped_targets()["tiny-llama-chat"], folder / "tiny-llama-chat"))
    text = (target / "target.toml").read_text("utf-8")
    for usual, shorter in (("requests = 16", "requests = 4"), ("requests = 32", "requests = 20")):
        assert usual in text
        text = text.replace(usual, shorter)
    (target / "target.toml").write_text(text, "utf-8")
    return target


@pytest.mark.slow
@pytest.mark.serial
def test_a_killed_default_run_resumes_and_ends_with_a_confirmed_faster_server(tmp_path):
    runs, target = tmp_path / "runs", short_target(tmp_path)
    order = ("--runs-dir", str(runs), "--no-experience", "--seed", "1", "--max-rounds", "2", "--max-minutes", "12")
    foreign = vibeserve(tmp_path, "run", str(target), "--detach", *order)
    assert foreign.returncode == 2, "a target that nobody has looked at was run"
    trusted = ("--trust", re.findall(r"--trust (\S+)", foreign.stderr)[0].rstrip(")"))
    started = vibeserve(tmp_path, "run", str(target), "--detach", *trusted, *order)
    assert started.returncode == 0, started.stderr
    run = RunDir(runs / started.stdout.strip())

    wait_for("the measurement of round 1", lambda: _measuring(run, 1), 420)
    pid = (lock_holder(run) or {})["pid"]
    before = open_state(run)
    os.kill(int(str(pid)), signal.SIGKILL)
    wait_for("the end of everything that the engine started", lambda: not engines_of(run), 5)

    resumed = vibeserve(tmp_path, "resume", run.name, "--runs-dir", str(runs), "--headless", timeout=WHOLE_RUN_S)
    assert resumed.returncode == 0, resumed.stderr
    state = open_state(run)
    assert {n: r.commit for n, r in before.rounds.items()} == {n: state.rounds[n].commit for n in before.rounds}
    assert state.rounds[1].task == before.in_flight.task, "the round in flight was not planned anew"

    assert all(record["reason"] for record in as_data(state)["rounds"])
    played = [record for number, record in sorted(state.rounds.items()) if number]
    assert not [record.reason for record in played if record.outcome is Outcome.FAILED], "a shipped recipe is wrong"
    if not any(record.outcome is Outcome.KEPT for record in played):
        pytest.skip("too busy a machine to tell faster from slower: " + "; ".join(r.reason for r in played))
    data = as_data(state)
    headline = next(row for row in data["confirmed"] if row["headline"])
    assert state.champion > 0
    assert headline["ratio"] > 1.1 and headline["ci_low"] > 1
    report = vibeserve(tmp_path, "report", run.name, "--runs-dir", str(runs), "--json")
    assert json.loads(report.stdout)["champion"]["number"] == state.champion
    explained = vibeserve(tmp_path, "gate", "explain", run.name, "1", "--runs-dir", str(runs))
    assert "DIFFERS" not in explained.stdout and explained.returncode == 0
    first = state.rounds[1].measured
    assert first is not None
    held = Evidence.model_validate_json(run.get_blob(first.evidence)).terms.guards
    assert any(guard.name == "peak_rss_mib" and guard.tolerance for guard in held), "the recipe's own guard is not held"


def _measuring(run: RunDir, number: int) -> bool:
    if not run.journal.exists():
        return False
    live = open_state(run).live
    return live is not None and live.round == number and live.purpose == "round"
