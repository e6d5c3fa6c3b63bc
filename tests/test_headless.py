"""The app's twin without a screen: data on stdout, narration on stderr, and how the run ended as the exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tui import journals
from vibeserve_tui import events as ev
from vibeserve_tui.headless import confirmed_line, round_line
from vibeserve_tui.state.run_dir import RunDir

FOLLOW = "import sys; from pathlib import Path; from vibeserve_tui.headless import follow; from vibeserve_tui.state.run_dir import RunDir; sys.exit(follow(RunDir(Path(sys.argv[1]))))"
HOLD = "import sys, time; from pathlib import Path; from vibeserve_tui.state.run_dir import RunDir\nwith RunDir(Path(sys.argv[1])).owned():\n    print('held', flush=True)\n    time.sleep(60)"


def attach(script: journals.Script, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    journals.write_run(script, folder / "run-1")
    command = [sys.executable, "-m", "vibeserve_tui", "attach", "run-1", "--runs-dir", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("journal", "code", "words"),
    [
        ("finished", 0, "finished: all 12 rounds played"),
        ("failed", 1, "the champion no longer starts"),
        ("engine_lost", 4, "vibeserve resume run-1"),
    ],
)
def test_the_exit_code_says_how_the_run_ended(tmp_path: Path, journal: str, code: int, words: str) -> None:
    done = attach(journals.ALL[journal](), tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr


def test_rounds_are_data_and_the_rest_is_narration(tmp_path: Path) -> None:
    done = attach(journals.finished(), tmp_path)
    data = done.stdout.splitlines()
    rounds = [row for row in data if re.match(r"[●↺≈✗∅] ", row)]
    assert len(rounds) == 13
    assert rounds[8].startswith("●  8  kept          388 tok/s  ×1.81 [1.76, 1.86]")
    assert any("confirmed output_throughput c16: 68.3 → 391 tok/s  ×5.73" in row for row in data)
    assert not set(data) & set(done.stderr.splitlines())
    assert "           because share of the profile: 38 %" in done.stderr


def test_the_narration_carries_the_time_at_which_it_happened_and_why_a_round_ended_in_words(tmp_path: Path) -> None:
    script = journals.with_baseline(journals.started())
    done = attach(script, tmp_path)
    assert done.stderr.splitlines()[0].startswith(time.strftime("%H:%M:", time.localtime(script.events[0][0])))
    record = ev.RoundRecord(number=4, task=ev.TaskPlan(title="threads"), outcome=ev.Outcome.REVERTED, reason="screen")
    assert round_line(record).endswith("threads – clearly worse at the first look")


def test_a_run_that_goes_on_after_a_crash_says_so(tmp_path: Path) -> None:
    script = journals.with_baseline(journals.started())
    script.say(ev.RunResumed(after_crash=True))
    done = attach(script, tmp_path)
    assert "  the run goes on; the step that a crash cut off is done again" in done.stderr


def test_rounds_stand_in_columns(tmp_path: Path) -> None:
    script = journals.finished()
    titles = [event.record.task.title for _, event in script.events if isinstance(event, ev.RoundFinished)]
    rows = [row for row in attach(script, tmp_path).stdout.splitlines() if re.match(r"[●↺≈✗∅] ", row)]
    assert len({row.index(title) for row, title in zip(rows, titles, strict=True)}) == 1


def test_json_lines_are_the_journal_s_records_in_order(tmp_path: Path) -> None:
    script = journals.finished()
    done = attach(script, tmp_path, "--events", "jsonl")
    records = [json.loads(row) for row in done.stdout.splitlines()]
    assert [record["seq"] for record in records] == list(range(1, len(script.events) + 1))
    assert [record["kind"] for record in records] == [event.kind for _, event in script.events]
    assert records[0]["data"]["plan"]["target"] == journals.TARGET


def test_quiet_prints_nothing_but_ends_with_the_code(tmp_path: Path) -> None:
    done = attach(journals.failed(), tmp_path, "--events", "quiet")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 1)


def test_hostile_text_is_printed_without_its_teeth(tmp_path: Path) -> None:
    script = journals.with_baseline(journals.started())
    script.say(ev.Warned(text="x\x1b[2J\x1b]0;owned\x07\nsecond\u202eline"))
    script.say(ev.RunFailed(reason="over\x1b[31m"))
    done = attach(script, tmp_path)
    assert "\x1b" not in done.stdout + done.stderr
    assert "\u202e" not in done.stderr
    assert "secondline" in done.stderr


def test_the_end_tells_the_whole_gain_and_what_the_agents_took(tmp_path: Path) -> None:
    script = journals.with_baseline(journals.started())
    script.say(ev.SettingChanged(name="max_usd", value="2.0"))
    script.say(ev.AgentCalling(id="t", role="implementer", round=1, model="m"))
    script.say(ev.AgentSpent(id="t", role="implementer", model="m", input=900, output=100, usd=0.25))
    measured = ev.Measured(
        outcome="accepted", reason="bound", blocks=3, figures=journals.figures(50.0, 100.0, 2.0, 0.1)
    )
    script.say(ev.MeasuredAgain(a=0, b=1, measured=measured))
    script.say(ev.RunFinished(reason="played"))
    done = attach(script, tmp_path)
    assert "×1.00 since round 0 · 1000 tokens, $0.25" in done.stderr
    assert "max_usd is now 2.0" in done.stderr
    assert "  r0 and r1 again: ×2.00 [1.90, 2.10]" in done.stdout.splitlines()


def test_a_figure_that_was_not_measured_is_a_dash() -> None:
    figure = ev.Figure(metric="m", level="c1", unit="ms", direction="min")
    assert confirmed_line(figure) == "  confirmed m c1: – → – ms  –"
    record = ev.RoundRecord(number=4, task=ev.TaskPlan(title="int8"), outcome=ev.Outcome.FAILED, reason="differs")
    assert round_line(record).split() == ["✗", "4", "failed", "int8", "–", "differs"]


# interrupts


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[RunDir, subprocess.Popen[str]]]:
    """A run in round 9, whose lock a process holds like an engine."""
    script = journals.running()
    late = time.time() - script.now
    for at, (moment, event) in enumerate(script.events):
        script.events[at] = (moment + late, event)
    run = RunDir(journals.write_run(script, tmp_path / "run"))
    run.create()
    engine = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    assert engine.stdout.readline() == "held\n"
    yield run, engine
    engine.kill()
    engine.wait()
    engine.stdout.close()


def follower(run: RunDir) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", FOLLOW, str(run.path)], stderr=subprocess.PIPE, text=True)


def heard(client: subprocess.Popen[str], words: str) -> None:
    assert client.stderr is not None
    for row in client.stderr:
        if words in row:
            return
    raise AssertionError(f"{words!r} was not said")


def test_the_first_ctrl_c_pauses_the_second_stops_the_engine(held: tuple[RunDir, subprocess.Popen[str]]) -> None:
    run, engine = held
    client = follower(run)
    heard(client, "round 9: measure")
    client.send_signal(signal.SIGINT)
    heard(client, "pausing after this round")
    assert [json.loads(path.read_text())["kind"] for path in run.inbox.glob("*.json")] == ["pause"]
    client.send_signal(signal.SIGINT)
    assert engine.wait(10) == -signal.SIGTERM
    heard(client, "nothing recorded is lost")
    assert client.wait(10) == 4


def test_the_third_ctrl_c_leaves_at_once(held: tuple[RunDir, subprocess.Popen[str]]) -> None:
    run, engine = held
    os.kill(engine.pid, signal.SIGSTOP)  # an engine that does not hear
    client = follower(run)
    heard(client, "round 9: measure")
    for _ in range(3):
        client.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert client.wait(10) == 130
    os.kill(engine.pid, signal.SIGCONT)


def test_leaving_a_run_that_was_only_watched_never_stops_it(held: tuple[RunDir, subprocess.Popen[str]]) -> None:
    run, engine = held
    command = [sys.executable, "-m", "vibeserve_tui", "attach", run.name, "--runs-dir", str(run.path.parent)]
    client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    heard(client, "round 9: measure")
    client.send_signal(signal.SIGINT)
    assert client.wait(10) == 130
    assert engine.poll() is None
    assert list(run.inbox.glob("*.json")) == []
