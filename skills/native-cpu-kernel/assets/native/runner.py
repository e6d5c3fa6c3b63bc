"""NativeModel: the compiled kernel behind the runner interface of all schedulers.

    slots, max_len, vocab, eos, dtype
    prefill(slot, ids, start)               run ids at positions start… of a slot; logits of the last one, [1, vocab]
    prefill_many(slots, ids_lists, starts)  the same for several slots in one pass; [n, vocab]
    decode(slots, ids, positions)           one new token for each of several slots; [n, vocab]
    extend(slot, ids, start)                like prefill, logits of all positions, [len(ids), vocab]
    copy_prefix(source, target, length)     copy the K and V of the first positions from slot to slot
"""

from collections.abc import Sequence
from itertools import chain

from server import counters
from server.native.kernel import Kernel, Logits, Room
from server.native.shape import Shape


class NativeModel:
    dtype = "float32"
    """Of the arithmetic."""

    def __init__(self, kernel: Kernel, name: str, shape: Shape, room: Room) -> None:
        self.kernel = name
        self.slots, self.max_len = room.slots, room.max_len
        self.vocab, self.eos = shape.vocab, shape.eos
        self._kernel = kernel
        self._counters = ("native_steps", "native_int8_steps") if room.storage == "int8_t" else ("native_steps",)

    def prefill(self, slot: int, ids: Sequence[int], start: int) -> Logits:
        return self.prefill_many([slot], [ids], [start])

    def prefill_many(
        self, slots: Sequence[int], ids_lists: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> Logits:
        wanted = list(chain.from_iterable([0] * (len(ids) - 1) + [1] for ids in ids_lists))
        return self._run_spans(slots, ids_lists, starts, wanted)

    def extend(self, slot: int, ids: Sequence[int], start: int) -> Logits:
        return self._run_spans([slot], [ids], [start], [1] * len(ids))

    def decode(self, slots: Sequence[int], ids: Sequence[int], positions: Sequence[int]) -> Logits:
        return self._run(ids, positions, slots, [1] * len(ids))

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        self._kernel.copy_prefix(source, target, length)

    def _run_spans(
        self,
        slots: Sequence[int],
        ids_lists: Sequence[Sequence[int]],
        starts: Sequence[int],
        wanted: Sequence[int],
    ) -> Logits:
        tokens: list[int] = []
        positions: list[int] = []
        row_slots: list[int] = []
        for slot, ids, start in zip(slots, ids_lists, starts, strict=True):
            tokens += ids
            positions += range(start, start + len(ids))
            row_slots += [slot] * len(ids)
        counters.add("prefill_tokens", len(tokens))
        return self._run(tokens, positions, row_slots, wanted)

    def _run(
        self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int], wanted: Sequence[int]
    ) -> Logits:
        for name in self._counters:
            counters.add(name)
        return self._kernel.run(tokens, positions, slots, wanted)
