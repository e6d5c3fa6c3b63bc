"""Questions about a run, answered by a model from its records with tools that only read.

Nothing here writes into the run. An answer names the rounds that it rests on, and only such as exist.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from vibeserve_tui import events as ev
from vibeserve_tui.agents.loop.prices import cost
from vibeserve_tui.agents.protocol import (
    SUBMIT,
    AgentRequest,
    Brief,
    Limits,
    QuestionFacts,
    Result,
    Role,
    Tokens,
    Used,
    Voice,
    Waiting,
)
from vibeserve_tui.agents.replies import Answer, checked
from vibeserve_tui.agents.toolbox.kit import Kit, tools_for
from vibeserve_tui.agents.toolbox.outputs import Outputs
from vibeserve_tui.agents.toolbox.places import Places
from vibeserve_tui.agents.toolbox.skills import Shelf
from vibeserve_tui.errors import AgentError, BudgetSpent
from vibeserve_tui.roles.evidence import evidence_of
from vibeserve_tui.roles.prompting import render, system_prompt
from vibeserve_tui.roles.standing import board_in_words, rounds_in_words, standing
from vibeserve_tui.run_state import RunState, Spend
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.state.workspace import Store

LIMITS = Limits(usd=0.5, turns=20, wall_s=300.0, output_tokens=4000, retries=3)
"""Somebody waits at a terminal: a server that is gone is given up after seconds."""

Tell = Callable[[Used | Waiting], None]


@dataclass(frozen=True, slots=True)
class Answered:
    text: str
    rounds: tuple[int, ...]
    spent: Spend


@dataclass(slots=True)
class PocketMoney:
    """A purse of one question: it belongs to nobody's run, so it is not journaled."""

    settings: ev.VoiceSettings
    usd: float | None
    spent: Spend = field(default_factory=Spend)

    def allow(self, model: str, estimate: Tokens) -> str:
        more = self.spent.plus(estimate.total, cost(self.settings.prices, model, estimate))
        if self.usd is not None and more.usd > self.usd:
            raise BudgetSpent(f"the question's budget of ${self.usd:.2f} is spent")
        return "question"

    def paid(self, turn: str, model: str, tokens: Tokens, *, exact: bool = True) -> float | None:  # noqa: ARG002
        usd = cost(self.settings.prices, model, tokens)
        self.spent = self.spent.plus(tokens.total, usd)
        return usd


async def answer(run: RunDir, state: RunState, voice: Voice, question: str, tell: Tell) -> Answered:
    """A model's answer; `tell` hears of each look it takes and each wait. Raises AgentError when there is none."""
    store = Store(run.store)
    purse = PocketMoney(voice.settings, LIMITS.usd)
    with TemporaryDirectory(prefix="vibeserve-ask-") as folder:
        workspace = Path(folder, "champion")
        await asyncio.to_thread(_champion, store, state, workspace)
        request = AgentRequest(
            Role.ANALYST,
            QuestionFacts(question),
            checked(Answer, lambda reply: _unknown_rounds(reply, state)),
            _brief(run, state, store, workspace, question),
            LIMITS,
            purse,
        )
        result = await _hear(voice, request, tell)
    if result.status != "ok" or not isinstance(result.value, Answer):
        who = voice.settings.name or voice.provider
        raise AgentError(result.reason or f"the model ended with status {result.status}", where=who)
    said = evidence_of(state).filled(result.value.text)
    return Answered(said, result.value.rounds, purse.spent)


def _champion(store: Store, state: RunState, workspace: Path) -> None:
    if state.champion_commit:
        store.checkout(state.champion_commit, workspace)
    else:
        workspace.mkdir()


async def _hear(voice: Voice, request: AgentRequest, tell: Tell) -> Result:
    result = Result("error", reason="the model ended without an answer")
    events = voice.agent.run(request)
    try:
        async for event in events:
            match event:
                case Result():
                    result = event
                case Waiting():
                    tell(event)
                case Used(call=call) if call.name != SUBMIT:
                    tell(event)
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
    return result


def _brief(run: RunDir, state: RunState, store: Store, workspace: Path, question: str) -> Brief:
    public = run.path / "public"
    places = Places(workspace, public if public.is_dir() else workspace, Outputs(_digest_only))
    words = render(
        "analyst",
        standing=standing(state, rounds_left=state.rounds_left, seconds_left=_left(state)),
        evidence=evidence_of(state),
        rounds=rounds_in_words(state),
        board=board_in_words(state),
        question=question,
    )
    return Brief(
        system=system_prompt(Role.ANALYST),
        stable=f"The run {state.run} works on the target {state.plan.target if state.plan else 'unknown'}.\n",
        volatile=words,
        tools=tools_for(Role.ANALYST, Kit(places, Shelf.of(()), state, store)),
        workspace=workspace,
        writable=False,
    )


def _left(state: RunState) -> float:
    return 60 * state.max_minutes - state.active_s


def _digest_only(data: bytes) -> str:
    """A name for a long output; the run's blobs belong to its engine."""
    return hashlib.sha256(data).hexdigest()


def _unknown_rounds(reply: Answer, state: RunState) -> list[str]:
    known = {*state.rounds, *([state.in_flight.number] if state.in_flight else [])}
    unknown = [str(number) for number in reply.rounds if number not in known]
    return [f"there is no round {', '.join(unknown)}"] if unknown else []
