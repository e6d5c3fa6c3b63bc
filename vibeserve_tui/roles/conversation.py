"""One question to an agent, journaled as it goes: what it said, which tools it used, what it took, how it ended.

Every conversation in words is also recorded whole, so that it can be read and played again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TypeVar

from pydantic import BaseModel

from vibeserve_tui import events as ev
from vibeserve_tui.agents.loop.transcript import Recorder
from vibeserve_tui.agents.protocol import AgentEvent, AgentRequest, Result, Said, Used, Voice, Waiting
from vibeserve_tui.errors import AgentError, AgentsHalted
from vibeserve_tui.roles.purse import RunPurse, round_of
from vibeserve_tui.state.run import Run

MAX_OUTPUT = 8000
"""Characters of a tool's output that go into the journal; the rest is a blob."""
MAX_ARGUMENTS = 2000
"""Of a tool's arguments, which may hold whole files; the transcript has all of them."""

Reply = TypeVar("Reply", bound=BaseModel)


async def ask(run: Run, voice: Voice, request: AgentRequest, reply: type[Reply], *, task: str = "") -> Reply:
    """The agent's answer as a `reply`.

    Raises AgentError for every end that is not an answer, and AgentsHalted when no other call could do better either.
    """
    role = request.role.value
    purse = RunPurse(run, role, voice.settings)
    run.emit(ev.AgentStarted(role=role, provider=voice.provider, round=round_of(run.state), task=task))
    result = await _listen(run, voice, _equipped(run, voice, request, purse), purse)
    if _halts(result, purse):
        fix = f"vibeserve resume {run.dir.name}{' --max-usd USD' if purse.run_is_spent else ''}"
        raise AgentsHalted(f"the {role} cannot go on: {result.reason}", fix=fix)
    if result.status != "ok" or not isinstance(result.value, reply):
        raise AgentError(result.reason or f"the {role} ended with status {result.status}")
    return result.value


def _halts(result: Result, purse: RunPurse) -> bool:
    return result.halts or (result.status == "budget" and purse.run_is_spent)


def _equipped(run: Run, voice: Voice, request: AgentRequest, purse: RunPurse) -> AgentRequest:
    asked = voice.settings
    return replace(
        request,
        limits=replace(request.limits, usd=asked.usd, turns=asked.turns, wall_s=asked.wall_s),
        purse=purse,
        launcher=request.launcher or voice.launcher,
        number=run.state.recorded_calls.get(request.role.value, 0),
    )


async def _listen(run: Run, voice: Voice, request: AgentRequest, purse: RunPurse) -> Result:
    """The agent's last event, with all before it in the journal."""
    role, brief = request.role.value, request.brief
    recorder = None
    if brief is not None:
        recorder = await asyncio.to_thread(Recorder, request, brief, voice.provider, voice.settings.model)
    result = Result("error", reason="the agent ended without a result")
    events = voice.agent.run(request)
    try:
        async for event in events:
            if isinstance(event, Result):
                result = event
            else:
                _journal(run, role, event)
                if recorder:
                    recorder.hear(event)
    except asyncio.CancelledError:
        run.emit(ev.AgentFinished(role=role, status="cancelled"))
        raise
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
    transcript = ""
    if recorder and not _halts(result, purse):  # such a call is made again, and only that one is to be replayed
        await asyncio.to_thread(recorder.hear, result)
        transcript = await asyncio.to_thread(run.dir.put_blob, recorder.data())
    run.emit(
        ev.AgentFinished(
            role=role,
            status=result.status,
            reason=result.reason,
            tokens=result.tokens,
            usd=result.usd,
            transcript=transcript,
        )
    )
    return result


def _journal(run: Run, role: str, event: AgentEvent) -> None:
    match event:
        case Said(text=text):
            run.emit(ev.AgentSaid(role=role, text=text[:MAX_OUTPUT]))
        case Used(call=call):
            run.emit(ev.ToolUsed(role=role, call=_capped(run, call)))
        case Waiting(why=why, wait_s=wait_s):
            run.emit(ev.AgentWaiting(role=role, why=why, wait_s=round(wait_s, 3)))
        case _:
            pass


def _capped(run: Run, call: ev.ToolCall) -> ev.ToolCall:
    if len(call.arguments) > MAX_ARGUMENTS:
        call = call.model_copy(update={"arguments": f"{call.arguments[:MAX_ARGUMENTS]}…"})
    if len(call.output) <= MAX_OUTPUT:
        return call
    blob = run.dir.put_blob(call.output.encode("utf-8", "replace"))
    half = MAX_OUTPUT // 2
    shown = (
        f"{call.output[:half]}\n… {len(call.output) - MAX_OUTPUT} characters more in blob {blob}\n{call.output[-half:]}"
    )
    return call.model_copy(update={"output": shown})
