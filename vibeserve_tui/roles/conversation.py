"""One question to an agent, journaled as it goes: what it said, which tools it used, how it ended."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel

from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import AgentRequest, Result, Said, Used, Voice
from vibeserve_tui.errors import AgentError
from vibeserve_tui.state.run import Run

MAX_OUTPUT = 8000
"""Characters of a tool's output that go into the journal; the rest is a blob."""

Reply = TypeVar("Reply", bound=BaseModel)


async def ask(run: Run, voice: Voice, request: AgentRequest, reply: type[Reply], *, task: str = "") -> Reply:
    """The agent's answer as a `reply`. Raises AgentError for every end that is not an answer."""
    role = request.role.value
    run.emit(ev.AgentStarted(role=role, provider=voice.provider, task=task))
    result = Result("error", reason="the agent ended without a result")
    async for event in voice.agent.run(request):
        match event:
            case Said(text=text):
                run.emit(ev.AgentSaid(role=role, text=text[:MAX_OUTPUT]))
            case Used(call=call):
                run.emit(ev.ToolUsed(role=role, call=_capped(run, call)))
            case Result():
                result = event
    run.emit(
        ev.AgentFinished(role=role, status=result.status, reason=result.reason, tokens=result.tokens, usd=result.usd)
    )
    if result.status != "ok" or not isinstance(result.value, reply):
        raise AgentError(result.reason or f"the {role} ended with status {result.status}")
    return result.value


def _capped(run: Run, call: ev.ToolCall) -> ev.ToolCall:
    if len(call.output) <= MAX_OUTPUT:
        return call
    blob = run.dir.put_blob(call.output.encode())
    half = MAX_OUTPUT // 2
    shown = (
        f"{call.output[:half]}\n… {len(call.output) - MAX_OUTPUT} characters more in blob {blob}\n{call.output[-half:]}"
    )
    return call.model_copy(update={"output": shown})
