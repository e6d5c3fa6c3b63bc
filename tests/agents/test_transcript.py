"""A transcript's account of the workspace: whatever an agent did to it can be done again, and nothing beyond it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.agents.scene import Scene, Verdict, request_of
from vibeserve_tui.agents.loop.transcript import BUDGET_LEFT, Changed, Opening, Recorder, Transcript, apply_changes
from vibeserve_tui.agents.protocol import Result, Said, Used, Waiting
from vibeserve_tui.errors import RunError
from vibeserve_tui.events import ToolCall


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "server").mkdir(parents=True)
    (folder / "server" / "model.py").write_text("one\n")
    (folder / "plain").write_text("a file\n")
    (folder / "kept").write_text("as it is\n")
    return folder


def recorder(workspace: Path) -> Recorder:
    request = request_of(Scene(""), workspace=workspace)
    assert request.brief is not None
    return Recorder(request, replace(request.brief, writable=True), "a provider", "a model")


def tree(folder: Path) -> dict[str, object]:
    return {
        path.relative_to(folder).as_posix(): path.readlink()
        if path.is_symlink()
        else (path.stat().st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_all_that_was_said_and_done_comes_back(workspace: Path) -> None:
    heard = recorder(workspace)
    events = [Said("über"), Used(ToolCall(name="read", arguments="{}", ok=False, output="no")), Waiting("503", 0.5)]
    for event in [*events, Result("ok", Verdict(verdict="pass", score=1))]:
        heard.hear(event)
    back = Transcript.parse(heard.data())
    assert list(back.events) == events and back.changes == ()
    assert (back.ending.status, back.ending.value) == ("ok", {"verdict": "pass", "score": 1})
    assert (back.opening.role, back.opening.model) == ("analyst", "a model")


def test_changes_of_every_kind_are_made_again(workspace: Path, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(workspace, before, symlinks=True)
    heard = recorder(workspace)
    shutil.rmtree(workspace / "server")
    (workspace / "server").write_bytes(b"\x00\xff now a file")
    (workspace / "plain").unlink()
    (workspace / "plain").mkdir()
    (workspace / "plain" / "deep").write_text("now a folder")
    (workspace / "run.sh").write_text("#!/bin/sh\n")
    (workspace / "run.sh").chmod(0o755)
    (workspace / "link").symlink_to("kept")
    (workspace / "__pycache__").mkdir()
    (workspace / "__pycache__" / "x.pyc").write_bytes(b"cache")
    heard.hear(Result("error", reason="whatever"))
    back = Transcript.parse(heard.data())
    apply_changes(back.changes, before)
    shutil.rmtree(workspace / "__pycache__")
    assert tree(before) == tree(workspace)
    assert b"as it is" not in heard.data(), "what did not change is not kept"


@pytest.mark.parametrize("path", ["../x", "/etc/x", "out/x", "server/../../x"])
def test_nothing_outside_of_the_workspace_is_touched(workspace: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (workspace / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="outside of the workspace"):
        apply_changes([Changed(path=path, content="eA==")], workspace)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"{}\n", b'{"kind":"said","text":"x"}\n', b"\xff\n"])
def test_what_is_no_transcript_is_refused(data: bytes) -> None:
    with pytest.raises(RunError):
        Transcript.parse(data)


def test_what_is_asked_otherwise_is_told_and_what_is_left_to_spend_is_not_asked(workspace: Path) -> None:
    request = request_of(Scene(""), workspace=workspace)
    brief = request.brief
    assert brief is not None

    def opening(**changes: object) -> Opening:
        return Opening.of(request, replace(brief, **changes), "", "")

    first = opening(volatile=f"{BUDGET_LEFT} 3 rounds, 9 minutes.\nc16: 400 tok/s\nBegin.")
    same = f"{BUDGET_LEFT} 3 rounds, 8 minutes.\nc16: 400 tok/s\nBegin."
    assert first.differs(opening(volatile=same, workspace=Path("/elsewhere"))) == ""
    assert first.differs(opening(volatile=same.replace("400", "411"))) == "'c16: 411 tok/s' instead of 'c16: 400 tok/s'"
    assert first.differs(opening(volatile=f"{same}\nWell?")) == "'Well?' instead of ''"
    parts = {
        "role and rights": {"system": "x"}, "target and skills": {"stable": "x"}, "tools": {"tools": brief.tools[:1]},
    }  # fmt: skip
    for name, change in parts.items():
        assert first.differs(opening(volatile=same, **change)) == f"another text of its {name}"
