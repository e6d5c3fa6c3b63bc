"""Measures what an Apple GPU gives at best, through MLX: a program of its own, so that the engine imports no framework.

    python -P -m vibeserve_metal.measure_ceilings WEIGHT_BYTES     →  {"bandwidth": B/s, "compute": {dtype: FLOP/s}}

Noise only takes away from a ceiling, so the best of several tries counts. Data are random. Never run on a Mac yet.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial

import mlx.core as mx

TRIES = 9
LEAST_S = 0.05
COLUMNS = 4096
SIZES = (2048, 4096)


def best_rate(work: Callable[[], mx.array], amount: float) -> float:
    """Amount per second of the fastest try."""
    mx.eval(work())
    best = 0.0
    for _ in range(TRIES):
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < LEAST_S:
            # Ten at a time: one alone would measure how long it takes to hand work over.
            mx.eval([work() for _ in range(10)])
            done += 10
        best = max(best, done * amount / (time.perf_counter() - started))
    return best


def bandwidth(weight_bytes: int) -> float:
    """A matrix of the weights' size times a vector: what a decode step of one sequence does."""
    matrix = mx.random.normal((max(1, weight_bytes // (2 * COLUMNS)), COLUMNS), dtype=mx.float16)
    vector = mx.random.normal((COLUMNS,), dtype=mx.float16)
    return best_rate(lambda: matrix @ vector, matrix.nbytes)


def compute() -> dict[str, float]:
    found: dict[str, float] = {}
    for name, dtype in (("float32", mx.float32), ("float16", mx.float16), ("bfloat16", mx.bfloat16)):
        for size in SIZES:
            a, b = (mx.random.normal((size, size), dtype=dtype) for _ in range(2))
            mx.eval(a, b)
            found[name] = max(found.get(name, 0.0), best_rate(partial(mx.matmul, a, b), 2.0 * size**3))
    return found


if __name__ == "__main__":
    mx.random.seed(1)
    sys.stdout.write(json.dumps({"bandwidth": bandwidth(int(sys.argv[1])), "compute": compute()}))
