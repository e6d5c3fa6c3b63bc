"""The native kernel: one model, one CPU, compiled at start. Where that fails the server runs on torch, and says so."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from server import counters
from server.config import Config, ConfigError
from server.native.build import choose_variant, cpu_features, library
from server.native.checkpoint import Checkpoint
from server.native.kernel import Kernel, Room
from server.native.runner import NativeModel
from server.native.self_test import check
from server.native.shape import Shape, Unavailable
from server.native.weights import Weights


TORCH_KNOBS = ("dtype", "length_bucket", "row_buckets")
"""Knobs of the torch model, which stays in the tree as the fallback."""


@dataclass(frozen=True)
class Settings:
    threads: int
    slots: int
    max_len: int
    weights: str
    """lossless, or int8, which changes the answers."""
    variant: str
    """avx512, avx2, neon or scalar; empty for the fastest that this CPU runs."""

    @classmethod
    def read(cls, config: Config) -> "Settings":
        weights = config.text("kernel_weights")
        if weights not in {"lossless", "int8"}:
            raise ConfigError(f"config.json: kernel_weights is {weights!r}, must be lossless or int8")
        return cls(
            threads=config.integer("threads"),
            slots=config.integer("max_batch") + config.integer("spare_slots"),
            max_len=config.integer("max_len"),
            weights=weights,
            variant=os.environ.get("VIBE_KERNEL", ""),
        )


def open_model(config: Config):
    """The native model, or the torch model and the reason in /health."""
    settings = Settings.read(config)
    try:
        model = open_native(config.model_dir, config.build_dir, settings)
    except Unavailable as reason:
        model, kernel = torch_model(config, reason), f"torch ({reason})"
    else:
        config.excuse(*TORCH_KNOBS)
        kernel = model.kernel
    counters.note("kernel", kernel)
    print(f"server: kernel: {kernel}", file=sys.stderr, flush=True)
    return model


def torch_model(config: Config, reason: Unavailable):
    try:
        from server.model import Model
    except ModuleNotFoundError as missing:
        raise ConfigError(f"no native kernel ({reason}), and without it {missing.name} is needed") from missing
    return Model(config)


def open_native(model_dir: Path, build_dir: Path, settings: Settings) -> NativeModel:
    """Compile, load and check the kernel. Raises Unavailable with the reason when any of it fails."""
    shape = Shape.read(model_dir)
    weights = Weights(Checkpoint(model_dir), shape)
    storage = "int8_t" if settings.weights == "int8" else weights.lossless_storage()
    room = Room(settings.slots, settings.max_len, storage)
    variant = choose_variant(cpu_features(), settings.variant)
    defines = (*shape.defines, f"-DMAX_LEN={room.max_len}", f"-DTHREADS={settings.threads}", f"-DWEIGHT={storage}")
    kernel = Kernel(library(build_dir, variant, defines), shape, weights, room)
    check(kernel, shape, weights, room)
    name = f"native-{variant.name}-int8" if storage == "int8_t" else f"native-{variant.name}"
    return NativeModel(kernel, name, shape, room)
