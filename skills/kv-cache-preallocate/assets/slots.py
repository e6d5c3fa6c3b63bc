# region: slots
"""Which slot of the KV cache a request gets."""

from typing import TYPE_CHECKING

from server.config import Config
from server.sequence import Sequence
from server.ticket import Ticket

if TYPE_CHECKING:
    from server.model import Model


class Slots:
    def __init__(self, model: "Model", config: Config) -> None:
        self._eos = model.eos
        self._free = list(range(config.integer("max_batch")))

    def acquire(self, ticket: Ticket) -> Sequence:
        """The request in the lowest free slot, so that running slots stay neighbours. One must be free."""
        slot = min(self._free)
        self._free.remove(slot)
        return Sequence(ticket, slot, self._eos)

    def release(self, sequence: Sequence) -> None:
        self._free.append(sequence.slot)


# endregion: slots
