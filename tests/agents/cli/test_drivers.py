"""Command lines and output of each CLI: what it is told, and what its own samples of output mean to us."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.agents.cli.conftest import ALL
from vibeserve_tui.agents.cli.driver import Call
from vibeserve_tui.agents.cli.signals import Asked, Began, Ended, Failed, Named, Over, Spoke, Total, Turn, failure
from vibeserve_tui.agents.coding_cli import DRIVERS
from vibeserve_tui.agents.protocol import Tokens

GOLDEN = Path(__file__).parents[2] / "fakes_cli" / "golden"
CALL = Call(
    model="m", effort="high", system="You are.", workspace=Path("/ws"), writable=True, home=Path("/home/x"),
    tools_url="http://127.0.0.1:1/secret", base_url="http://127.0.0.1:2/v1", own_server=True, key="sk-0123456789",
    turns=7, usd=1.5,
)  # fmt: skip


def signals(cli: str, *events: object) -> list[object]:
    driver = DRIVERS[cli]()
    return [
        signal for event in events for signal in driver.read(event if isinstance(event, str) else json.dumps(event))
    ]


@pytest.mark.parametrize("cli", ALL)
def test_a_key_is_never_an_argument_or_a_file(cli: str) -> None:
    command = DRIVERS[cli]().command(CALL)
    assert CALL.key not in " ".join(command.argv)
    assert CALL.key not in "".join(command.files.values())
    assert [name for name, value in command.env.items() if CALL.key in value] != []


@pytest.mark.parametrize("cli", ALL)
def test_a_session_is_gone_on_with_by_its_id(cli: str) -> None:
    driver = DRIVERS[cli]()
    assert "s-9" not in " ".join(driver.command(CALL).argv)
    assert "s-9" in driver.command(replace(CALL, session="s-9")).argv


@pytest.mark.parametrize("cli", ALL)
def test_without_a_key_the_users_login_is_used(cli: str) -> None:
    command = DRIVERS[cli]().command(replace(CALL, key="", base_url=""))
    assert not any("KEY" in name for name in command.env)
    assert "--bare" not in command.argv


def test_claude_is_told_every_limit_and_asks_nobody() -> None:
    words = DRIVERS["claude"]().command(CALL).argv
    line = " ".join(words)
    assert "--permission-mode dontAsk --tools Bash,Read,Glob,Grep,Edit,Write" in line
    assert "--max-turns 7" in line
    assert "--max-budget-usd 1.5000" in line
    assert "mcp__vibeserve" in words[words.index("--allowedTools") + 1]


def test_a_reader_gets_no_tools_that_write() -> None:
    reader = replace(CALL, writable=False)
    assert "Write" not in " ".join(DRIVERS["claude"]().command(reader).argv)
    assert (
        "write_file"
        in json.loads(DRIVERS["gemini"]().command(reader).files[".gemini/settings.json"])["tools"]["exclude"]
    )
    settings = json.loads(DRIVERS["opencode"]().command(reader).env["OPENCODE_CONFIG_CONTENT"])
    assert settings["permission"]["edit"] == "deny"


def test_codex_takes_its_settings_as_toml_values() -> None:
    words = DRIVERS["codex"]().command(CALL).argv
    settings = tomllib.loads("\n".join(words[i + 1] for i, word in enumerate(words) if word == "-c"))
    assert settings["mcp_servers"]["vibeserve"]["required"] is True
    provider = settings["model_providers"][settings["model_provider"]]
    assert provider["base_url"] == CALL.base_url
    assert provider["env_key"] in DRIVERS["codex"]().command(CALL).env
    assert words[-1] == "-"


def test_opencode_is_left_nothing_to_ask() -> None:
    settings = json.loads(DRIVERS["opencode"]().command(CALL).env["OPENCODE_CONFIG_CONTENT"])
    assert set(settings["permission"].values()) == {"allow", "deny"}
    assert settings["provider"]["vibeserve"]["options"]["baseURL"] == CALL.base_url


def test_opencode_keeps_the_models_own_provider_where_no_server_is_named() -> None:
    command = DRIVERS["opencode"]().command(replace(CALL, model="anthropic/claude", own_server=False))
    settings = json.loads(command.env["OPENCODE_CONFIG_CONTENT"])
    assert command.argv[command.argv.index("-m") + 1] == "anthropic/claude"
    assert list(settings["provider"]) == ["anthropic"]
    assert settings["provider"]["anthropic"]["options"]["baseURL"] == CALL.base_url


@pytest.mark.parametrize("cli", ALL)
def test_the_usual_server_of_each_cli_is_known(cli: str) -> None:
    assert DRIVERS[cli]().endpoint("anthropic/claude").startswith("https://")


def test_each_cli_counts_tokens_in_its_own_way() -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 3, "output_tokens": 7}
    assert signals("claude", {"type": "stream_event", "event": {"type": "message_delta", "usage": usage}}) == [
        Turn(Tokens(input=5, cache_read=90, cache_write=3, output=7))
    ]
    placeholder = {"type": "assistant", "message": {"role": "assistant", "content": [], "usage": {"output_tokens": 1}}}
    assert signals("claude", placeholder) == []
    per_model = {"inputTokens": 5, "outputTokens": 7, "cacheReadInputTokens": 90, "cacheCreationInputTokens": 3}
    end = {"type": "result", "subtype": "success", "is_error": False, "modelUsage": {"a": per_model, "b": per_model}}
    assert signals("claude", end)[0] == Total(Tokens(input=10, cache_read=180, cache_write=6, output=14))

    usage = {"input_tokens": 95, "cached_input_tokens": 90, "output_tokens": 7, "reasoning_output_tokens": 4}
    assert signals("codex", {"type": "turn.completed", "usage": usage})[0] == Total(
        Tokens(input=5, cache_read=90, output=7, reasoning=4), whole_session=True
    )

    stats = {"total_tokens": 106, "input_tokens": 95, "cached": 90, "input": 5, "output_tokens": 7}
    assert signals("gemini", {"type": "result", "status": "success", "stats": stats})[0] == Total(
        Tokens(input=5, cache_read=90, output=11, reasoning=4)
    )

    tokens = {"input": 5, "output": 7, "reasoning": 4, "cache": {"read": 90, "write": 3}}
    event = {"type": "step_finish", "sessionID": "s", "part": {"type": "step-finish", "tokens": tokens}}
    assert signals("opencode", event)[1] == Turn(Tokens(input=5, cache_read=90, cache_write=3, output=11, reasoning=4))


def test_a_claude_result_called_success_may_be_a_failure() -> None:
    end = {"type": "result", "subtype": "success", "is_error": True, "result": "API Error: 529 overloaded_error"}
    assert signals("claude", end) == [Failed("rate_limited", "API Error: 529 overloaded_error"), Over()]
    end = {"type": "result", "subtype": "error_max_turns", "is_error": True}
    assert signals("claude", end)[0] == Failed("turns", "error_max_turns")
    end = {"type": "result", "subtype": "error_max_budget_usd", "is_error": True, "errors": ["Reached maximum budget"]}
    assert signals("claude", end)[0] == Failed("budget", "Reached maximum budget")


@pytest.mark.parametrize("cli", ALL)
@pytest.mark.parametrize(
    "line", ["", "null", "[]", "{", '{"type": 3}', '{"type":"new","message":"x"}', "\x00", "9" * 9999]
)
def test_a_line_that_is_no_event_means_nothing(cli: str, line: str) -> None:
    assert signals(cli, line) == []


@pytest.mark.parametrize("cli", ALL)
def test_a_recorded_round_reads_as_what_happened(cli: str) -> None:
    heard = signals(cli, *(GOLDEN / f"{cli}.jsonl").read_text("utf-8").splitlines())
    assert any(isinstance(signal, Named) and signal.session for signal in heard)
    assert any(isinstance(signal, Spoke) and signal.text for signal in heard)
    tools = {signal.name for signal in heard if isinstance(signal, Began | Ended) and signal.name}
    assert "submit" in tools
    began = {signal.id for signal in heard if isinstance(signal, Began)}
    ended = {signal.id for signal in heard if isinstance(signal, Ended)}
    assert began <= ended
    spent = [signal.tokens for signal in heard if isinstance(signal, Turn | Total)]
    assert spent
    assert all(tokens.total > 0 for tokens in spent)
    assert not any(isinstance(signal, Failed) for signal in heard)


def test_reasons_are_sorted_by_what_helps() -> None:
    assert failure("stream error: 429 Too Many Requests").status == "rate_limited"
    assert failure("Not logged in · Please run /login").halts
    assert failure("insufficient_quota: check your plan").halts
    assert failure("the model's refusal: cyber").status == "refused"
    assert failure("something broke") == Failed("error", "something broke")


def test_opencode_reports_a_step_before_it_pays_for_it() -> None:
    assert signals("opencode", {"type": "step_start", "sessionID": "s", "part": {}}) == [Named("s"), Asked()]
