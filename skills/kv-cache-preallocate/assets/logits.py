"""What a forward pass returns: one row of logits per sequence or position."""

import numpy as np


class Logits:
    """Valid until the next step of the model."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows

    def argmax(self) -> list[int]:
        """The largest logit of every row, the lowest id on ties."""
        return self._rows.argmax(-1).tolist()

    def row(self, index: int) -> np.ndarray:
        return self._rows[index]
