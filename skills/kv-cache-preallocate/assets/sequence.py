"""One request on its way through the model."""

import numpy as np

from server import counters
from server.ticket import Ticket


class Sequence:
    """The prompt and what came after it, living in one slot of the KV cache."""

    def __init__(self, ticket: Ticket, slot: int, eos: int) -> None:
        request = ticket.request
        self.slot = slot
        self.ids = list(request.prompt_ids)
        self.filled = 0
        """How many of `ids` have their K and V in the slot; in the end all but the newest."""
        self.room = request.max_tokens
        """How many more tokens are wanted."""
        self.done = False
        self.draft_ids = request.draft_ids
        self.temperature = request.temperature
        self.rng = _generator(request.seed) if request.temperature > 0 else None
        self._ticket = ticket
        self._prompt_len = len(self.ids)
        self._eos = -1 if request.ignore_eos else eos

    @property
    def prefilled(self) -> bool:
        return self.filled >= self._prompt_len

    def deliver(self, token: int) -> None:
        """Append a new token and hand it over, or end here."""
        if self._ticket.cancelled:
            self.done = True
        elif token == self._eos:
            self.end("stop")
        else:
            self.ids.append(token)
            self.room -= 1
            self.done = self.room == 0
            counters.add("tokens")
            self._ticket.sink([token], "length" if self.done else None)

    def end(self, finish: str) -> None:
        self.done = True
        self._ticket.sink([], finish)


def _generator(seed: int | None) -> np.random.Generator:
    """Seeds may be negative on the wire, but not here."""
    return np.random.default_rng(None if seed is None else seed % 2**64)
