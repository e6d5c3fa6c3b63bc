"""Keys are looked up by name where the operator put them, and shown to nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vibeserve_tui.errors import InputError
from vibeserve_tui.inputs.keys import find_key, require_key, without_key


def dot_env(folder: Path, text: str, mode: int = 0o600) -> None:
    (folder / ".env").write_text(text)
    (folder / ".env").chmod(mode)


@pytest.mark.parametrize(
    "line",
    [
        "LAB_KEY=s3cret",
        "  export LAB_KEY = s3cret  ",
        'LAB_KEY="s3cret"',
        "LAB_KEY='s3cret' # mine",
        "LAB_KEY=s3cret # mine",
    ],
)
def test_a_key_in_dot_env_is_found_and_does_not_enter_the_environment(tmp_path: Path, line: str) -> None:
    dot_env(tmp_path, f"# keys\nOTHER_KEY=no\n{line}\n")
    assert find_key("LAB_KEY", {}, tmp_path) == "s3cret"
    assert "LAB_KEY" not in os.environ and "OTHER_KEY" not in os.environ


def test_the_environment_wins_over_dot_env(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LAB_KEY=file\n")
    assert find_key("LAB_KEY", {"LAB_KEY": " environment "}, tmp_path) == "environment"


@pytest.mark.parametrize("text", ["", "LAB_KEY=\n", "MY_LAB_KEY=x\n", "nonsense\n", "#LAB_KEY=x\n"])
def test_what_is_not_there_is_not_found(tmp_path: Path, text: str) -> None:
    (tmp_path / ".env").write_text(text)
    assert find_key("LAB_KEY", {}, tmp_path) is None


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_key_that_other_users_can_read_is_refused_with_the_way_out(tmp_path: Path, mode: int) -> None:
    dot_env(tmp_path, "LAB_KEY=s3cret\n", mode)
    with pytest.raises(InputError, match=r"can be read by other users \(fix: chmod 600 .*\.env\)$") as caught:
        find_key("LAB_KEY", {}, tmp_path)
    assert "s3cret" not in str(caught.value)
    assert find_key("OTHER_KEY", {}, tmp_path) is None, "a file without it is nobody's business"


def test_a_missing_key_is_one_line_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAB_KEY", raising=False)
    with pytest.raises(
        InputError, match=r"^LAB_KEY is not set \(fix: export LAB_KEY=…, or write that line into .*\.env\)$"
    ):
        require_key("LAB_KEY")


def test_a_key_is_blotted_out_whole_and_in_part() -> None:
    key = "sk-canary-5f1c2e7d9b8a4c3f"
    assert "canary" not in without_key(f"bad key {key}, that is {key[:8]}****{key[-4:]}", key)
    assert without_key("no key at all", "") == "no key at all"
