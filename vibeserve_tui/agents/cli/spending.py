"""What a CLI costs: each reported turn is paid once, its total settles the rest.

A CLI asks its model whenever it likes. The purse is asked before the program starts and again when the program is
seen to begin another turn; the answer "no" ends the program.
"""

from __future__ import annotations

from vibeserve_tui.agents.protocol import Purse, Tokens
from vibeserve_tui.errors import BudgetSpent

CHARACTERS_PER_TOKEN = 4
SMALLEST_REPLY = 256
"""Tokens that a turn is expected to say at least."""


class Meter:
    """Of one conversation, which may start the CLI several times."""

    def __init__(self, purse: Purse | None, model: str, limit_usd: float | None) -> None:
        self._purse = purse
        self._model = model
        self._limit_usd = limit_usd
        self._open = ""
        self._expected = Tokens()
        self._before = Tokens()
        self.tokens = Tokens()
        self.usd: float | None = None if purse is None else 0.0
        """None once the price of a part is not known."""

    def start(self, characters: int) -> None:
        """Before the program starts with a prompt of this length. Raises BudgetSpent."""
        self._before = self.tokens
        self._expected = Tokens(input=characters // CHARACTERS_PER_TOKEN, output=SMALLEST_REPLY)
        self.expect()

    def expect(self) -> None:
        """The model is asked for a turn, unless one is open already. Raises BudgetSpent."""
        if self._limit_usd is not None and self.usd is not None and self.usd >= self._limit_usd:
            raise BudgetSpent(f"the call's {self._limit_usd:g} USD are spent")
        if self._purse is not None and not self._open:
            self._open = self._purse.allow(self._model, self._expected)

    def turn(self, tokens: Tokens) -> None:
        """What one turn took. The next one sends at least as much."""
        self._expected = Tokens(input=tokens.total - tokens.output, output=SMALLEST_REPLY)
        self._pay(tokens)

    def total(self, tokens: Tokens, *, whole_session: bool) -> None:
        """What all turns together took; what none of them reported is paid now."""
        paid = self.tokens if whole_session else _beyond(self.tokens, self._before)
        rest = _beyond(tokens, paid)
        if rest.total or self._open:
            self._pay(rest)

    def close(self) -> None:
        """The program has ended; a turn that it never accounted for counts as expected."""
        if self._open:
            self._pay(self._expected, exact=False)

    def _pay(self, tokens: Tokens, *, exact: bool = True) -> None:
        self.tokens += tokens
        if self._purse is None:
            return
        turn, self._open = self._open or self._purse.allow(self._model, tokens), ""
        usd = self._purse.paid(turn, self._model, tokens, exact=exact)
        self.usd = None if usd is None or self.usd is None else self.usd + usd


def _beyond(whole: Tokens, part: Tokens) -> Tokens:
    return Tokens(
        input=max(0, whole.input - part.input),
        cache_read=max(0, whole.cache_read - part.cache_read),
        cache_write=max(0, whole.cache_write - part.cache_write),
        output=max(0, whole.output - part.output),
        reasoning=max(0, whole.reasoning - part.reasoning),
    )
