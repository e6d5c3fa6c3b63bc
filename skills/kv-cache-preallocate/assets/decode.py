# region: decode
"""How running sequences get their next tokens: one token each per step."""

from typing import TYPE_CHECKING

from server.config import Config
from server.sampling import pick
from server.sequence import Sequence

if TYPE_CHECKING:
    from server.model import Model


class Decode:
    def __init__(self, model: "Model", config: Config) -> None:
        self._model = model

    def step(self, sequences: list[Sequence]) -> None:
        """At least one new token for every sequence; they come in order of their slots."""
        logits = self._model.decode(
            [sequence.slot for sequence in sequences],
            [sequence.ids[-1] for sequence in sequences],
            [sequence.filled for sequence in sequences],
        )
        for sequence, token in zip(sequences, pick(logits, sequences), strict=True):
            sequence.filled += 1
            sequence.deliver(token)


# endregion: decode
