# region: prefill
"""How prompts go through the model: each in one pass, one after the other."""

from typing import TYPE_CHECKING

from server.config import Config
from server.sampling import pick
from server.sequence import Sequence

if TYPE_CHECKING:
    from server.model import Model


class Prefill:
    def __init__(self, model: "Model", config: Config) -> None:
        self._model = model

    def step(self, sequences: list[Sequence]) -> None:
        """Bring sequences that are not prefilled yet nearer to their first token; called until all are."""
        for sequence in sequences:
            logits = self._model.prefill(sequence.slot, sequence.ids[sequence.filled :], sequence.filled)
            sequence.filled = len(sequence.ids)
            sequence.deliver(pick(logits, [sequence])[0])


# endregion: prefill
