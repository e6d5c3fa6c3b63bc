"""Whatever is wrong with what we are given: one line that names it, the right exit code, no traceback, at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.inputs.small_target import write_target
from tests.processes import Done, vibeserve
from tests.recorded_run import SEED, Played, record_run
from tests.thoroughly import thoroughly
from vibeserve_tui import events as ev
from vibeserve_tui.cli import main
from vibeserve_tui.state.journal import Journal, encode_line
from vibeserve_tui.state.run_dir import RunDir

MAX_CPU_S = 1.5
TRIES = 3
"""A machine that is busy with others adds to the CPU time of a process and never takes from it."""


@dataclass(frozen=True, slots=True)
class Case:
    """A command line; `{…}` are the scene's folders."""

    line: str
    code: int
    says: str
    processes: int = 1
    """How many have to start before it is found: two where only the engine can know."""


INPUT, ENVIRONMENT, DAMAGED = 2, 3, 5

CASES = {
    # the command line itself
    "an unknown verb": Case("reprot latest", INPUT, "did you mean 'report'"),
    "an unknown option": Case("run --fast", INPUT, "--fast"),
    "a word for a number": Case("run --max-rounds two", INPUT, "'two'"),
    "no rounds": Case("run --max-rounds 0", INPUT, "max_rounds"),
    "negative minutes": Case("run --max-minutes -3", INPUT, "max_minutes"),
    "minutes that are no number": Case("run --max-minutes nan", INPUT, "max_minutes"),
    "an unknown approval mode": Case("run --approve sometimes", INPUT, "sometimes"),
    "a verb without its argument": Case("steer", INPUT, "note"),
    "a verb without its action": Case("target", INPUT, "action"),
    "an action that does not exist": Case("gate understand latest 1", INPUT, "understand"),
    "a speed that is no number": Case("replay good --speed nan --runs-dir {runs}", INPUT, "--speed nan"),
    "a round below zero": Case("revert good --to -1 --runs-dir {runs}", INPUT, "--to"),
    "runs in a file": Case("ls --runs-dir {file}", INPUT, "no folder"),
    "a speed below zero": Case("replay good --speed -1 --runs-dir {runs}", INPUT, "backwards"),
    # targets
    "an unknown target": Case("run tiny-lama-chat", INPUT, "did you mean 'tiny-llama-chat'"),
    "a folder that is no target": Case("run {empty}", INPUT, "target.toml"),
    "a target that is no TOML": Case("run {broken}/tiny-llama-chat", INPUT, "target.toml"),
    "a target with an unknown field": Case("target check {odd}/tiny-llama-chat", INPUT, "target.toml: nmae (line 3)"),
    "a corpus that is no JSON": Case("target check {mute}/tiny-llama-chat --static", INPUT, "corpus.jsonl:2: not JSON"),
    "a foreign target": Case("run {foreign}/tiny-llama-chat", INPUT, "--trust"),
    "the wrong trust hash": Case("run {foreign}/tiny-llama-chat --trust abc", INPUT, "not the target's hash"),
    "weights for a target that brings them": Case("run --model {empty}", INPUT, "bundled"),
    "a backend the target is not made for": Case("run --backend abacus", INPUT, "abacus"),
    "a check of nothing": Case("target check", INPUT, "which one"),
    "a check of an unknown target": Case("target check nothing", INPUT, "nothing"),
    "a new target without weights": Case("target new {fresh}", INPUT, "--model"),
    "a new target over an old one": Case("target new {foreign} --model {model}", INPUT, "foreign"),
    "a new target around no weights": Case("target new {fresh} --model {empty}", INPUT, "empty"),
    # profiles, agents, skills, backends
    "an unknown profile": Case("run --profile quik", INPUT, "did you mean 'quick'"),
    "a profile that is not there": Case("run --profile {empty}/mine.toml", INPUT, "mine.toml"),
    "a profile with an unknown key": Case("run --profile {profile}", INPUT, "max_round"),
    "an unknown agent": Case("run --agent nobody", INPUT, "nobody"),
    "an unknown skill": Case("skills show kv-cache", INPUT, "kv-cache"),
    "a skill without a name": Case("skills show", INPUT, "skill"),
    "a folder of skills that is not there": Case("skills ls --skills-dir {empty}/none", INPUT, "none"),
    "a skill without front matter": Case("skills ls --skills-dir {skills}", INPUT, "SKILL.md"),
    "an unknown backend": Case("skills ls --backend abacus", ENVIRONMENT, "abacus"),
    # runs
    "no runs at all": Case("report latest --runs-dir {empty}", INPUT, "no run in"),
    "an unknown run": Case("report god --runs-dir {runs}", INPUT, "did you mean 'good'"),
    "a beginning that fits several runs": Case("report d --runs-dir {runs}", INPUT, "fits 2 runs"),
    "a decision on a finished run": Case("approve good --runs-dir {runs}", INPUT, "no engine works"),
    "a stop of a finished run": Case("stop good --runs-dir {runs}", INPUT, "no engine works"),
    "a finished run to resume": Case("resume good --runs-dir {runs}", INPUT, "the run is over"),
    "a run whose order is gone": Case("resume orderless --runs-dir {runs} --headless", INPUT, "order", processes=2),
    "a round that was never played": Case("gate explain good 7 --runs-dir {runs}", INPUT, "round 7"),
    "a round whose evidence is gone": Case("gate explain ended 2 --runs-dir {runs}", INPUT, "blob"),
    "a recording of nothing": Case("replay void --runs-dir {runs} --headless", INPUT, "empty"),
    "a folder in the place of a journal": Case("report folder --runs-dir {runs}", INPUT, "journal.jsonl"),
    # damaged journals: bad input for those who only read
    "a damaged journal to report": Case("report damaged --runs-dir {runs}", INPUT, "journal.jsonl, line 2"),
    "a damaged journal to replay": Case("replay damaged --runs-dir {runs}", INPUT, "journal.jsonl, line 2"),
    "a damaged journal to watch": Case("attach damaged --runs-dir {runs} --headless", INPUT, "line 2"),
    "a damaged journal to explain": Case("gate explain damaged 1 --runs-dir {runs}", INPUT, "line 2"),
    "a damaged journal to export": Case("export damaged {fresh} --runs-dir {runs}", INPUT, "line 2"),
    "a damaged journal to examine": Case("doctor damaged --runs-dir {runs}", INPUT, "line 2"),
    "a damaged journal to go on with": Case("resume damaged --runs-dir {runs}", DAMAGED, "journal.jsonl, line 2"),
    "a journal of noise": Case("report noise --runs-dir {runs}", INPUT, "line 1"),
    "a journal of a newer version": Case("report newer --runs-dir {runs}", INPUT, "newer version"),
    # places
    "a file in the place of the runs": Case("run --runs-dir {file}", INPUT, "is no folder"),
    "a report into a file": Case("report good --out {file} --runs-dir {runs}", ENVIRONMENT, "cannot be written"),
    "an export into a file": Case("export good {file} --round 0 --runs-dir {runs}", ENVIRONMENT, "cannot be written"),
    "an export into a folder in use": Case("export good {runs} --round 0 --runs-dir {runs}", INPUT, "not empty"),
    "an export of what was not confirmed": Case("export ended {fresh} --runs-dir {runs}", INPUT, "--round 1"),
    # load
    "a workload that is not there": Case("bench http://127.0.0.1:9 --workload {empty}/w.toml", INPUT, "w.toml"),
    "a workload with an unknown key": Case("bench http://127.0.0.1:9 --workload {profile}", INPUT, "own.toml"),
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Everything wrong that a person may have lying about."""
    home = tmp_path_factory.mktemp("scene")
    places = {name: home / name for name in ("empty", "runs", "skills", "broken", "odd", "mute", "foreign")}
    for folder in places.values():
        folder.mkdir()
    places |= {"home": home, "file": home / "file", "fresh": home / "fresh", "profile": home / "own.toml"}
    places["file"].write_text("in the way\n")
    places["profile"].write_text('schema = 1\ntitle = "mine"\nmax_round = 3\n')
    (places["skills"] / "mine").mkdir()
    (places["skills"] / "mine" / "SKILL.md").write_text("# no front matter\n")
    write_target(places["broken"])
    (places["broken"] / "tiny-llama-chat" / "target.toml").write_text("schema = = 1\n")
    write_target(places["odd"], lambda text: text.replace("title =", "nmae = 1\ntitle =", 1))
    (write_target(places["mute"]) / "benchmark" / "corpus.jsonl").write_text('{"text": "b"}\nnonsense\n')
    places["model"] = write_target(places["foreign"]) / "reference" / "model"
    record_runs(places["runs"])
    return places


def record_runs(runs: Path) -> None:
    record_run(runs / "good", [Played(SEED, "a change")])
    record_run(runs / "ended", [Played(SEED, "a change")], confirmed=None)
    add_round_without_evidence(RunDir(runs / "ended"))
    damaged, second = RunDir(runs / "damaged"), RunDir(runs / "double")
    for run in (damaged, second):
        run.create()
        journal = Journal(run.journal)
        for number in range(4):
            journal.append(ev.Warned(text=f"warning {number}"))
        journal.close()
    damaged.journal.write_bytes(damaged.journal.read_bytes().replace(b"warning 1", b"warning 9"))
    shutil.copytree(second.path, runs / "orderless")
    journals = {
        "void": b"",
        "noise": bytes(range(256)) * 4 + b"\n",
        "newer": encode_line({"v": 99, "seq": 1, "more": 0, "kind": "warned", "data": {}, "prev": "00000000"})[0],
    }
    for name, content in journals.items():
        (runs / name).mkdir()
        (runs / name / "journal.jsonl").write_bytes(content)
    (runs / "folder" / "journal.jsonl").mkdir(parents=True)


def add_round_without_evidence(run: RunDir) -> None:
    measured = ev.Measured(outcome="accepted", reason="", blocks=2, evidence="0" * 64)
    task = ev.TaskPlan(title="another change")
    journal = Journal(run.journal)
    journal.append(
        ev.RoundFinished(record=ev.RoundRecord(number=2, task=task, outcome="reverted", reason="", measured=measured))
    )
    journal.close()


HOMES = ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")


def words(scene: dict[str, Path], line: str) -> list[str]:
    return [word.format(**scene) for word in line.split()]


def say(scene: dict[str, Path], line: str, **environment: str) -> Done:
    return vibeserve(*words(scene, line), **dict.fromkeys(HOMES, str(scene["home"])), **environment)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_gets_one_line_and_its_exit_code(
    scene: dict[str, Path], case: Case, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in HOMES:
        monkeypatch.setenv(name, str(scene["home"]))
    try:
        code = main(words(scene, case.line))
    except SystemExit as ended:
        code = ended.code
    out, err = capfd.readouterr()
    check(case, Done(code, out, err, 0.0))


FOUND_AT_EVERY_DEPTH = {
    "an unknown verb", "no rounds", "an unknown target", "the wrong trust hash", "an unknown profile",
    "a finished run to resume", "a run whose order is gone", "a workload with an unknown key",
}  # fmt: skip
"""By the parser, by a verb, by what it reads, by the engine: the others of the table differ in words alone."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name) if name in FOUND_AT_EVERY_DEPTH else thoroughly(case, id=name)
        for name, case in CASES.items()
    ],
)
def test_bad_input_costs_a_real_process_little(scene: dict[str, Path], case: Case) -> None:
    spent = []
    while not spent or (spent[-1] >= MAX_CPU_S * case.processes and len(spent) < TRIES):
        done = say(scene, case.line)
        assert "Traceback" not in done.err, done.err
        check(case, done)
        spent.append(done.cpu_s)
    assert min(spent) < MAX_CPU_S * case.processes


def check(case: Case, done: Done) -> None:
    assert len(done.err.splitlines()) == 1, done.err
    assert case.says in done.err
    assert done.code == case.code, done.err
    assert not done.out


@pytest.mark.parametrize("line", ["export good {fresh} --round 0 --runs-dir {runs}", "run --runs-dir {home}/more"])
def test_without_git_the_missing_program_is_named(scene: dict[str, Path], line: str) -> None:
    done = say(scene, line, PATH=str(scene["empty"]))
    assert (done.code, len(done.err.splitlines())) == (ENVIRONMENT, 1), done.err
    assert "git is missing" in done.err


@pytest.mark.parametrize("note", ["", "  ", "x" * 5000], ids=["nothing", "blanks", "too much"])
def test_a_note_that_says_nothing_or_too_much_is_refused(note: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["steer", note])
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_a_terminal_without_our_signs_gets_their_ascii_twins(scene: dict[str, Path]) -> None:
    done = say(scene, "report good --runs-dir {runs}", PYTHONIOENCODING="ascii")
    assert (done.code, done.err) == (0, "")
    assert "x1.4" in done.out and "?1.4" not in done.out


@pytest.mark.parametrize("line", ["report good", "ls"], ids=["while it prints", "at the end"])
def test_a_full_disk_below_the_output_is_said_in_one_line(scene: dict[str, Path], line: str) -> None:
    command = [sys.executable, "-m", "vibeserve_tui", *line.split(), "--runs-dir", str(scene["runs"])]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == ENVIRONMENT
    assert done.stderr.startswith("vibeserve: nothing more can be written")
    assert len(done.stderr.splitlines()) == 1


def test_closed_streams_are_no_crash(scene: dict[str, Path]) -> None:
    command = f"exec {sys.executable} -m vibeserve_tui attach good --runs-dir {scene['runs']} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False, timeout=60).returncode == 0


def test_an_argument_with_control_characters_is_still_quoted_on_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--fast\x1b[2J\nall-is-well"])
    complaint = capfd.readouterr().err
    assert len(complaint.splitlines()) == 1
    assert "\x1b" not in complaint


def test_one_unreadable_run_does_not_hide_the_others(scene: dict[str, Path]) -> None:
    done = say(scene, "ls --runs-dir {runs}")
    assert (done.code, done.err) == (0, "")
    states = {line.split()[0]: line for line in done.out.splitlines()}
    assert "finished" in states["good"]
    for name in ("damaged", "noise", "newer", "folder"):
        assert "unreadable" in states[name]


def test_nothing_was_left_behind(scene: dict[str, Path]) -> None:
    assert not scene["fresh"].exists()
    assert not any(scene["empty"].iterdir())
