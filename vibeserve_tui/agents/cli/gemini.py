"""Gemini CLI: `gemini -o stream-json`, the prompt on its stdin.

It reports usage once, at the end, for all its models together. Thoughts are in the total but not in the output.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from pydantic import Field, JsonValue

from vibeserve_tui.agents.cli import signals
from vibeserve_tui.agents.cli.driver import SERVER, SILENCE_S, Call, Command, Login
from vibeserve_tui.agents.cli.output import Lenient, parsed, plain
from vibeserve_tui.agents.protocol import Tokens

WRITING = ("write_file", "replace")
ASIDE = (
    "web_fetch", "google_web_search", "invoke_agent", "enter_plan_mode", "activate_skill", "update_topic", "save_memory",
    "ask_user",
)  # fmt: skip
"""Off for every role. (A list of what is on would switch off tools of MCP servers.)"""
ENDPOINT = "https://generativelanguage.googleapis.com"
HOSTS = ("generativelanguage.googleapis.com", "cloudcode-pa.googleapis.com", "oauth2.googleapis.com")


class Gemini:
    name = "gemini"
    package = "@google/gemini-cli"
    key_variable = "GEMINI_API_KEY"
    seller = "google"
    login: tuple[Login, ...] = (
        Login(".gemini/oauth_creds.json", ".gemini/oauth_creds.json"),
        Login(".gemini/google_accounts.json", ".gemini/google_accounts.json"),
    )
    silence_s = SILENCE_S

    def endpoint(self, model: str) -> str:  # noqa: ARG002 - one for all
        return ENDPOINT

    def hosts(self, model: str) -> tuple[str, ...]:  # noqa: ARG002 - one for all
        return HOSTS

    def command(self, call: Call) -> Command:
        argv = ["-o", "stream-json", "--approval-mode", "yolo", "--skip-trust"]
        argv += ["-m", call.model] if call.model else []
        argv += ["--resume", call.session] if call.session else []
        env = {
            "GEMINI_CLI_HOME": str(call.home),
            "GEMINI_SYSTEM_MD": str(call.home / "system.md"),
            "GEMINI_CLI_NO_RELAUNCH": "1",
        }
        env |= {"GEMINI_API_KEY": call.key} if call.key else {}
        env |= {"GOOGLE_GEMINI_BASE_URL": call.base_url} if call.base_url else {}
        files = {"system.md": call.system, ".gemini/settings.json": json.dumps(_settings(call))}
        return Command(tuple(argv), env, files)

    def read(self, line: str) -> Iterable[signals.Signal]:
        event = parsed(_Event, line)
        if event is None:
            return
        match event.type:
            case "init":
                yield signals.Named(event.session_id)
            case "message" if event.role == "assistant" and event.content:
                yield signals.Spoke(event.content, whole=not event.delta)
            case "tool_use":
                yield signals.Began(
                    event.tool_id, plain(event.tool_name), json.dumps(event.parameters, ensure_ascii=False)
                )
            case "tool_result":
                output = event.output or (event.error.message if event.error else "")
                yield signals.Ended(event.tool_id, event.status == "success", output)
            case "result":
                yield from _result(event)


def _settings(call: Call) -> dict[str, JsonValue]:
    """Everything that would ask, update, report home or read instructions from the workspace is off."""
    off = [*ASIDE, *(() if call.writable else WRITING)]
    return {
        "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
        "security": {
            "auth": {"selectedType": "gemini-api-key" if call.key else "oauth-personal"},
            "environmentVariableRedaction": {"enabled": True},
        },
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "model": {"maxSessionTurns": call.turns},
        "tools": {"exclude": list[JsonValue](off)},
        "context": {"fileName": "no-such-file.md"},
        "mcpServers": {SERVER: {"httpUrl": call.tools_url, "trust": True, "timeout": 900_000}},
    }


def _result(event: _Event) -> Iterator[signals.Signal]:
    if event.stats is not None:
        yield signals.Total(event.stats.tokens)
    if event.status != "success":
        reason = event.error.message if event.error else "the program gave no reason"
        turns = event.error is not None and "Turn" in event.error.type
        yield signals.Failed("turns", reason) if turns else signals.failure(reason)
    yield signals.Over()


class _Error(Lenient):
    type: str = ""
    message: str = ""


class _Stats(Lenient):
    total_tokens: int = 0
    input_tokens: int = 0
    """All of them."""
    output_tokens: int = 0
    """Without thoughts."""
    cached: int = 0

    @property
    def tokens(self) -> Tokens:
        thoughts = max(0, self.total_tokens - self.input_tokens - self.output_tokens)
        return Tokens(
            input=max(0, self.input_tokens - self.cached),
            cache_read=self.cached,
            output=self.output_tokens + thoughts,
            reasoning=thoughts,
        )


class _Event(Lenient):
    type: str
    session_id: str = ""
    role: str = ""
    content: str = ""
    delta: bool = False
    tool_name: str = ""
    tool_id: str = ""
    parameters: JsonValue = None
    status: str = ""
    output: str = ""
    error: _Error | None = None
    stats: _Stats | None = Field(default=None)
