"""What is needed of the machine before a CLI can play a role, and what a box shows of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.agents.cli.conftest import KEY
from vibeserve_tui.agents.cli import program
from vibeserve_tui.agents.coding_cli import completed, missing
from vibeserve_tui.errors import EnvironmentFault, InputError
from vibeserve_tui.events import VoiceSettings

pytest.importorskip("mcp")


def voice(**changes: object) -> VoiceSettings:
    return VoiceSettings.model_validate({"provider": "coding_cli", "api": "claude"} | changes)


def test_what_is_missing_is_said_in_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing(voice(api_key_env="TEST_KEY"))
    missing(voice(auth="none"))
    with pytest.raises(InputError, match="neither a key nor a login"):
        missing(voice())
    with pytest.raises(InputError, match="NO_SUCH_KEY is not set"):
        missing(voice(api_key_env="NO_SUCH_KEY"))
    with pytest.raises(InputError, match="did you mean 'claude'"):
        missing(voice(api="cluade"))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvironmentFault, match="npm install -g @anthropic-ai/claude-code"):
        missing(voice(api_key_env="TEST_KEY"))


def test_a_login_is_enough(home: Path) -> None:
    (home / ".claude").mkdir()
    (home / ".claude" / ".credentials.json").write_text("{}")
    missing(voice())


@pytest.mark.parametrize(
    ("cli", "model", "variable"),
    [
        ("claude", "", "ANTHROPIC_API_KEY"),
        ("codex", "", "OPENAI_API_KEY"),
        ("opencode", "openai/gpt", "OPENAI_API_KEY"),
    ],
)
def test_the_usual_variable_of_a_key_is_used_where_it_is_set(
    home: Path, monkeypatch: pytest.MonkeyPatch, cli: str, model: str, variable: str
) -> None:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert completed(voice(api=cli, model=model)).api_key_env == ""
    monkeypatch.setenv(variable, KEY)
    assert completed(voice(api=cli, model=model)).api_key_env == variable


@pytest.mark.parametrize(
    ("cli", "model", "price"),
    [
        ("claude", "claude-sonnet-5-5", 2.0), ("codex", "gpt-5.5", 5.0), ("gemini", "gemini-2.5-pro", 1.25),
        ("opencode", "anthropic/claude-sonnet-5-5", 2.0), ("opencode", "my-own/model", None), ("claude", "", None),
    ],
)  # fmt: skip
def test_a_model_that_is_named_has_the_price_of_its_seller(
    home: Path, cli: str, model: str, price: float | None
) -> None:
    rates = completed(voice(api=cli, model=model)).prices.get(model)
    assert (rates.input if rates else None) == price
    assert completed(voice(api=cli, model=model, base_url="http://127.0.0.1:9")).prices == {}


def test_settings_that_a_cli_has_no_use_for_are_refused(home: Path) -> None:
    with pytest.raises(InputError, match="claude cannot be told of fallback_models"):
        missing(voice(api_key_env="TEST_KEY", fallback_models=("other",)))


# ---- what a box shows ---------------------------------------------------------------------------------------------


def install(path: Path, first_line: str = "#!/bin/sh") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{first_line}\n")
    path.chmod(0o755)
    return path


def found(name: str, monkeypatch: pytest.MonkeyPatch, *folders: Path) -> program.Program:
    monkeypatch.setenv("PATH", ":".join(map(str, folders)) + ":" + os.environ["PATH"])
    return program.find(name, "package")


def test_of_an_npm_package_all_modules_are_shown_and_not_the_folder_of_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = tmp_path / "prefix" / "lib" / "node_modules"
    real = install(modules / "pkg" / "node_modules" / "inner" / "cli.js", "#!/usr/bin/env sh")
    links = tmp_path / "prefix" / "bin"
    links.mkdir()
    (links / "some-cli").symlink_to(real)
    program_found = found("some-cli", monkeypatch, links)
    assert program_found.path == real
    assert program_found.places == (modules,)


def test_of_a_program_in_the_home_folder_itself_only_the_file_is_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = install(home / "some-cli")
    assert found("some-cli", monkeypatch, home).places == (real,)


def test_an_interpreter_of_the_users_own_is_shown_and_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = install(tmp_path / "node-22" / "bin" / "some-node", "")
    install(tmp_path / "tools" / "some-cli", "#!/usr/bin/env some-node")
    program_found = found("some-cli", monkeypatch, tmp_path / "tools", node.parent)
    assert program_found.places == (tmp_path / "tools", tmp_path / "node-22")
    assert str(node.parent) in program_found.search_path.split(":")


def test_the_systems_folders_are_never_shown_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "tools" / "some-cli", "#!/bin/sh")
    assert found("some-cli", monkeypatch, tmp_path / "tools").places == (tmp_path / "tools",)
