"""What an Apple GPU gives at best: measured through MLX where it is installed, else from published figures.

Published figures never bound a measurement; they say how far there is to go. One chip is sold with several numbers of GPU
cores, and in one generation the bandwidth depends on the memory.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from vibeserve_cpu.ceilings import measured
from vibeserve_tui.backend import Ceiling, Ceilings, Value


class Variant(Value):
    gpu_cores: int
    bandwidth_gbs: float
    fp16_tflops: float | None = None
    memory_gb: tuple[int, ...] = ()
    """Only where it decides."""


class Chip(Value):
    """One row of devices.toml: decimal GB and GB/s, TFLOP/s; what is not known is not there."""

    match: tuple[str, ...]
    memory_gb: tuple[int, ...]
    variants: tuple[Variant, ...]
    confidence: Literal["A", "B"]
    """A: measured clocks times cores, or the vendor's figure. B: a third party's, or derived."""
    sources: tuple[str, ...]


def ceilings(name: str, cores: int | None, memory: int, weight_bytes: int) -> Ceilings:
    listed, found = published(name, cores, memory), measured("vibeserve_metal.measure_ceilings", weight_bytes)
    return Ceilings(bandwidth=found.bandwidth or listed.bandwidth, compute={**listed.compute, **found.compute})


def published(name: str, cores: int | None, memory: int) -> Ceilings:
    """The variant of this chip; nothing for one that is not in the table. Memory in bytes."""
    chip = next((chip for chip in _table() if name in chip.match), None)
    variant = next((one for one in chip.variants if _fits(one, cores, memory)), None) if chip else None
    if chip is None or variant is None:
        return Ceilings()
    note = f"published for {name} with {cores} GPU cores, confidence {chip.confidence}"
    compute = {}
    if variant.fp16_tflops is not None:
        compute["float16"] = Ceiling(
            value=variant.fp16_tflops * 1e12, unit="FLOP/s", provenance="estimate", conditions=f"{note}, from its clock"
        )
    bandwidth = Ceiling(value=variant.bandwidth_gbs * 1e9, unit="B/s", provenance="datasheet", conditions=note)
    return Ceilings(bandwidth=bandwidth, compute=compute)


def _fits(variant: Variant, cores: int | None, memory: int) -> bool:
    return variant.gpu_cores == cores and (not variant.memory_gb or memory >> 30 in variant.memory_gb)


@cache
def _table() -> tuple[Chip, ...]:
    table = tomllib.loads(Path(__file__).with_name("devices.toml").read_text("utf-8"))
    return tuple(Chip.model_validate(row) for row in table["device"])
