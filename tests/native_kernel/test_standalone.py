"""The kernel without Python: under sanitizers, and on ARM through an emulator where both tools are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.native_kernel.checkpoints import SIZES, write
from tests.thoroughly import thoroughly

HERE = Path(__file__).parent
TOKENS = 41
MAX_LEN = 48
SANITIZE = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
TOLERANCE = 1e-4
X86 = {"avx2": (8, 2), "scalar": (4, 2)}
"""Vector width and panels of a block."""
ARM_COMPILER, ARM_EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"


def blobs(native: ModuleType, folder: Path, packer: object, storage: str) -> Iterator[np.ndarray]:
    """In the order in which standalone.cpp reads them."""
    shape = native.Shape.read(folder)
    weights = native.Weights(native.Checkpoint(folder), shape)
    tokens = np.random.default_rng(3).integers(shape.vocab, size=TOKENS)

    def matrix(values: np.ndarray) -> Iterator[np.ndarray]:
        panels, scales = packer.matrix(values)
        yield panels
        yield np.empty(0) if scales is None else scales

    yield packer.rows(weights.embedding)
    yield packer.vector(weights.final_norm)
    yield from matrix(weights.head)
    yield from native.weights.rotary_tables(MAX_LEN, shape.head_dim, shape.rope_theta)
    for layer in weights.layers():
        yield packer.vector(layer.attention_norm)
        yield packer.vector(layer.ffn_norm)
        yield from matrix(layer.qkv)
        yield from matrix(packer.by_head(layer.out, shape.heads))
        yield from matrix(packer.gate_up(layer.gate, layer.up))
        yield from matrix(layer.down)
    yield tokens.astype(np.int32)
    yield native.self_test.reference_logits(shape, weights, storage, tokens.tolist()).astype(np.float32)


def write_blobs(path: Path, arrays: Iterator[np.ndarray]) -> Path:
    with path.open("wb") as file:
        for array in arrays:
            file.write(np.int64(array.nbytes).tobytes() + array.tobytes())
    return path


@dataclass(frozen=True)
class Build:
    """How the program is compiled and run."""

    compiler: tuple[str, ...]
    block: tuple[int, int]
    storage: str = "bf16"
    threads: int = 1
    run_with: tuple[str, ...] = ()


def largest_error(native: ModuleType, work: Path, sizes: str, build: Build) -> float:
    folder = write(work / "model", SIZES[sizes])
    packer = native.weights.Packer(*build.block, build.storage)
    data = write_blobs(work / "blobs", blobs(native, folder, packer, build.storage))
    program = work / "standalone"
    room = (f"-DMAX_LEN={MAX_LEN}", f"-DTHREADS={build.threads}", f"-DWEIGHT={build.storage}")
    defines = (*native.Shape.read(folder).defines, *room, f"-I{Path(native.__file__).parent}")
    source = (str(HERE / "standalone.cpp"), "-o", str(program))
    subprocess.run([*build.compiler, *native.build.FLAGS, *defines, *source], check=True, timeout=120)
    done = subprocess.run(
        [*build.run_with, str(program), str(data)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        # What the program allocates lives as long as the program.
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no g++ here")
@pytest.mark.parametrize(
    ("variant", "storage"), [("avx2", "bf16"), thoroughly("avx2", "int8_t"), thoroughly("scalar", "float")]
)
def test_sanitizers_find_nothing(variant: str, storage: str, native: ModuleType, tmp_path: Path) -> None:
    chosen = native.build.choose_variant(native.build.cpu_features(), variant)
    build = Build(("g++", *SANITIZE, *chosen.flags), X86[variant], storage)
    assert largest_error(native, tmp_path, "odd sizes", build) < TOLERANCE


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no g++ here")
def test_the_thread_sanitizer_finds_nothing(native: ModuleType, tmp_path: Path) -> None:
    build = Build(("g++", "-g", "-O1", "-fsanitize=thread", "-DPORTABLE"), X86["scalar"], threads=2)
    assert largest_error(native, tmp_path, "odd sizes", build) < TOLERANCE


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(ARM_COMPILER) or not shutil.which(ARM_EMULATOR), reason="no ARM emulator here")
@pytest.mark.parametrize("sizes", ["odd sizes", "wide heads, large groups"])
@pytest.mark.parametrize("storage", ["bf16", "float", "int8_t"])
def test_neon_computes_the_same(sizes: str, storage: str, native: ModuleType, tmp_path: Path) -> None:
    build = Build((ARM_COMPILER, "-static"), (4, 4), storage, run_with=(ARM_EMULATOR,))
    assert largest_error(native, tmp_path, sizes, build) < TOLERANCE
