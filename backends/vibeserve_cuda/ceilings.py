"""What a GPU gives at best: measured where a CUDA build of torch is there, else from the vendor's datasheet.

Datasheet figures never bound a measurement; they say how far there is to go. A card is matched by its full name, because
"NVIDIA L4" also begins "NVIDIA L40S".
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from vibeserve_cpu.ceilings import measured
from vibeserve_cuda import child
from vibeserve_tui.backend import Ceiling, Ceilings, Value


class Card(Value):
    """One row of devices.toml: decimal GB and GB/s, dense TFLOP/s and TOPS; what is not known is not there."""

    match: tuple[str, ...]
    """Whole names as the driver reports them."""
    memory_gb: float
    bandwidth_gbs: float
    fp16_tflops: float | None = None
    bf16_tflops: float | None = None
    fp8_tflops: float | None = None
    fp4_tflops: float | None = None
    int8_tops: float | None = None
    confidence: Literal["A", "B"]
    """A: the vendor's figure. B: a third party's, or derived."""
    sources: tuple[str, ...]
    note: str = ""


def ceilings(name: str, uuid: str, weight_bytes: int) -> Ceilings:
    env = child.environment() | {"CUDA_VISIBLE_DEVICES": uuid}
    listed, found = datasheet(name), measured("vibeserve_cuda.measure_ceilings", weight_bytes, env)
    return Ceilings(bandwidth=found.bandwidth or listed.bandwidth, compute={**listed.compute, **found.compute})


def datasheet(name: str) -> Ceilings:
    """The row of this card; nothing for one that is not in the table."""
    card = next((card for card in _table() if name in card.match), None)
    if card is None:
        return Ceilings()
    note = f"datasheet of {name}, dense, confidence {card.confidence}"
    tflops = {"float16": card.fp16_tflops, "bfloat16": card.bf16_tflops, "float8_e4m3fn": card.fp8_tflops}
    return Ceilings(
        bandwidth=Ceiling(value=card.bandwidth_gbs * 1e9, unit="B/s", provenance="datasheet", conditions=note),
        compute={
            dtype: Ceiling(value=peak * 1e12, unit="FLOP/s", provenance="datasheet", conditions=note)
            for dtype, peak in tflops.items()
            if peak is not None
        },
    )


@cache
def _table() -> tuple[Card, ...]:
    table = tomllib.loads(Path(__file__).with_name("devices.toml").read_text("utf-8"))
    return tuple(Card.model_validate(row) for row in table["device"])
