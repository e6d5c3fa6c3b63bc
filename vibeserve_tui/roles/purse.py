"""The money that agents may take: asked before each turn, told after it, and kept in the journal.

A turn is recorded with its estimate before it is paid for, so that a crash in its midst forgets nothing: until it is
settled it counts at that estimate, also in the process that goes on with the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vibeserve_tui import events as ev
from vibeserve_tui.agents.loop.prices import cost
from vibeserve_tui.agents.protocol import Tokens
from vibeserve_tui.errors import BudgetSpent
from vibeserve_tui.run_state import RunState, Spend
from vibeserve_tui.state.run import Run

TOLD_AT = (0.5, 0.8)
"""Shares of the run's limits at which the operator hears of it."""
CENT_FRACTION = 1e-9
"""Sums of floats may miss a limit by less than this."""


@dataclass(frozen=True, slots=True)
class _Limit:
    of: str
    spent: Spend
    usd: float | None
    tokens: int | None

    def forbids(self, tokens: int, usd: float | None) -> str:
        """Why a turn of at least so much may not begin; "" when it may."""
        if self.usd is not None and self.spent.usd + (usd or 0.0) > self.usd + CENT_FRACTION:
            return (
                f"{self.of}'s budget of ${self.usd:.2f} is spent: ${self.spent.usd:.2f} are, and the next turn takes "
                f"at least ${usd or 0.0:.2f}"
            )
        if self.tokens is not None and self.spent.tokens + tokens > self.tokens:
            return (
                f"{self.of}'s budget of {self.tokens} tokens is spent: {self.spent.tokens} are, and the next turn takes "
                f"at least {tokens}"
            )
        return ""

    def shares(self) -> Iterator[tuple[str, float]]:
        if self.usd:
            yield f"${self.usd:.2f}", self.spent.usd / self.usd
        if self.tokens:
            yield f"{self.tokens} tokens", self.spent.tokens / self.tokens


class RunPurse:
    """What one call of a role may take out of the run's budget."""

    def __init__(self, run: Run, role: str, settings: ev.VoiceSettings) -> None:
        self._run = run
        self._role = role
        self._settings = settings
        self._call = Spend()
        self.run_is_spent = False
        """A turn was refused because of the run's own limit, so that no other call may begin either."""

    def allow(self, model: str, estimate: Tokens) -> str:
        """The turn's id. Raises BudgetSpent naming the limit that it would go beyond."""
        state = self._run.state
        usd, number = cost(self._settings.prices, model, estimate), round_of(state)
        for limit in self._limits(number):
            if why := limit.forbids(estimate.total, usd):
                self.run_is_spent = limit.of == "the run"
                raise BudgetSpent(why)
        turn = f"turn-{state.seq + 1}"
        self._run.emit(
            ev.AgentCalling(id=turn, role=self._role, round=number, model=model, tokens=estimate.total, usd=usd)
        )
        return turn

    def paid(self, turn: str, model: str, tokens: Tokens, *, exact: bool = True) -> float | None:
        before = dict(self._settled().shares())
        usd = cost(self._settings.prices, model, tokens)
        spent = ev.AgentSpent(
            id=turn,
            role=self._role,
            model=model,
            input=tokens.input,
            cache_read=tokens.cache_read,
            cache_write=tokens.cache_write,
            output=tokens.output,
            reasoning=tokens.reasoning,
            usd=usd,
            exact=exact,
        )
        self._run.emit(spent)
        self._call = self._call.plus(tokens.total, usd)
        for limit, share in self._settled().shares():
            for mark in TOLD_AT:
                if before.get(limit, 0.0) < mark <= share:
                    self._run.emit(ev.Warned(text=f"agents took {mark:.0%} of the run's budget of {limit}"))
        return usd

    def _limits(self, number: int) -> Iterator[_Limit]:
        """The widest first: what stops the run is to be told before what stops a call."""
        yield self._run_limit()
        allowance = self._run.state.plan.allowance if self._run.state.plan else ev.Allowance()
        in_round = self._run.state.spend_in_round(number)
        yield _Limit(f"round {number}", in_round, allowance.round_usd, allowance.round_tokens)
        yield _Limit("the call", self._call, self._settings.usd, None)

    def _run_limit(self) -> _Limit:
        state = self._run.state
        return _Limit("the run", state.spend, state.max_usd, state.max_tokens)

    def _settled(self) -> _Limit:
        """Without the estimate of the turn that is being settled."""
        return replace(self._run_limit(), spent=sum(self._run.state.spent.values(), Spend()))


def round_of(state: RunState) -> int:
    """The round in flight, or the one that is being planned."""
    return state.in_flight.number if state.in_flight else max(state.rounds, default=-1) + 1
