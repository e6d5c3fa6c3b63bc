"""Whether anybody will answer is seen before a run measures anything, and for nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.agents.scene import KEY, KEY_NAME, WIRES, voice
from tests.fakes.llm import FakeLLM
from tests.processes import vibeserve
from vibeserve_tui.agents import anthropic_api, openai_api
from vibeserve_tui.agents.protocol import reach
from vibeserve_tui.cli import main
from vibeserve_tui.errors import EnvironmentFault, InputError


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)


@pytest.fixture
def server() -> Iterator[FakeLLM]:
    with FakeLLM([], key=KEY, models=("fake-1",)) as started:
        yield started


@pytest.mark.parametrize("wire", WIRES)
def test_a_key_that_is_taken_costs_nothing_to_try(server: FakeLLM, wire: str) -> None:
    assert reach(voice(server, wire, api_key_env=KEY_NAME)) == ""
    assert server.requests == []


@pytest.mark.parametrize("wire", WIRES)
def test_a_key_that_is_refused_is_said_and_not_shown(
    server: FakeLLM, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_NAME, "sk-canary-another-one-3c5d")
    with pytest.raises(InputError, match="does not take the key: 401") as refused:
        reach(voice(server, wire, api_key_env=KEY_NAME))
    assert f"export {KEY_NAME}=" in str(refused.value) and "sk-canary" not in str(refused.value)


@pytest.mark.parametrize("wire", WIRES)
def test_a_server_that_is_not_there_is_said(server: FakeLLM, wire: str) -> None:
    settings = voice(server, wire, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(
        EnvironmentFault, match=r"http://127.0.0.1:9/v1 cannot be reached: .*\(fix: start it, or correct"
    ):
        reach(settings)


@pytest.mark.parametrize("module", [anthropic_api, openai_api])
def test_a_model_that_the_vendor_does_not_know_is_said(
    server: FakeLLM, module, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = voice(server, module.VENDOR.api, api_key_env=KEY_NAME, model="another")
    vendor = replace(module.VENDOR, base_url=own.base_url)
    monkeypatch.setattr(module, "VENDOR", vendor)
    with pytest.raises(InputError, match="knows no model 'another'"):
        vendor.reach(own.model_copy(update={"base_url": ""}), module.connect)


@pytest.mark.parametrize("wire", WIRES)
def test_a_model_that_an_own_server_does_not_list_is_only_doubtful(server: FakeLLM, wire: str) -> None:
    asked = voice(server, wire, api_key_env=KEY_NAME)
    assert reach(asked) == ""
    assert reach(asked.model_copy(update={"model": "another"})) == (
        f"{asked.base_url} lists no model 'another'; it has 'fake-1'"
    )
    lost = asked.model_copy(update={"base_url": f"{server.url}/v2"})
    assert "lists no models: see that it is the whole base_url" in reach(lost)
    assert server.requests == []


# ---- a first user -------------------------------------------------------------------------------------------------


def test_a_first_run_with_a_wrong_key_ends_in_one_line_before_there_is_a_run(server: FakeLLM, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    done = vibeserve(
        "run", "tiny-llama-chat", "--headless", "--agent", "anthropic", "--runs-dir", str(runs), cwd=tmp_path,
        HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path), ANTHROPIC_BASE_URL=server.url, ANTHROPIC_API_KEY="sk-wrong",
    )  # fmt: skip
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert done.err.startswith(f"vibeserve: {server.url} does not take the key: 401 authentication_error")
    assert "(fix: export ANTHROPIC_API_KEY=…)" in done.err
    assert not runs.exists() and server.requests == []


def test_a_budget_for_no_turn_ends_in_one_line_before_there_is_a_run(server: FakeLLM, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (tmp_path / "vibeserve").mkdir()
    (tmp_path / "vibeserve" / "config.toml").write_text("[prices.claude-sonnet-5-5]\ninput = 2.0\noutput = 10.0\n")
    done = vibeserve(
        "run", "tiny-llama-chat", "--headless", "--agent", "anthropic", "--max-usd", "0.001", "--runs-dir", str(runs),
        cwd=tmp_path, HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path), ANTHROPIC_BASE_URL=server.url,
        ANTHROPIC_API_KEY=KEY,
    )  # fmt: skip
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert re.match(
        r"vibeserve: \$0.001 for the run pays for no turn of claude-\S+: it takes \$0.0\d\d or more", done.err
    )
    assert not runs.exists() and server.requests == []


@pytest.mark.parametrize("name", ["anthropic", "openai"])
def test_a_missing_package_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["run", "--headless", "--agent", name, "--runs-dir", str(tmp_path / "runs")]) == 3
    said = capsys.readouterr().err
    assert said.startswith(f"vibeserve: the package {name} is missing (fix: pip install '{name}>=")
    assert said.count("\n") == 1
