"""What `doctor` and `target ls` print: one finding or target a line, whatever is wrong with one of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.inputs.small_target import EXAMPLE
from tests.processes import vibeserve
from vibeserve_tui import doctor
from vibeserve_tui.backend import Requirement
from vibeserve_tui.cli import main
from vibeserve_tui.inputs.own_skills import own_skills_folder
from vibeserve_tui.inputs.own_targets import make_target, own_folder
from vibeserve_tui.resources import Shipped, shipped_folder


def test_a_machine_without_git_fails_with_the_fix_below_the_finding(tmp_path: Path) -> None:
    done = vibeserve("doctor", "--runs-dir", str(tmp_path), PATH=str(tmp_path))
    assert (done.code, done.err) == (3, "")
    lines = done.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("✗ git"))
    assert lines[at + 1].strip() == "fix: install git 2.30 or newer"
    assert any(line.startswith("! C++ compiler") for line in lines)
    assert {line[2:24].rstrip() for line in lines if not line.startswith("    ")} >= {"python", "sandbox", "disk"}


def test_what_was_found_is_printed_before_the_next_thing_is_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed: list[str] = []

    def slow() -> Requirement:
        printed.append(capsys.readouterr().out)
        return Requirement(id="C++ compiler", ok=False, severity="recommended", observed="none", expected="one")

    monkeypatch.setattr(doctor, "_compiler", slow)
    main(["doctor", "--runs-dir", os.curdir])
    assert printed[0].startswith("✓ python")


def test_own_targets_are_listed_and_a_broken_one_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    model = Path(shutil.copytree(EXAMPLE / "reference" / "model", tmp_path / "my-model"))
    for name in ("broken", "mine"):
        make_target(name, model)
    (own_folder() / "broken" / "target.toml").write_text("schema = = 1\n")
    assert main(["target", "ls"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["TARGET", "BACKENDS", "TITLE"]
    assert [row.split()[0] for row in rows] == ["tiny-llama-chat", "broken", "mine"]
    assert "target.toml" in rows[1]


def test_a_skill_of_ones_own_that_takes_the_place_of_a_shipped_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    shipped = shipped_folder(Shipped.SKILLS) / "http-path"
    shutil.copytree(shipped, own_skills_folder() / "http-path")
    assert main(["skills", "ls"]) == 0
    told = [row.split()[0] for row in capsys.readouterr().out.splitlines() if "in place of" in row]
    assert told == ["http-path"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--runs-dir", "{file}"], "is no folder"),
        (["--runs-dir={folder}"], "the app needs a terminal"),
        (["--runs-dir", "{folder}", "ls"], "unrecognized arguments: ls"),
        (["--runs-dir"], "expected one argument"),
        (["run", "--role", "judge"], "is not ROLE=NAME"),
        (["run", "--role", "jugde=openai"], "did you mean 'judge'"),
    ],
)
def test_what_cannot_be_meant_is_said_in_a_line(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "file").touch()
    done = vibeserve(*(word.format(file=tmp_path / "file", folder=tmp_path) for word in words))
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1
