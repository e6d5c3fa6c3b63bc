"""The inbox: whatever is put there is answered once, in order, and never stops the engine; what was accepted stays so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes import measured, open_run
from tests.processes import ROOT, python
from tests.reliability.synthetic import prepare
from vibeserve_tui import commands as cmd
from vibeserve_tui import events as ev
from vibeserve_tui.commands import parse_command
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.run_dir import MAX_COMMAND_BYTES, RunDir
from vibeserve_tui.steering import Desk

RACES = 50


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path, approval="each-round")


def desk_of(run: Run) -> Desk:
    return Desk(run, approval_timeout_s=None)


def reopened(run: Run) -> Run:
    """As the next engine finds it after this one was killed: nothing is closed, nothing is written any more."""
    return Run(RunDir(run.dir.path))


def start_round(run: Run, number: int = 1) -> None:
    run.emit(
        ev.RoundPlanned(number=number, task=ev.TaskPlan(title="batch")), ev.AttemptStarted(round=number, attempt=1)
    )


def waiting_round(run: Run) -> None:
    start_round(run)
    run.emit(ev.MeasurementFinished(round=1, measured=measured()))
    run.emit(ev.ApprovalRequested(id="1-1", round=1, default="approve"))


# ---- what may lie there -------------------------------------------------------------------------------------------


def deep(inbox: Path) -> None:
    (inbox / "x.json").write_text("[" * 100_000)


def large(inbox: Path) -> None:
    (inbox / "x.json").write_bytes(b" " * (MAX_COMMAND_BYTES + 1))


def linked(inbox: Path) -> None:
    (inbox / "x.json").symlink_to("/etc/passwd")


def foreign(inbox: Path) -> None:
    (inbox / "x.json").write_text('{"kind": "stop"}')
    os.chown(inbox / "x.json", 12345, 12345)


def folder(inbox: Path) -> None:
    (inbox / "x.json" / "deeper").mkdir(parents=True)


STRANGE = {
    "half a command": lambda inbox: (inbox / "x.json").write_text('{"kind": "sto'),
    "nothing": lambda inbox: (inbox / "x.json").touch(),
    "bytes that are no text": lambda inbox: (inbox / "x.json").write_bytes(b"\xff\xfe\x00"),
    "a list": lambda inbox: (inbox / "x.json").write_text("[1]"),
    "a number": lambda inbox: (inbox / "x.json").write_text("NaN"),
    "an endless number": lambda inbox: (inbox / "x.json").write_text("9" * 20_000),
    "an unknown kind": lambda inbox: (inbox / "x.json").write_text('{"kind": "format_disk"}'),
    "a kind that is an essay": lambda inbox: (inbox / "x.json").write_text(json.dumps({"kind": "x" * 500_000})),
    "an unknown field": lambda inbox: (inbox / "x.json").write_text('{"kind": "stop", "force": true}'),
    "an id that is a path": lambda inbox: (inbox / "x.json").write_text('{"kind": "stop", "id": "../../x"}'),
    "half a character": lambda inbox: (inbox / "x.json").write_text('{"kind": "steer", "note": "\\ud800"}'),
    "a note of nothing": lambda inbox: (inbox / "x.json").write_text('{"kind": "steer", "note": ""}'),
    "a deep nest": deep,
    "a large file": large,
    "a link": linked,
    "a pipe": lambda inbox: os.mkfifo(inbox / "x.json"),
    "a folder": folder,
    "another user's command": pytest.param(
        foreign, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    ),
}


@pytest.mark.parametrize("put", STRANGE.values(), ids=STRANGE)
def test_what_is_no_command_is_turned_down_in_one_line_and_removed(run: Run, put) -> None:
    put(run.dir.inbox)
    desk_of(run).scan()
    reason = run.state.answered["x"]
    assert reason not in ("", "accepted")
    assert len(reason) <= 500
    assert len(reason.splitlines()) == 1
    assert not any(run.dir.inbox.iterdir())
    assert not run.state.stop_wished


def test_a_file_whose_name_is_no_text_is_answered(run: Run) -> None:
    with open(os.fsencode(run.dir.inbox) + b"/\xff\x1b[2J.json", "w") as file:
        file.write("{")
    desk_of(run).scan()
    assert not any(run.dir.inbox.iterdir())
    assert all("\x1b" not in name for name in run.state.answered)


def test_a_file_that_is_still_being_written_is_left_alone(run: Run) -> None:
    (run.dir.inbox / ".x.json.tmp").write_text("{")
    desk_of(run).scan()
    assert run.state.answered == {}


def test_text_that_terminals_obey_is_accepted_as_text(run: Run) -> None:
    run.dir.post(cmd.Steer(id="x", note="\x1b]0;owned\x07\u202e\0"))
    desk_of(run).scan()
    assert run.state.answered["x"] == "accepted"
    assert run.state.memory  # and the views could be written


# ---- twice, late, at once -----------------------------------------------------------------------------------------


def test_the_same_command_in_two_files_is_carried_out_once(run: Run) -> None:
    data = cmd.NewIssue(id="x", title="lower the tail").model_dump_json()
    for name in ("x.json", "copy.json"):
        (run.dir.inbox / name).write_text(data)
    desk_of(run).scan()
    assert len(run.state.issues) == 1


def test_a_command_answered_before_a_crash_is_not_carried_out_after_it(run: Run) -> None:
    command = cmd.NewIssue(id="x", title="lower the tail")
    run.dir.post(command)
    desk_of(run).scan()
    run.dir.post(command)  # the crash came before its file was removed
    after = reopened(run)
    desk_of(after).scan()
    assert len(after.state.issues) == 1
    assert not any(run.dir.inbox.iterdir())


def test_a_command_that_comes_after_the_end_is_told_so(run: Run) -> None:
    run.emit(ev.RunFinished(reason="all rounds are played"))
    run.dir.post(cmd.Stop(id="late"))
    desk_of(run).turn_away()
    assert run.state.answered["late"] == "the run is over"
    assert run.state.status == "finished"


@pytest.mark.parametrize("command", [cmd.Pause(id="x"), cmd.Resume(id="x"), cmd.CancelStep(id="x")])
def test_a_pause_that_the_last_engine_never_saw_does_not_hold_the_next_one(run: Run, command: cmd.Command) -> None:
    run.dir.post(command)
    os.utime(run.dir.inbox / "x.json", (1, 1))
    after = reopened(run)
    desk = desk_of(after)
    desk.scan()
    assert "meant for an engine that ended" in after.state.answered["x"]
    assert not desk.wishes.pause


def test_an_answer_to_another_question_is_turned_down(run: Run) -> None:
    waiting_round(run)
    run.dir.post(cmd.Approve(id="x", approval="0-7"))
    desk_of(run).scan()
    assert "is not the one that waits" in run.state.answered["x"]
    assert run.state.approval is not None


async def test_commands_of_many_clients_at_once_are_each_answered_once(run: Run) -> None:
    watching = asyncio.create_task(desk_of(run).watch())
    commands = [cmd.NewIssue(id=f"c{number}", title=f"idea {number}") for number in range(100)]

    def post(command: cmd.NewIssue) -> None:
        run.dir.post(command)

    with ThreadPoolExecutor(8) as clients:
        await asyncio.gather(*(asyncio.get_running_loop().run_in_executor(clients, post, one) for one in commands))
    async with asyncio.timeout(10):
        while len(run.state.answered) < len(commands):
            await asyncio.sleep(0.02)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    assert {issue.title for issue in run.state.issues.values()} == {command.title for command in commands}
    assert len(run.state.issues) == len(commands)


# ---- what was accepted survives a crash ---------------------------------------------------------------------------


@pytest.mark.parametrize("now", [False, True])
def test_a_stop_is_still_wished_after_a_crash(run: Run, now: bool) -> None:
    start_round(run)
    run.dir.post(cmd.Stop(id="x", now=now))
    desk_of(run).scan()
    after = reopened(run)
    assert desk_of(after).wishes.stop
    assert desk_of(after).wishes.stop_now is now
    assert after.state.in_flight is not None
    assert after.state.in_flight.given_up is now


async def test_a_revert_is_carried_out_after_a_crash_once_the_round_in_flight_is_given_up(run: Run) -> None:
    record = run.state.rounds[0].model_copy(update={"number": 1, "fate": "champion"})
    run.emit(ev.RoundFinished(record=record), ev.ChampionMoved(round=1, commit=record.commit))
    start_round(run, 2)
    run.dir.post(cmd.RevertTo(id="x", round=0))
    desk_of(run).scan()
    after = reopened(run)
    desk = desk_of(after)
    assert after.state.in_flight is not None
    assert after.state.in_flight.given_up
    await desk.boundary()
    assert after.state.champion == 1, "the round in flight is measured against it"
    after.emit(ev.RoundFinished(record=record.model_copy(update={"number": 2})))
    await desk.boundary()
    assert after.state.champion == 0
    await desk.boundary()
    assert sum(isinstance(line.event, ev.ChampionMoved) for line in records(after)) == 3


@pytest.mark.parametrize(
    ("command", "action"),
    [(cmd.Approve(id="x", by="ann"), "approve"), (cmd.RevertTo(id="x"), "revert"), (cmd.Retry(id="x"), "retry")],
)
async def test_an_answer_is_not_asked_for_again_after_a_crash(run: Run, command: cmd.Command, action: str) -> None:
    waiting_round(run)
    run.dir.post(command)
    desk_of(run).scan()
    after = reopened(run)
    decision = await asyncio.wait_for(desk_of(after).decide(1, "approve"), 1)
    assert (decision.action, decision.by) == (action, command.by)
    assert after.state.approval is None


def test_what_the_operator_asks_of_a_retry_reaches_the_next_attempt_after_a_crash(run: Run) -> None:
    waiting_round(run)
    run.dir.post(cmd.Retry(id="x", comment="mind the tail"))
    desk_of(run).scan()
    run.emit(ev.AttemptStarted(round=1, attempt=2))
    here = reopened(run).state.in_flight
    assert here is not None
    assert here.feedback == "the operator asks: mind the tail"


def test_a_hand_edit_of_the_memory_survives_what_the_engine_writes_meanwhile(run: Run) -> None:
    run.note("What works", "batching")
    view = run.dir.views / "progress.md"
    view.write_text(view.read_text() + "- my own note\n")
    run.note("What works", "caching")
    assert "my own note" in run.state.memory
    assert "caching" in view.read_text()
    view.write_text(view.read_text() + "- another one\n")
    run.dir.post(cmd.Steer(id="x", note="mind the tail"))
    desk_of(run).scan()
    assert "another one" in run.state.memory
    assert "mind the tail" in view.read_text()


def records(run: Run) -> list[ev.Record]:
    from vibeserve_tui.state.journal import read_journal

    return list(read_journal(run.dir.journal))


# ---- who owns a run -----------------------------------------------------------------------------------------------

RACE = """
import os, sys, time
from pathlib import Path
from vibeserve_tui import events as ev
from vibeserve_tui.errors import LockHeld
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.run_dir import RunDir
import git
folder, races = Path(sys.argv[1]), int(sys.argv[2])
for number in range(races):
    directory = RunDir(folder / str(number))
    directory.create()
    begin = time.monotonic() + 0.02
    children = []
    for _ in range(2):
        if (pid := os.fork()) == 0:
            code = 9
            try:
                while time.monotonic() < begin:
                    pass
                with directory.owned(wait_s=0.0) as lock:
                    run = Run(directory, lock)
                    run.emit(ev.Warned(text=f"mine: {os.getpid()}"))
                    time.sleep(0.1)
                    code = 0
            except LockHeld as error:
                code = error.exit_code
            finally:
                os._exit(code)
        children.append(pid)
    print(sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


@pytest.mark.slow
def test_of_two_engines_exactly_one_gets_the_run(tmp_path: Path, record_property) -> None:
    record_property("trials", f"{RACES} races")
    done = python(["-c", RACE, str(tmp_path), str(RACES)])
    assert done.out.splitlines() == ["[0, 3]"] * RACES, done.err
    for number in range(RACES):
        assert len(list((tmp_path / str(number) / "journal.jsonl").read_text().splitlines())) == 1


@pytest.mark.slow  # it waits five seconds for the lock, as it should
def test_a_second_engine_names_the_first_and_ends_with_3(tmp_path: Path) -> None:
    directory = prepare(tmp_path)
    with directory.owned():
        argv = [sys.executable, "-m", "vibeserve_tui.engine", directory.path]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 3
    assert f"pid {os.getpid()}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_command_survives_the_way_through_a_file(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.create()
    for command in (cmd.Stop(now=True), cmd.RevertTo(round=2), cmd.SetBudget(max_minutes=1.5)):
        run.post(command)
    found = {command.id: command for _, command in run.waiting_commands() if not isinstance(command, str)}
    assert all(parse_command(command.model_dump()) == command for command in found.values())
    assert len(found) == 3
