"""A target's metrics against what its device can do: hard bounds for the gate, and distances for people.

A bound is drawn wide on purpose: no honest server may cross it. It counts only arithmetic, since speculation makes more
than one token of a pass over the weights; it leaves out whatever of a prompt another one began with, since a cache may
hold that; it takes the fastest arithmetic that the accuracy class allows. Where that was not measured there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vibeserve_tui.backend import Backend, Ceilings, Device
from vibeserve_tui.evaluation.roofline import HARD_BOUND_SLACK, Load, ModelShape, Roof, Storage, throughput_bound
from vibeserve_tui.evaluation.workload import PlannedRequest, Workload
from vibeserve_tui.inputs.model_folder import read_model_shape
from vibeserve_tui.inputs.target import LoadedTarget, Target
from vibeserve_tui.inputs.workload_spec import ClosedLevel
from vibeserve_tui.metrics import Direction

DRAWN = 512
"""Requests from which the mean work is taken."""
ARITHMETIC = {"exact": ("float32",), "numeric": ("float32", "bfloat16"), "quantised": ()}
"""Types that a class lets an engine compute in, all of which must have been measured; int8 has no ceiling here."""
PARAMETERS_AGREE = 0.02
"""Norms and biases are left out of a shape."""
BITS = {"float32": 32, "bfloat16": 16, "float16": 16, "": 32}


@dataclass(frozen=True, slots=True)
class Floors:
    """What nobody serves faster on this device, by metric key, in the metric's own unit."""

    bounds: dict[str, float]
    """Hard: a measurement beyond one is wrong."""
    source: str
    """How the ceilings were found, in words."""

    def distance(self, key: str, direction: Direction, value: float | None) -> float | None:
        """How many times further there is to go: 3.1 = three times as fast would still be possible."""
        bound = self.bounds.get(key)
        if bound is None or not value:
            return None
        return bound / HARD_BOUND_SLACK / value if direction is Direction.MAX else value * HARD_BOUND_SLACK / bound


class DeviceFloors:
    """The floors of one run: from ceilings that are measured when it begins, and kept in its folder.

    Noise can only lower a ceiling. So when a measurement lies beyond a bound, the ceilings are measured once more and
    the higher of both counts, before anybody is called impossible.
    """

    def __init__(
        self, backend: Backend, device: Device, target: LoadedTarget, workload: Workload, stored: Path
    ) -> None:
        self._backend = backend
        self._device = device
        self._target = target
        self._workload = workload
        self._stored = stored
        self._ceilings = _stored(stored)
        self.now = floors_of(target, workload, self._ceilings)

    async def measure(self) -> Floors:
        weights = model_shape(self._target)
        if weights is None:
            return self.now
        bits = BITS[self._target.spec.model.exact_in]
        size = weights.read_per_step * bits // 8
        new = await asyncio.to_thread(self._backend.ceilings, self._device, size)
        self._ceilings = _higher(self._ceilings, new)
        self._stored.write_text(self._ceilings.model_dump_json(indent=1), "utf-8")
        self.now = floors_of(self._target, self._workload, self._ceilings)
        return self.now


def _stored(path: Path) -> Ceilings:
    """What is not there, or not readable any more, is unknown: it only has to be measured again."""
    try:
        return Ceilings.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return Ceilings()


def _higher(old: Ceilings, new: Ceilings) -> Ceilings:
    bandwidths = [one for one in (old.bandwidth, new.bandwidth) if one is not None]
    compute = dict(old.compute)
    for dtype, ceiling in new.compute.items():
        compute[dtype] = max(compute.get(dtype, ceiling), ceiling, key=lambda one: one.value)
    return Ceilings(bandwidth=max(bandwidths, key=lambda one: one.value, default=None), compute=compute)


def floors_of(target: LoadedTarget, workload: Workload, ceilings: Ceilings) -> Floors:
    """Of the throughputs under closed loops; other metrics have no bound that no cleverness could cross."""
    spec = target.spec
    roof, shape = _roof(spec, ceilings), model_shape(target)
    if roof.compute is None or shape is None:
        return Floors({}, "")
    requests = workload.draw(DRAWN, DRAWN)
    load = Load(
        prompt_tokens=_uncached(requests),
        output_tokens=sum(request.max_tokens for request in requests) / len(requests),
        concurrency=1,
        tokens_per_pass=None,
    )
    bound = throughput_bound(shape, Storage.plain(BITS[spec.model.exact_in]), roof, load)
    closed = {level.id for level in spec.levels if isinstance(level, ClosedLevel)}
    keys = [metric.spec.key for metric in spec.metrics if metric.name == "output_throughput" and metric.level in closed]
    measured = [ceilings.compute[dtype] for dtype in ARITHMETIC[spec.accuracy.tolerance_class]]
    source = ", ".join(f"{one.value / 1e9:.0f} GFLOP/s {one.provenance} ({one.conditions})" for one in measured)
    return Floors({} if bound is None else dict.fromkeys(keys, bound), source)


def model_shape(target: LoadedTarget) -> ModelShape | None:
    """As config.json declares it; None for a model that is more than a plain decoder, by its number of parameters."""
    read = read_model_shape(target.model_dir)
    shape = ModelShape(
        layers=read.layers,
        width=read.hidden,
        heads=read.heads,
        kv_heads=read.kv_heads,
        head_dim=read.head_dim,
        ffn=read.ffn,
        vocab=read.vocab,
        tied=read.tied,
    )
    return shape if abs(shape.parameters / read.parameters - 1) <= PARAMETERS_AGREE else None


def _roof(spec: Target, ceilings: Ceilings) -> Roof:
    """Only what was measured bounds: a datasheet may be of another bin, and an unknown type may be faster."""
    allowed = ARITHMETIC[spec.accuracy.tolerance_class]
    measured = [
        ceilings.compute[dtype].value
        for dtype in allowed
        if dtype in ceilings.compute and ceilings.compute[dtype].provenance == "measured"
    ]
    return Roof(bandwidth=None, compute=max(measured) if measured and len(measured) == len(allowed) else None)


def _uncached(requests: Sequence[PlannedRequest]) -> float:
    """Mean tokens of a prompt that none of the others begins with."""
    prompts = sorted({request.prompt_ids for request in requests})
    shared = [_common(one, other) for one, other in pairwise(prompts)]
    beside = [max(before, after) for before, after in zip([0, *shared], [*shared, 0], strict=True)]
    return sum(len(prompt) - known for prompt, known in zip(prompts, beside, strict=True)) / len(prompts)


def _common(one: Iterable[int], other: Iterable[int]) -> int:
    """Length of the common beginning."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
