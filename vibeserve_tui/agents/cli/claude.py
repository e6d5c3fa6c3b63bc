"""Claude Code: `claude -p` with streamed JSON.

Its per-message usage is a placeholder; the stream's `message_delta` counts a turn and `modelUsage` the session. A
`result` may be called "success" and still be an error. With a key it runs bare: no hooks, plugins or project memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from pydantic import Field, JsonValue

from vibeserve_tui.agents.cli import signals
from vibeserve_tui.agents.cli.driver import SERVER, SILENCE_S, Call, Command, Login
from vibeserve_tui.agents.cli.output import Lenient, as_text, parsed, plain
from vibeserve_tui.agents.protocol import Status, Tokens

READING = ("Bash", "Read", "Glob", "Grep")
WRITING = ("Edit", "Write")
_ENDS: Mapping[str, Status] = {"error_max_turns": "turns", "error_max_budget_usd": "budget"}
ENDPOINT = "https://api.anthropic.com"
HOSTS = ("api.anthropic.com", "platform.claude.com")


class Claude:
    name = "claude"
    package = "@anthropic-ai/claude-code"
    key_variable = "ANTHROPIC_API_KEY"
    seller = "anthropic"
    login: tuple[Login, ...] = (Login(".claude/.credentials.json", ".credentials.json"),)
    silence_s = SILENCE_S

    def endpoint(self, model: str) -> str:  # noqa: ARG002 - one for all
        return ENDPOINT

    def hosts(self, model: str) -> tuple[str, ...]:  # noqa: ARG002 - one for all
        return HOSTS

    def command(self, call: Call) -> Command:
        tools = READING + (WRITING if call.writable else ())
        servers = {"mcpServers": {SERVER: {"type": "http", "url": call.tools_url}}}
        argv = ["-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"]
        argv += ["--bare"] if call.key else ["--setting-sources", ""]
        argv += ["--system-prompt-file", str(call.home / "system.md"), "--max-turns", str(call.turns)]
        argv += ["--permission-mode", "dontAsk", "--tools", ",".join(tools)]
        argv += ["--allowedTools", ",".join((*tools, f"mcp__{SERVER}"))]
        argv += ["--strict-mcp-config", "--mcp-config", str(call.home / "tools.json")]
        argv += ["--model", call.model] if call.model else []
        argv += ["--effort", call.effort] if call.effort else []
        argv += ["--max-budget-usd", f"{call.usd:.4f}"] if call.usd is not None else []
        argv += ["--resume", call.session] if call.session else []
        env = {
            "CLAUDE_CONFIG_DIR": str(call.home),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "IS_SANDBOX": "1",
        }
        env |= {"ANTHROPIC_API_KEY": call.key} if call.key else {}
        env |= {"ANTHROPIC_BASE_URL": call.base_url} if call.base_url else {}
        return Command(tuple(argv), env, {"system.md": call.system, "tools.json": json.dumps(servers)})

    def read(self, line: str) -> Iterable[signals.Signal]:
        event = parsed(_Event, line)
        if event is None:
            return
        match event.type:
            case "system" if event.subtype == "init" and event.session_id:
                yield signals.Named(event.session_id)
            case "stream_event" if event.event.type == "message_start":
                yield signals.Asked()
            case "stream_event" if event.event.type == "message_delta":
                yield signals.Turn(event.event.usage.tokens)
            case "assistant" | "user":
                yield from _blocks(event.message)
            case "result":
                yield from _result(event)


def _blocks(message: _Message) -> Iterator[signals.Signal]:
    for block in message.content if isinstance(message.content, tuple) else ():
        match block.type:
            case "text" if message.role == "assistant" and block.text:
                yield signals.Spoke(block.text)
            case "tool_use":
                yield signals.Began(block.id, plain(block.name), json.dumps(block.input, ensure_ascii=False))
            case "tool_result":
                yield signals.Ended(block.tool_use_id, not block.is_error, as_text(block.content))


def _result(event: _Event) -> Iterator[signals.Signal]:
    if event.modelUsage:
        yield signals.Total(sum((usage.tokens for usage in event.modelUsage.values()), Tokens()))
    if event.is_error or event.subtype != "success":
        reason = event.result or "; ".join(event.errors) or event.subtype
        status = _ENDS.get(event.subtype)
        yield signals.failure(reason) if status is None else signals.Failed(status, reason)
    yield signals.Over()


class _Usage(Lenient):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0

    @property
    def tokens(self) -> Tokens:
        return Tokens(
            input=self.input_tokens,
            cache_read=self.cache_read_input_tokens,
            cache_write=self.cache_creation_input_tokens,
            output=self.output_tokens,
        )


class _ModelUsage(Lenient):
    inputTokens: int = 0  # noqa: N815 - as the program writes them
    outputTokens: int = 0  # noqa: N815
    cacheReadInputTokens: int = 0  # noqa: N815
    cacheCreationInputTokens: int = 0  # noqa: N815

    @property
    def tokens(self) -> Tokens:
        return Tokens(
            input=self.inputTokens,
            cache_read=self.cacheReadInputTokens,
            cache_write=self.cacheCreationInputTokens,
            output=self.outputTokens,
        )


class _Block(Lenient):
    type: str = ""
    text: str = ""
    id: str = ""
    name: str = ""
    input: JsonValue = None
    tool_use_id: str = ""
    content: JsonValue = None
    is_error: bool = False


class _Message(Lenient):
    role: str = ""
    content: tuple[_Block, ...] | str = ()


class _StreamEvent(Lenient):
    type: str = ""
    usage: _Usage = Field(default_factory=_Usage)


class _Event(Lenient):
    type: str
    subtype: str = ""
    session_id: str = ""
    message: _Message = Field(default_factory=_Message)
    event: _StreamEvent = Field(default_factory=_StreamEvent)
    is_error: bool = False
    result: str = ""
    errors: tuple[str, ...] = ()
    modelUsage: dict[str, _ModelUsage] = Field(default_factory=dict)  # noqa: N815 - as the program writes it
