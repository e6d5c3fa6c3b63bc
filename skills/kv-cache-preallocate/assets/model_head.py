"""The model behind the runner interface: own layers over a KV cache that is allocated once.

The cache has a fixed number of slots; one sequence lives in one slot. Runner interface, used by all schedulers:

    slots, max_len, vocab, eos, dtype
    prefill(slot, ids, start)               run ids at positions start… of a slot; logits of the last one, [1, vocab]
    prefill_many(slots, ids_lists, starts)  the same for several slots in one pass; [n, vocab]
    decode(slots, ids, positions)           one new token for each of several slots; [n, vocab]
    extend(slot, ids, start)                like prefill, logits of all positions, [len(ids), vocab]
    copy_prefix(source, target, length)     copy the K and V of the first positions from slot to slot

`eos` is the id that ends an answer. Logits are valid until the next call.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from server import counters
from server.config import Config
from server.layers import Layer, Linear, norm, read_shape, read_weights, rotate, rotations
from server.logits import Logits

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""attend(layer, q, k, v) → [rows, hidden]: stores k and v, and lets q look at everything stored so far."""

