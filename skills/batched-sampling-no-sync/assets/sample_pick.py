"""How the next token is chosen, for the whole batch at once: greedy is the largest logit, the lowest id on ties.

Adding Gumbel noise to logits / temperature and taking the largest draws from the softmax exactly, so a batch of greedy
and sampled rows needs one argmax, and neither exponentials nor sums nor a decision per row. The noise comes from each
sequence's own generator: what others in the batch do changes nothing.
"""

import numpy as np

from server import counters
from server.logits import Logits
from server.sequence import Sequence


def pick(logits: Logits, sequences: list[Sequence]) -> list[int]:
    """The next token of each sequence; row i of the logits belongs to sequence i, further rows to none."""
    sampled = [row for row, sequence in enumerate(sequences) if sequence.rng is not None]
    tokens = logits.argmax()[: len(sequences)]
    if not sampled:
        return tokens
    noisy = np.stack([logits.row(row) for row in sampled])
    noisy /= np.array([[sequences[row].temperature] for row in sampled], np.float32)
    for index, row in enumerate(sampled):
        noisy[index] += sequences[row].rng.gumbel(size=noisy.shape[1]).astype(np.float32)
    for row, token in zip(sampled, noisy.argmax(1).tolist(), strict=True):
        tokens[row] = token
    counters.add("batched_samples", len(sampled))
    return tokens


