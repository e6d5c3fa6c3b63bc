"""One request to a language model, turn by turn, until it hands in an answer or cannot: the loop behind every API.

A turn counts whole or not at all: what broke off is tried again, and calls of a cut-off turn are never carried out. The
purse is asked before and told after each turn; nothing here prints, sleeps unseen, or believes a model's word.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from vibeserve_tui.agents.loop.calls import Toolbelt
from vibeserve_tui.agents.loop.connection import Patience
from vibeserve_tui.agents.loop.faults import Fault
from vibeserve_tui.agents.loop.room import FULL, KEPT_TOKENS, PLEASE_SUMMARISE, shortened, summarised
from vibeserve_tui.agents.loop.salvage import printed_calls, without_thoughts
from vibeserve_tui.agents.loop.turns import Answer, Answers, Asked, Entry, Prefix, Reply, Wire
from vibeserve_tui.agents.loop.usage import Gauge
from vibeserve_tui.agents.protocol import (
    AgentEvent,
    AgentRequest,
    Brief,
    Result,
    Said,
    Status,
    Tokens,
    Used,
    Waiting,
)
from vibeserve_tui.errors import BudgetSpent
from vibeserve_tui.events import ToolCall, VoiceSettings
from vibeserve_tui.inputs.keys import without_key

WORTH = 0.8
"""A summary has to promise at most this share of what there is."""
PLEASE_SUBMIT = (
    "Go on. When the task is done, hand in your answer by calling the tool `submit`; words alone do not count."
)
PLEASE_BE_SHORT = "Your reply was cut off at the output limit. Go on in smaller pieces, and hand in with `submit`."
NOT_EXECUTED = "not executed: your reply was cut off at the output limit; send it again in smaller pieces"


class _Ended(Exception):
    """Not an error: the conversation is over, from wherever that was found."""

    def __init__(self, status: Status, reason: str = "", *, halts: bool = False) -> None:
        super().__init__(reason)
        self.status: Status = status
        self.reason = reason
        self.halts = halts


class Conversation:
    """Made for one request and used once."""

    def __init__(  # noqa: PLR0913, PLR0917 - each is a part of its own
        self,
        wire: Wire,
        settings: VoiceSettings,
        request: AgentRequest,
        brief: Brief,
        patience: Patience,
        key: str,
    ) -> None:
        self._wire = wire
        self._request = request
        self._limits = request.limits
        self._patience = patience
        self._key = key
        self._models = iter((settings.model, *settings.fallback_models))
        self._model = next(self._models)
        self._context = settings.context
        self._belt = Toolbelt(brief.tools, request.schema)
        self._prefix = Prefix(
            self._belt.specs(), brief.system, brief.stable, request.limits.output_tokens, _cache_key(request, brief)
        )
        self._history: list[Entry] = [Asked(brief.volatile)]
        self._gauge = Gauge()
        self._tokens = Tokens()
        self._usd: float | None = 0.0
        self._deadline = 0.0

    async def events(self) -> AsyncGenerator[AgentEvent]:
        self._deadline = asyncio.get_running_loop().time() + self._limits.wall_s
        try:
            async with aclosing(self._turns()) as turns:
                async for event in turns:
                    yield event
        except _Ended as end:
            reason = without_key(end.reason, self._key)
            yield Result(end.status, self._belt.submitted, reason, self._tokens.total, self._usd, halts=end.halts)
        finally:
            await self._wire.close()

    async def _turns(self) -> AsyncGenerator[AgentEvent]:
        """Never returns: it ends by raising how it ended."""
        nudges = faulty = 0
        for _ in range(self._limits.turns):
            reply: Reply | None = None
            async for event in self._next_reply():
                if isinstance(event, Reply):
                    reply = event
                else:
                    yield event
            assert reply is not None
            if reply.stop == "refusal":
                yield self._refused(reply)
                continue
            if text := without_thoughts(reply.text):
                yield Said(text)
            self._history.append(reply)
            if reply.stop == "pause":
                continue
            answers = list[Answer]()
            async with aclosing(self._answered(reply, text)) as answering:
                async for answer in answering:
                    answers.append(answer)
                    yield _used(answer)
            if self._belt.submitted is not None:
                raise _Ended("ok")
            self._history.append(_as_entry(reply, answers))
            nudges += not answers
            faulty = faulty + 1 if answers and self._belt.faulty else 0
            if nudges > self._limits.nudges:
                raise _Ended("no_submit", text[-500:] or "it said nothing")
            if faulty >= self._limits.bad_arguments:
                raise _Ended("bad_arguments", answers[-1].text)
        raise _Ended("turns", f"all {self._limits.turns} turns are used up")

    async def _answered(self, reply: Reply, text: str) -> AsyncGenerator[Answer]:
        if reply.stop == "length":
            self._belt.faulty = True
            for call in reply.calls:
                yield Answer(call, NOT_EXECUTED, ok=False)
            return
        calls = reply.calls or printed_calls(text, self._belt.names, self._request.schema)
        async with aclosing(self._belt.carry_out(calls)) as carrying_out:
            while True:
                try:
                    async with asyncio.timeout_at(self._deadline):
                        answer = await anext(carrying_out, None)
                except TimeoutError:
                    raise _Ended("timeout", f"its {self._limits.wall_s:.0f} s are used up") from None
                if answer is None:
                    return
                yield answer

    def _refused(self, reply: Reply) -> Waiting:
        """Go on with the next model, which gets the same request."""
        why = reply.detail or reply.text or "no reason given"
        refusing, self._model = self._model, next(self._models, "")
        if not self._model:
            raise _Ended("refused", f"{refusing} refused: {why}")
        self._gauge = Gauge(self._gauge.per_token)  # it has nothing in its cache yet
        return Waiting(f"{refusing} refused ({without_key(why, self._key)}); asking {self._model}", 0.0)

    # ---- one turn -----------------------------------------------------------------------------------------------

    async def _next_reply(self) -> AsyncGenerator[AgentEvent | Reply]:
        """What happens until there is a whole reply, and at last the reply."""
        if self._context and self._size(self._history) > FULL * self._context:
            async for event in self._make_room(must=False):
                yield event
        for attempt in range(self._limits.retries + 1):
            try:
                reply = await self._paid_turn(self._history)
            except Fault as fault:
                if fault.remedy == "room":
                    async for event in self._make_room(must=True):
                        yield event
                    continue
                wait = self._wait(fault, attempt)
                yield Waiting(without_key(fault.why, self._key), wait)
                await asyncio.sleep(wait)
                self._deadline += wait  # a server's queue is not the agent's time
                continue
            if reply.stop != "context":
                yield reply
                return
            async for event in self._make_room(must=True):
                yield event
        raise _Ended("context", "the conversation does not fit the model")

    def _wait(self, fault: Fault, attempt: int) -> float:
        """Seconds until the next try. Raises how it ends when there is none."""
        if fault.remedy != "again":
            raise _Ended("error", fault.why, halts=fault.remedy == "operator")
        if fault.after_s is not None and fault.after_s > self._patience.longest_wait_s:
            raise _Ended("rate_limited", f"{fault.why}: try again in {fault.after_s / 60:.0f} minutes", halts=True)
        if attempt == self._limits.retries:
            raise _Ended("error", f"{fault.why} (tried {attempt + 1} times)", halts=True)
        backoff = min(self._patience.most_wait_s, self._patience.first_wait_s * 2**attempt)
        return fault.after_s if fault.after_s is not None else random.uniform(0, backoff)

    async def _paid_turn(self, history: Sequence[Entry]) -> Reply:
        """One try. Raises Fault, or how the conversation ends; either way the turn is settled."""
        estimate = self._gauge.coming(self._prefix, history)
        turn = self._allowed(estimate)
        try:
            reply = await self._timed(history)
        except Fault as fault:
            self._settle(turn, estimate if fault.begun else Tokens(), exact=not fault.begun)
            raise
        except (_Ended, asyncio.CancelledError):
            self._settle(turn, estimate, exact=False)
            raise
        counted = reply.tokens is not None
        took = reply.tokens or Tokens(estimate.input, estimate.cache_read, output=self._gauge.of_reply(reply))
        self._settle(turn, took, exact=counted)
        if counted:
            self._gauge.learn(self._prefix, history, took)
        return reply

    async def _timed(self, history: Sequence[Entry]) -> Reply:
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(min(self._deadline, now + self._patience.turn_s)):
                return await self._wire.turn(self._model, self._prefix, history)
        except TimeoutError:
            if asyncio.get_running_loop().time() >= self._deadline:
                raise _Ended("timeout", f"its {self._limits.wall_s:.0f} s are used up") from None
            raise Fault(f"no end after {self._patience.turn_s:.0f} s", "again", begun=True) from None

    def _allowed(self, estimate: Tokens) -> str:
        try:
            return self._request.purse.allow(self._model, estimate) if self._request.purse else ""
        except BudgetSpent as spent:
            raise _Ended("budget", str(spent)) from None

    def _settle(self, turn: str, took: Tokens, *, exact: bool) -> None:
        purse = self._request.purse
        usd = purse.paid(turn, self._model, took, exact=exact) if purse else None
        self._tokens += took
        self._usd = None if usd is None or self._usd is None else self._usd + usd

    # ---- room ---------------------------------------------------------------------------------------------------

    def _size(self, history: Sequence[Entry]) -> int:
        coming = self._gauge.coming(self._prefix, history)
        return coming.input + coming.cache_read

    async def _make_room(self, *, must: bool) -> AsyncGenerator[AgentEvent]:
        """Old tool results go first; then the model itself says what matters. If it must, raises when nothing helps."""
        before = self._size(self._history)
        # A server that refuses knows its size better than our settings do.
        goal = FULL * (before if must or self._context is None else self._context)
        self._history = shortened(self._history)
        if self._size(self._history) > goal:
            await self._summarise(min(KEPT_TOKENS, goal / 4) * self._gauge.per_token)
        after = self._size(self._history)
        if after < before:
            yield Used(ToolCall(name="make_room", output=f"about {before} tokens became {after}"))
        elif must:
            raise _Ended("context", f"{before} tokens do not fit the model, and nothing can be left out")

    async def _summarise(self, kept: float) -> None:
        """One more paid turn, unless hardly anything would be left out by it."""
        least = self._size(summarised(self._history, "", kept))
        if least > WORTH * self._size(self._history):
            return
        try:
            reply = await self._paid_turn([*self._history, Asked(PLEASE_SUMMARISE)])
        except Fault:
            return  # then what was cut so far has to be enough
        if summary := without_thoughts(reply.text):
            self._history = summarised(self._history, summary, kept)


def _as_entry(reply: Reply, answers: Sequence[Answer]) -> Entry:
    """What the model reads next. Calls that were printed have no ids to answer to, so they are answered in words."""
    if reply.calls:
        return Answers(tuple(answers))
    if answers:
        return Asked("\n\n".join(f"Result of {answer.call.name}:\n{answer.text}" for answer in answers))
    return Asked(PLEASE_BE_SHORT if reply.stop == "length" else PLEASE_SUBMIT)


def _used(answer: Answer) -> Used:
    call = answer.call
    return Used(
        ToolCall(name=call.name, arguments=call.arguments, ok=answer.ok, output=answer.text, took_s=answer.took_s)
    )


def _cache_key(request: AgentRequest, brief: Brief) -> str:
    digest = hashlib.sha256(f"{brief.system}\n{brief.stable}".encode()).hexdigest()
    return f"{request.role.value}:{digest[:24]}"
