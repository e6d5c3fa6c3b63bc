"""How prompts go through the model: a bounded number of tokens per step, taken from several prompts at once.

A step never takes longer than its token budget allows, so running sequences keep their pace while a long prompt is
worked off; and short prompts that wait together share one pass.
"""

from typing import TYPE_CHECKING

from server import counters
from server.config import Config
from server.sampling import pick
from server.sequence import Sequence

if TYPE_CHECKING:
    from server.model import Model


class Prefill:
    def __init__(self, model: "Model", config: Config) -> None:
        self._model = model
        self._budget = config.integer("prefill_tokens")

    def step(self, sequences: list[Sequence]) -> None:
        """Bring sequences that are not prefilled yet nearer to their first token; called until all are."""
        chunks = self._chunks(sequences)
        logits = self._model.prefill_many(
            [sequence.slot for sequence, _ in chunks],
            [sequence.ids[sequence.filled : end] for sequence, end in chunks],
            [sequence.filled for sequence, _ in chunks],
        )
        for sequence, end in chunks:
            sequence.filled = end
        # Only the last chunk can leave its prompt unfinished: the first rows of the logits are those wanted.
        finished = [sequence for sequence, _ in chunks if sequence.prefilled]
        for sequence, token in zip(finished, pick(logits, finished), strict=True):
            sequence.deliver(token)
        counters.add("packed_prefills", len(chunks) > 1 or not finished)

    def _chunks(self, sequences: list[Sequence]) -> list[tuple[Sequence, int]]:
        """Sequences in order of arrival, and how far each of them gets in this step."""
        chunks, left = [], self._budget
        for sequence in sequences:
            if left == 0:
                break
            end = min(len(sequence.ids), sequence.filled + left)
            left -= end - sequence.filled
            chunks.append((sequence, end))
        return chunks


