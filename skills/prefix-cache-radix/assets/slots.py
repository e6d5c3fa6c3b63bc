"""Which slot of the KV cache a request gets, and how much of its prompt is there already.

Every slot, running or not, remembers whose keys and values it holds. A new request takes over the longest prefix
that any slot has in common with its prompt; only the rest goes through the model. State is reused, never answers:
the last prompt token is always computed.

With a few dozen slots, comparing the prompt with each of them takes microseconds; a radix tree pays from hundreds on.
"""

from typing import TYPE_CHECKING

import numpy as np

from server import counters
from server.config import Config
from server.sequence import Sequence
from server.ticket import Ticket

if TYPE_CHECKING:
    from server.model import Model


class Slots:
    def __init__(self, model: "Model", config: Config) -> None:
        self._model = model
        self._eos = model.eos
        self._least = config.integer("prefix_min_tokens")
        self._free = list(range(config.integer("max_batch")))
        self._kept = [np.empty(0, np.int32) for _ in range(model.slots)]
        """Per slot the ids whose keys and values it holds, as of the last time it was free."""
        self._used = [0] * model.slots
        self._running: dict[int, Sequence] = {}
        self._clock = 0

    def acquire(self, ticket: Ticket) -> Sequence:
        """The request in the lowest free slot, so that running slots stay neighbours. One must be free."""
        slot = min(self._free)
        self._free.remove(slot)
        sequence = Sequence(ticket, slot, self._eos)
        self._reuse(sequence)
        self._running[slot] = sequence
        return sequence

    def release(self, sequence: Sequence) -> None:
        del self._running[sequence.slot]
        self._kept[sequence.slot] = np.array(sequence.ids[: sequence.filled], np.int32)
        self._touch(sequence.slot)
        self._free.append(sequence.slot)

    def _reuse(self, sequence: Sequence) -> None:
        prompt = np.array(sequence.ids[:-1], np.int32)
        common = [_common(prompt, self._contents(slot)) for slot in range(self._model.slots)]
        slot, source = sequence.slot, int(np.argmax(common))
        # At equal length nothing has to be copied when the slot itself holds the prefix.
        if common[slot] == common[source]:
            source = slot
        length = common[source] if common[source] >= self._least else 0
        if common[slot] < len(self._kept[slot]) // 2:
            self._rescue(slot, source)
        if length and source != slot:
            self._model.copy_prefix(source, slot, length)
        if length:
            self._touch(source)
            counters.add("prefix_hits")
            counters.add("prefix_tokens", length)
        sequence.filled = length
        self._kept[slot] = prompt[:length]

    def _rescue(self, slot: int, source: int) -> None:
        """What is about to be overwritten moves to the idle slot that was not used for the longest time."""
        ids, needed = self._kept[slot], (slot, source)
        idle = [other for other in range(self._model.slots) if other not in needed and other not in self._running]
        if len(ids) < self._least or not idle:
            return
        target = min(idle, key=self._used.__getitem__)
        self._model.copy_prefix(slot, target, len(ids))
        self._kept[target], self._used[target] = ids, self._used[slot]

    def _contents(self, slot: int) -> np.ndarray:
        running = self._running.get(slot)
        return self._kept[slot] if running is None else np.array(running.ids[: running.filled], np.int32)

    def _touch(self, slot: int) -> None:
        self._clock += 1
        self._used[slot] = self._clock


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the longest common prefix."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length


