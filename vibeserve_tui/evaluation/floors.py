"""A target's metrics against what its device can do: hard bounds for the gate, and distances for people.

A bound is drawn wide on purpose: no honest server may cross it. It counts only arithmetic, since speculation makes more
than one token of a pass over the weights; it leaves out whatever of a prompt another one began with, since a cache may
hold that; it takes the fastest arithmetic that the accuracy class allows. Where that was not measured there is none.

The distance that people are shown is to the floor of plain decoding, where every step reads all weights too; to a first
token it is the arithmetic of the prompt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

from vibeserve_tui.backend import Backend, Ceilings, Device
from vibeserve_tui.evaluation.roofline import Load, ModelShape, Roof, best_throughput, least_ttft_s
from vibeserve_tui.evaluation.workload import PlannedRequest, Workload
from vibeserve_tui.inputs.model_folder import read_model_shape
from vibeserve_tui.inputs.target import LoadedTarget, Target
from vibeserve_tui.inputs.workload_spec import ClosedLevel, WorkloadKind
from vibeserve_tui.metrics import Direction

HARD_BOUND_SLACK = 1.05
"""A measured ceiling is a median; a figure this far beyond it is still believed."""
DRAWN = 512
"""Requests from which the mean work is taken."""
ARITHMETIC = {"exact": ("float32",), "numeric": ("float32", "bfloat16"), "quantised": ()}
"""Types that a class lets an engine compute in, all of which must have been measured; int8 has no ceiling here."""
FIRST_TOKENS: Mapping[str, Callable[[Sequence[int]], float]] = {"mean_ttft_ms": fmean, "median_ttft_ms": median}
"""And how long the prompt is that they speak of."""
PARAMETERS_AGREE = 0.02
"""Norms and biases are left out of a shape."""
BITS = {"float32": 32, "bfloat16": 16, "float16": 16, "": 32}
LEAST_BITS = {"exact": 32, "numeric": 8, "quantised": 4}
"""Of a weight that a class lets an engine store, where the model itself has no fewer."""


@dataclass(frozen=True, slots=True)
class Floors:
    """What nobody serves faster on this device, by metric key, in the metric's own unit."""

    bounds: dict[str, float]
    """Hard: a measurement beyond one is wrong."""
    best: dict[str, float]
    """What plain decoding could come to."""

    def distance(self, key: str, direction: Direction, value: float | None) -> float | None:
        """How many times further there is to go: 3.1 = three times as fast would still be possible."""
        best = self.best.get(key)
        if best is None or not value:
            return None
        return best / value if direction is Direction.MAX else value / best


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
    """Of throughputs and first tokens under closed loops; nothing else has a floor that no cleverness could cross."""
    spec, shape = target.spec, model_shape(target)
    if shape is None or spec.workload.kind is WorkloadKind.PROGRAM:
        return Floors({}, {})  # what a program asks for is its own business
    requests = workload.draw(DRAWN, DRAWN)
    prompts = _uncached(requests)
    load = Load(fmean(prompts), fmean(request.max_tokens for request in requests))
    compute = _compute(spec, ceilings)
    weights = shape.read_per_step * min(BITS[spec.model.exact_in], LEAST_BITS[spec.accuracy.tolerance_class]) / 8
    reading = Roof(compute, ceilings.bandwidth.value if ceilings.bandwidth else None)
    clients = {level.id: level.concurrency for level in spec.levels if isinstance(level, ClosedLevel)}
    bounds: dict[str, float | None] = {}
    best: dict[str, float | None] = {}
    for metric in spec.metric_specs:
        at_once = clients.get(metric.level or "")
        if at_once is None:
            continue
        if metric.name == "output_throughput":
            bounds[metric.key] = best_throughput(shape, Roof(compute), load)
            best[metric.key] = best_throughput(shape, reading, load, bytes_per_token=weights / at_once)
        elif metric.name in FIRST_TOKENS:
            least_s = least_ttft_s(shape, Roof(compute), FIRST_TOKENS[metric.name](prompts))
            best[metric.key] = least_s and 1000 * least_s
    return Floors(
        {key: HARD_BOUND_SLACK * value for key, value in bounds.items() if value},
        {key: value for key, value in best.items() if value},
    )


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


def _compute(spec: Target, ceilings: Ceilings) -> float | None:
    """Only what was measured bounds: a datasheet may be of another bin, and an unknown type may be faster."""
    allowed = [ceilings.compute.get(dtype) for dtype in ARITHMETIC[spec.accuracy.tolerance_class]]
    measured = [one.value for one in allowed if one is not None and one.provenance == "measured"]
    return max(measured) if measured and len(measured) == len(allowed) else None


def _uncached(requests: Sequence[PlannedRequest]) -> list[int]:
    """Tokens of each prompt that none of the others begins with."""
    prompts = sorted({request.prompt_ids for request in requests})
    shared = [_common(one, other) for one, other in pairwise(prompts)]
    beside = [max(before, after) for before, after in zip([0, *shared], [*shared, 0], strict=True)]
    return [len(prompt) - known for prompt, known in zip(prompts, beside, strict=True)]


def _common(one: Iterable[int], other: Iterable[int]) -> int:
    """Length of the common beginning."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
