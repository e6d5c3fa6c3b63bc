"""What this processor gives at best: a program of its own, so that the engine's process imports no framework.

    python -P -m vibeserve_cpu.measure_ceilings WEIGHT_BYTES     →  {"bandwidth": B/s, "compute": {dtype: FLOP/s}}

Of one thread, per second of its own CPU time: what else the machine does would lower any other figure (a busy one gave
a tenth), and as many threads can give as many times that at best. Noise only ever takes away from a ceiling, so the
best of several tries is the estimate, not their median. Data are random: zeros multiply faster than numbers on some
processors.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

TRIES = 9
LEAST_S = 0.02
"""A try repeats its work for at least so long."""
COLUMNS = 1024
SIZES = (256, 512, 1024)
"""Of the square matrices: which of them reaches the peak depends on the caches."""


def best_rate(work: Callable[[], object], amount: float) -> float:
    """Amount per CPU second of the fastest try."""
    work()
    best = 0.0
    for _ in range(TRIES):
        started, done = time.process_time(), 0
        while time.process_time() - started < LEAST_S:
            work()
            done += 1
        best = max(best, done * amount / (time.process_time() - started))
    return best


def bandwidth(weight_bytes: int) -> float:
    """A matrix of the weights' size times a vector: what a decode step of one sequence does."""
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((max(1, weight_bytes // (4 * COLUMNS)), COLUMNS), dtype=np.float32)
    vector = rng.standard_normal(COLUMNS, dtype=np.float32)
    return best_rate(lambda: matrix @ vector, matrix.nbytes)


def compute() -> dict[str, float]:
    """Square products; torch adds to numpy's what its own libraries reach, and a narrower type."""
    found: dict[str, float] = {}

    def note(dtype: str, size: int, work: Callable[[], object]) -> None:
        found[dtype] = max(found.get(dtype, 0.0), best_rate(work, 2.0 * size**3))

    rng = np.random.default_rng(2)
    for size in SIZES:
        a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
        note("float32", size, partial(np.matmul, a, b))
    try:
        import torch
    except ImportError:
        return found
    torch.manual_seed(3)
    torch.set_num_threads(1)
    for size in SIZES:
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            x, y = (torch.randn(size, size).to(dtype) for _ in range(2))
            note(name, size, partial(torch.matmul, x, y))
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"bandwidth": bandwidth(int(sys.argv[1])), "compute": compute()}))
