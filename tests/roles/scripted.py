"""An agent in process that plays a script: the shortest provider there is, for tests of what stands around one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from pydantic import ValidationError

from tests.roles.players import Player
from vibeserve_tui.agents.protocol import AgentEvent, AgentRequest, Result, Tool, ToolError, Used, Voice
from vibeserve_tui.events import ToolCall, VoiceSettings

MOST_TURNS = 12
MOST_FAULTS = 2


@dataclass
class ScriptedAgent:
    player: Player
    requests: list[AgentRequest] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """Results of its tool calls, all of them."""

    async def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]:
        self.requests.append(request)
        assert request.brief is not None
        tools = {tool.name: tool for tool in request.brief.tools}
        prompt = f"{request.brief.stable}\n{request.brief.volatile}"
        results: list[str] = []
        faults = 0
        for _ in range(MOST_TURNS):
            calls, results = self.player(request.role.value, prompt, results), []
            for name, arguments in calls:
                if name == "submit":
                    try:
                        yield Result("ok", request.schema.model_validate(arguments))
                    except ValidationError as error:
                        faults += 1
                        results.append(str(error))
                    else:
                        return
                else:
                    call = await use(tools, name, arguments)
                    results.append(call.output)
                    yield Used(call)
            self.said += results
            if faults >= MOST_FAULTS:
                yield Result("bad_arguments", reason=results[-1])
                return
        yield Result("turns", reason="the turns are used up")


async def use(tools: dict[str, Tool], name: str, arguments: dict[str, object]) -> ToolCall:
    if name not in tools:
        return ToolCall(name=name, ok=False, output=f"there is no tool {name}")
    tool = tools[name]
    try:
        output, ok = await tool.call(tool.arguments.model_validate(arguments)), True
    except (ToolError, ValidationError) as error:
        output, ok = str(error), False
    return ToolCall(name=name, arguments=str(arguments), ok=ok, output=output)


def scripted(player: Player) -> Voice:
    return Voice(ScriptedAgent(player), "scripted", VoiceSettings(provider="scripted", model="script"))
