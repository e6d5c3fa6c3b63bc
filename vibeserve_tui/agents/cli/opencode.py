"""opencode: `opencode run --format json`, configured by one variable.

A tool is reported only once it is over, so long silence is normal while one runs. A permission that would be asked for
ends the whole run with exit code 0: every one is allowed or denied beforehand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from pydantic import Field, JsonValue

from vibeserve_tui.agents.cli import claude, codex, signals
from vibeserve_tui.agents.cli.driver import KEY_VARIABLE, SERVER, Call, Command, Login
from vibeserve_tui.agents.cli.output import Lenient, parsed, plain
from vibeserve_tui.agents.protocol import Tokens

LONGEST_TOOL_S = 660.0
ENDPOINTS = {"anthropic": "https://api.anthropic.com/v1", "openai": "https://api.openai.com/v1"}
HOSTS = {"anthropic": claude.HOSTS, "openai": codex.HOSTS}
"""Of the providers that a model's name may begin with."""


class OpenCode:
    name = "opencode"
    package = "opencode-ai"
    key_variable = ""
    """It depends on the model's provider."""
    seller = ""
    login: tuple[Login, ...] = (Login(".local/share/opencode/auth.json", "data/opencode/auth.json"),)
    silence_s = LONGEST_TOOL_S

    def endpoint(self, model: str) -> str:
        return ENDPOINTS.get(model.partition("/")[0], "")

    def hosts(self, model: str) -> tuple[str, ...]:
        every = sum(HOSTS.values(), ())
        return HOSTS.get(model.partition("/")[0], ()) if model else every

    def command(self, call: Call) -> Command:
        argv = ["run", "--format", "json", "--dir", str(call.workspace), "--title", SERVER, "--agent", SERVER]
        argv += ["-m", _model(call)] if call.model else []
        argv += ["--variant", call.effort] if call.effort else []
        argv += ["--session", call.session] if call.session else []
        env = {
            "OPENCODE_CONFIG_CONTENT": json.dumps(_settings(call)),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1" if call.own_server else "",
            **{f"XDG_{kind.upper()}_HOME": str(call.home / kind) for kind in ("config", "data", "state", "cache")},
            KEY_VARIABLE: call.key,
        }
        return Command(tuple(argv), {name: value for name, value in env.items() if value})

    def read(self, line: str) -> Iterable[signals.Signal]:
        event = parsed(_Event, line)
        if event is None:
            return
        if event.sessionID:
            yield signals.Named(event.sessionID)
        match event.type:
            case "step_start":
                yield signals.Asked()
            case "text":
                yield signals.Spoke(event.part.text)
            case "tool_use":
                state = event.part.state
                arguments = json.dumps(state.input, ensure_ascii=False)
                ok = state.status == "completed"
                yield signals.Ended(event.part.id, ok, state.output or state.error, plain(event.part.tool), arguments)
            case "step_finish":
                yield signals.Turn(event.part.tokens.tokens)
            case "error":
                yield signals.failure(event.error.data.message or event.error.name)
            case "done":
                yield signals.Over()


def _model(call: Call) -> str:
    return f"{SERVER}/{call.model}" if call.own_server else call.model


def _settings(call: Call) -> dict[str, JsonValue]:
    write = "allow" if call.writable else "deny"
    settings: dict[str, JsonValue] = {
        "autoupdate": False,
        "share": "disabled",
        "snapshot": False,
        "permission": {
            "*": "allow", "edit": write, "bash": "allow", "webfetch": "deny", "websearch": "deny", "question": "deny",
            "external_directory": "allow", "doom_loop": "deny",
            "skill": "deny",  # ours has that name as well
        },
        "mcp": {SERVER: {"type": "remote", "url": call.tools_url, "oauth": False, "enabled": True, "timeout": 900_000}},
        "agent": {SERVER: {"mode": "primary", "prompt": call.system, "steps": call.turns}},
    }  # fmt: skip
    if call.base_url:
        options: dict[str, JsonValue] = {"baseURL": call.base_url}
        options |= {"apiKey": f"{{env:{KEY_VARIABLE}}}"} if call.key else {}
        settings["provider"] = {call.model.partition("/")[0]: {"options": options}}
        if call.own_server:
            models: dict[str, JsonValue] = {call.model: {}}
            settings["provider"] = {SERVER: {"npm": "@ai-sdk/openai-compatible", "options": options, "models": models}}
            settings["small_model"] = _model(call)
    return settings


class _Cache(Lenient):
    read: int = 0
    write: int = 0


class _Tokens(Lenient):
    input: int = 0
    output: int = 0
    """Without reasoning."""
    reasoning: int = 0
    cache: _Cache = Field(default_factory=_Cache)

    @property
    def tokens(self) -> Tokens:
        return Tokens(
            input=self.input,
            cache_read=self.cache.read,
            cache_write=self.cache.write,
            output=self.output + self.reasoning,
            reasoning=self.reasoning,
        )


class _State(Lenient):
    status: str = ""
    input: JsonValue = None
    output: str = ""
    error: str = ""


class _Part(Lenient):
    id: str = ""
    text: str = ""
    tool: str = ""
    state: _State = Field(default_factory=_State)
    tokens: _Tokens = Field(default_factory=_Tokens)


class _ErrorData(Lenient):
    message: str = ""


class _Error(Lenient):
    name: str = ""
    data: _ErrorData = Field(default_factory=_ErrorData)


class _Event(Lenient):
    type: str
    sessionID: str = ""  # noqa: N815 - as the program writes it
    part: _Part = Field(default_factory=_Part)
    error: _Error = Field(default_factory=_Error)
