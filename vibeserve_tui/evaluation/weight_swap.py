"""Other weights of the same shape: what a server must serve that has nothing stored about its answers.

The engine writes a second model folder with seeded noise on every matrix and recomputes the
truth on it. Fresh random weights would not do: such a model says one token for ever.
"""

from __future__ import annotations

import asyncio
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.reference import ReferenceService, TokenIds
from vibeserve_tui.inputs.model_folder import Tensor, safetensors_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# On the shipped tiny Llama, 3 seeds × 12 prompts × 32 tokens: noise of 0.05 changed 29–40 % of the positions and left
# 5 of 12 answers as they were, 0.17 changed 57–79 %; at 0.25–0.57 single answers collapsed to 2–7 distinct tokens.
FIRST_NOISE = 0.15
"""In standard deviations of the matrix."""
STEP = 1.5
STEPS = 5
TOKENS = 32
LEAST_DIFFERENT = 0.5
LEAST_DISTINCT = 8
LEAST_VARIED = 0.75
"""Share of the answers that must have LEAST_DISTINCT different tokens."""
_FLOATS = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class Swap:
    """A written folder of other weights."""

    model_dir: Path
    noise: float
    different: float
    """Share of output positions at which greedy decoding says something else than with the own weights."""


async def swap_weights(
    reference: ReferenceService, out_dir: Path, *, seed: int, prompts: Sequence[TokenIds], exact_in: str
) -> Swap:
    """Write other weights for the loaded model: as little noise as changes half of what it says.

    Answers must differ, or stored ones would pass; they must stay varied, or one guess would. `exact_in` is the
    target's: a server may rely on the weights fitting that type without loss.
    """
    model_dir = reference.model_dir
    own = await reference.greedy_many([(prompt, TOKENS) for prompt in prompts])
    noise = FIRST_NOISE
    for _ in range(STEPS):
        shutil.rmtree(out_dir, ignore_errors=True)
        await asyncio.to_thread(write_noisy, model_dir, out_dir, seed=seed, noise=noise, exact_in=exact_in)
        async with reference.using(out_dir) as perturbed:
            other = await perturbed.greedy_many([(prompt, TOKENS) for prompt in prompts])
        pairs = [(a, b) for mine, theirs in zip(own, other, strict=True) for a, b in zip(mine, theirs, strict=True)]
        different = sum(a != b for a, b in pairs) / len(pairs)
        if sum(len(set(output)) >= LEAST_DISTINCT for output in other) < LEAST_VARIED * len(other):
            break  # more noise only makes it worse
        if different >= LEAST_DIFFERENT:
            return Swap(out_dir, noise, different)
        noise *= STEP
    raise MeasurementError(
        "no amount of noise gives other weights that say something else and something varied",
        where=str(model_dir),
        fix='use a trained model, or set accuracy.weight_swap = "off"',
    )


def write_noisy(model_dir: Path, out_dir: Path, *, seed: int, noise: float, exact_in: str) -> None:
    """Copy a model folder with `noise` standard deviations of Gaussian noise on every matrix of its safetensors."""
    out_dir.mkdir(parents=True)
    for path in sorted(model_dir.iterdir()):
        if path.suffix == ".safetensors":
            _write_noisy_file(path, out_dir / path.name, seed=seed, noise=noise, exact_in=exact_in)
        elif path.is_file():
            shutil.copyfile(path, out_dir / path.name)
        if path.is_file():  # nothing but their content shall tell them from the target's own
            shutil.copystat(path, out_dir / path.name)


def _write_noisy_file(source: Path, target: Path, *, seed: int, noise: float, exact_in: str) -> None:
    """Types and shapes stay, so the header stays: only the bytes of the matrices are other ones."""
    tensors = sorted(safetensors_header(source).items(), key=lambda item: item[1].begin)
    with source.open("rb") as old, target.open("wb") as new:
        length = old.read(8)
        new.write(length + old.read(int.from_bytes(length, "little")))
        start = old.tell()
        for name, tensor in tensors:
            old.seek(start + tensor.begin)
            content = old.read(tensor.end - tensor.begin)
            new.seek(start + tensor.begin)
            if len(tensor.shape) == 2 and tensor.dtype in _FLOATS:
                content = _noisy(
                    content, tensor, seed=[seed, zlib.crc32(name.encode())], noise=noise, exact_in=exact_in
                )
            new.write(content)


def _noisy(content: bytes, tensor: Tensor, *, seed: list[int], noise: float, exact_in: str) -> bytes:
    import numpy as np

    values = _widened(content, tensor.dtype)
    drawn = np.random.default_rng(seed).standard_normal(values.shape, dtype=np.float32)
    values = values + noise * values.std() * drawn
    if exact_in == "bfloat16":
        values = _widened(_narrowed(values, "BF16"), "BF16")
    elif exact_in == "float16":
        values = _widened(_narrowed(values, "F16"), "F16")
    return _narrowed(values, tensor.dtype)


def _widened(content: bytes, dtype: str) -> Floats:
    import numpy as np

    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(content, "<f4" if dtype == "F32" else "<f2").astype(np.float32)


def _narrowed(values: Floats, dtype: str) -> bytes:
    import numpy as np

    if dtype == "BF16":  # rounded to nearest, ties to even
        bits = values.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
    return values.astype("<f4" if dtype == "F32" else "<f2").tobytes()
