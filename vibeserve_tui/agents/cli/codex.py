"""Codex: `codex exec --json`.

Usage is counted over the whole thread and there is none per turn. Its own sandbox is switched off, because the box
that it runs in forbids the calls which that needs, and confines it better.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from pydantic import Field, JsonValue

from vibeserve_tui.agents.cli import signals
from vibeserve_tui.agents.cli.driver import KEY_VARIABLE, SERVER, SILENCE_S, Call, Command, Login
from vibeserve_tui.agents.cli.output import Lenient, as_text, parsed
from vibeserve_tui.agents.protocol import Tokens

ENDPOINT = "https://api.openai.com/v1"
HOSTS = ("api.openai.com", "chatgpt.com", "auth.openai.com")


class Codex:
    name = "codex"
    package = "@openai/codex"
    key_variable = "OPENAI_API_KEY"
    seller = "openai"
    login: tuple[Login, ...] = (Login(".codex/auth.json", "auth.json"),)
    silence_s = SILENCE_S

    def endpoint(self, model: str) -> str:  # noqa: ARG002 - one for all
        return ENDPOINT

    def hosts(self, model: str) -> tuple[str, ...]:  # noqa: ARG002 - one for all
        return HOSTS

    def command(self, call: Call) -> Command:
        settings: dict[str, JsonValue] = {
            "model_instructions_file": str(call.home / "system.md"),
            "project_doc_max_bytes": 0,
            "check_for_update_on_startup": False,
            "shell_environment_policy.inherit": "core",
            f"mcp_servers.{SERVER}.url": call.tools_url,
            # Otherwise the first turn may begin before the tools are there, and every call of one would be asked about.
            f"mcp_servers.{SERVER}.required": True,
            f"mcp_servers.{SERVER}.default_tools_approval_mode": "approve",
            f"mcp_servers.{SERVER}.tool_timeout_sec": 900,
        }
        if call.effort:
            settings["model_reasoning_effort"] = call.effort
        if call.key or call.base_url:
            settings |= _provider(call)
        argv = ["exec", *(["resume", call.session] if call.session else []), "--json", "--skip-git-repo-check"]
        argv += ["--dangerously-bypass-approvals-and-sandbox"]
        argv += ["-m", call.model] if call.model else []
        for name, value in settings.items():
            argv += ["-c", f"{name}={json.dumps(value)}"]  # a JSON scalar is a TOML one
        env = {"CODEX_HOME": str(call.home), **({KEY_VARIABLE: call.key} if call.key else {})}
        return Command((*argv, "-"), env, {"system.md": call.system})

    def read(self, line: str) -> Iterable[signals.Signal]:
        event = parsed(_Event, line)
        if event is None:
            return
        match event.type:
            case "thread.started":
                yield signals.Named(event.thread_id)
            case "item.started" if _is_tool(event.item):
                yield signals.Began(event.item.id, event.item.tool or event.item.type, _arguments(event.item))
            case "item.completed":
                yield from _item(event.item)
            case "turn.completed":
                yield signals.Total(event.usage.tokens, whole_session=True)
                yield signals.Over()
            case "turn.failed":
                yield signals.failure(event.error.message)
                yield signals.Over()


def _provider(call: Call) -> Mapping[str, JsonValue]:
    """An endpoint of our own: the built-in one cannot be told which variable holds the key."""
    prefix = f"model_providers.{SERVER}"
    settings: dict[str, JsonValue] = {
        "model_provider": SERVER,
        f"{prefix}.name": SERVER,
        f"{prefix}.base_url": call.base_url or ENDPOINT,
        f"{prefix}.wire_api": "responses",
    }
    return settings | ({f"{prefix}.env_key": KEY_VARIABLE} if call.key else {})


def _item(item: _Item) -> Iterator[signals.Signal]:
    if item.type == "agent_message":
        yield signals.Spoke(item.text)
    elif _is_tool(item):
        ok = item.status == "completed" and not item.exit_code
        yield signals.Ended(item.id, ok, _output(item), item.tool or item.type, _arguments(item))


def _is_tool(item: _Item) -> bool:
    return item.type in ("command_execution", "file_change", "mcp_tool_call", "web_search")


def _arguments(item: _Item) -> str:
    match item.type:
        case "command_execution":
            return item.command
        case "file_change":
            return ", ".join(f"{change.kind} {change.path}" for change in item.changes)
        case "web_search":
            return item.query
        case _:
            return json.dumps(item.arguments, ensure_ascii=False)


def _output(item: _Item) -> str:
    if item.error is not None:
        return item.error.message
    return item.aggregated_output or (as_text(item.result.content) if item.result else "")


class _Usage(Lenient):
    input_tokens: int = 0
    """All of them."""
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0

    @property
    def tokens(self) -> Tokens:
        return Tokens(
            input=max(0, self.input_tokens - self.cached_input_tokens),
            cache_read=self.cached_input_tokens,
            output=self.output_tokens,
            reasoning=self.reasoning_output_tokens,
        )


class _Change(Lenient):
    path: str = ""
    kind: str = ""


class _Error(Lenient):
    message: str = ""


class _Content(Lenient):
    content: JsonValue = None


class _Item(Lenient):
    id: str = ""
    type: str = ""
    text: str = ""
    status: str = ""
    command: str = ""
    aggregated_output: str = ""
    exit_code: int | None = None
    changes: tuple[_Change, ...] = ()
    tool: str = ""
    arguments: JsonValue = None
    result: _Content | None = None
    error: _Error | None = None
    query: str = ""


class _Event(Lenient):
    type: str
    thread_id: str = ""
    item: _Item = Field(default_factory=_Item)
    usage: _Usage = Field(default_factory=_Usage)
    error: _Error = Field(default_factory=_Error)
