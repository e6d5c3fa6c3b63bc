"""How the next token is chosen: greedy is the largest logit, the lowest id on ties."""

import numpy as np

from server.logits import Logits
from server.sequence import Sequence


def pick(logits: Logits, sequences: list[Sequence]) -> list[int]:
    """The next token of each sequence; row i of the logits belongs to sequence i, further rows to none."""
    tokens = logits.argmax()[: len(sequences)]
    for row, sequence in enumerate(sequences):
        if sequence.rng is not None:
            tokens[row] = _sample(logits.row(row), sequence.temperature, sequence.rng)
    return tokens


def _sample(logits: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
    scaled = logits.astype(np.float64) / temperature
    cumulated = np.exp(scaled - scaled.max()).cumsum()
    return int(np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right"))


