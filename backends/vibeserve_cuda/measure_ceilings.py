"""Measures what a GPU gives at best: a program of its own, so that the engine's process imports no framework.

    CUDA_VISIBLE_DEVICES=UUID python -P -m vibeserve_cuda.measure_ceilings WEIGHT_BYTES
    →  {"bandwidth": B/s, "compute": {dtype: FLOP/s}}

Noise only takes away from a ceiling, so the best of several tries counts. Data are random: zeros ran 13 % faster on one
H200. Not yet run on a GPU by this project.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

TRIES = 9
LEAST_S = 0.05
COLUMNS = 4096
SIZES = (2048, 4096, 8192)
NATIVE_BF16 = (8, 0)


def best_rate(work: Callable[[], object], amount: float) -> float:
    """Amount per second of the fastest try."""
    work()
    torch.cuda.synchronize()
    best = 0.0
    for _ in range(TRIES):
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < LEAST_S:
            # Launches are queued in tens: one at a time would measure the host.
            for _ in range(10):
                work()
            torch.cuda.synchronize()
            done += 10
        best = max(best, done * amount / (time.perf_counter() - started))
    return best


def bandwidth(weight_bytes: int) -> float:
    """A matrix of the weights' size times a vector: what a decode step of one sequence does."""
    rows = max(1, weight_bytes // (2 * COLUMNS))
    matrix = torch.randn(rows, COLUMNS, device="cuda", dtype=torch.float16)
    vector = torch.randn(COLUMNS, device="cuda", dtype=torch.float16)
    return best_rate(lambda: torch.mv(matrix, vector), matrix.numel() * 2.0)


def compute() -> dict[str, float]:
    """Square products in every type that the device computes in natively."""
    types = [torch.float32, torch.float16]
    if torch.cuda.get_device_capability() >= NATIVE_BF16:
        types.append(torch.bfloat16)
    found: dict[str, float] = {}
    for dtype in types:
        for size in SIZES:
            a, b = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
            rate = best_rate(partial(torch.matmul, a, b), 2.0 * size**3)
            name = str(dtype).removeprefix("torch.")
            found[name] = max(found.get(name, 0.0), rate)
    return found


if __name__ == "__main__":
    torch.manual_seed(1)
    sys.stdout.write(json.dumps({"bandwidth": bandwidth(int(sys.argv[1])), "compute": compute()}))
