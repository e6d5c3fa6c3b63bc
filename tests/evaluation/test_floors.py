from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import pytest

from tests.evaluation.toy_target import toy_target
from vibeserve_tui.backend import Backend, Ceiling, Ceilings, load_backend
from vibeserve_tui.evaluation.floors import DRAWN, HARD_BOUND_SLACK, DeviceFloors, floors_of, model_shape
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.inputs.workload_spec import WorkloadKind
from vibeserve_tui.metrics import Direction

C16 = "output_throughput@c16"
TTFT = "median_ttft_ms@c1"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> LoadedTarget:
    return toy_target(tmp_path_factory.mktemp("floors"))


@pytest.fixture(scope="module")
def workload(target: LoadedTarget) -> Workload:
    return Workload.load(target)


def compute(provenance: str = "measured", **flops: float) -> Ceilings:
    rows = {name: {"value": value, "unit": "FLOP/s", "provenance": provenance} for name, value in flops.items()}
    return Ceilings.model_validate({"compute": rows})


def of_class(target: LoadedTarget, name: str) -> LoadedTarget:
    accuracy = target.spec.accuracy.model_copy(update={"tolerance_class": name})
    return replace(target, spec=target.spec.model_copy(update={"accuracy": accuracy}))


def test_the_bound_is_the_arithmetic_of_a_token_over_the_peak(target: LoadedTarget, workload: Workload) -> None:
    floors = floors_of(target, workload, compute(float32=2e11))
    assert floors.bounds.keys() == {C16, "output_throughput@c1"}
    shape = model_shape(target)
    assert shape is not None
    requests = workload.draw(DRAWN, DRAWN)
    prompt = sum(len(request.prompt_ids) for request in requests) / len(requests)
    answer = sum(request.max_tokens for request in requests) / len(requests)
    work = 2 * shape.body * (prompt + answer - 1) / answer + 2 * shape.head
    assert floors.bounds[C16] == pytest.approx(HARD_BOUND_SLACK * 2e11 / work, rel=0.1)
    assert floors.bounds[C16] > HARD_BOUND_SLACK * 2e11 / work, "what prompts have in common is no work"


def test_what_a_program_of_the_target_asks_for_has_no_known_floor(target: LoadedTarget, workload: Workload) -> None:
    own = target.spec.workload.model_copy(update={"kind": WorkloadKind.PROGRAM})
    asked = replace(target, spec=target.spec.model_copy(update={"workload": own}))
    floors = floors_of(asked, workload, compute(float32=2e11))
    assert (floors.bounds, floors.best) == ({}, {})


def test_the_distance_says_how_much_is_left_in_either_direction(target: LoadedTarget, workload: Workload) -> None:
    floors = floors_of(target, workload, compute(float32=2e11))
    reachable = floors.bounds[C16] / HARD_BOUND_SLACK
    assert floors.distance(C16, Direction.MAX, reachable / 4) == pytest.approx(4)
    assert floors.distance(C16, Direction.MAX, None) is None
    least_ms = floors.best[TTFT]
    assert floors.distance(TTFT, Direction.MIN, 3 * least_ms) == pytest.approx(3)
    assert floors.distance("p90_ttft_ms@c16", Direction.MIN, least_ms) is None, "of a tail nobody knows the prompts"


def test_a_first_token_takes_at_least_the_arithmetic_of_its_prompt(target: LoadedTarget, workload: Workload) -> None:
    shape = model_shape(target)
    assert shape is not None
    middle = median(len(request.prompt_ids) for request in workload.draw(DRAWN, DRAWN))
    least_ms = floors_of(target, workload, compute(float32=2e11)).best[TTFT]
    assert least_ms == pytest.approx(1000 * (2 * shape.body * middle + 2 * shape.head) / 2e11, rel=0.15)
    assert floors_of(target, workload, Ceilings()).best == {}


def test_memory_limits_plain_decoding_but_bounds_nobody(target: LoadedTarget, workload: Workload) -> None:
    slow = Ceiling(value=1e9, unit="B/s", provenance="datasheet")
    floors = floors_of(target, workload, compute(float32=2e11).model_copy(update={"bandwidth": slow}))
    shape = model_shape(target)
    assert shape is not None
    alone = 1e9 / (2 * shape.read_per_step)  # two bytes a weight: these are exact in bfloat16
    assert floors.best["output_throughput@c1"] == pytest.approx(alone)
    assert floors.best[C16] == pytest.approx(16 * alone)
    assert floors.bounds == floors_of(target, workload, compute(float32=2e11)).bounds, "speculation reads them once"
    coarse = floors_of(of_class(target, "quantised"), workload, Ceilings(bandwidth=slow))
    assert coarse.best["output_throughput@c1"] == pytest.approx(4 * alone)


@pytest.mark.parametrize(
    ("accuracy", "ceilings", "peak"),
    [
        ("exact", compute(float32=2e11, bfloat16=9e11), 2e11),
        ("numeric", compute(float32=2e11, bfloat16=9e11), 9e11),
        ("numeric", compute(float32=2e11), None),
        ("quantised", compute(float32=2e11, bfloat16=9e11), None),
        ("exact", compute("datasheet", float32=2e11), None),
        ("exact", Ceilings(), None),
    ],
    ids=["exact", "numeric", "bf16 unknown", "int8 unknown", "a datasheet", "nothing known"],
)
def test_only_measured_arithmetic_that_the_class_allows_bounds(
    target: LoadedTarget, workload: Workload, accuracy: str, ceilings: Ceilings, peak: float | None
) -> None:
    bounds = floors_of(of_class(target, accuracy), workload, ceilings).bounds
    known = floors_of(target, workload, compute(float32=2e11)).bounds[C16] / 2e11
    assert bounds.get(C16) == (None if peak is None else pytest.approx(known * peak))


def test_a_model_that_is_no_plain_decoder_has_no_floor(target: LoadedTarget, tmp_path: Path) -> None:
    other = toy_target(tmp_path)
    path = other.model_dir / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 64}))
    assert model_shape(other) is None


@dataclass
class Gauge:
    """A backend whose ceilings are what the test says, one after the other."""

    answers: Iterator[Ceilings]
    asked: list[int] = field(default_factory=list)

    def ceilings(self, device: object, weight_bytes: int) -> Ceilings:
        self.asked.append(weight_bytes)
        return next(self.answers)


async def test_ceilings_are_kept_and_only_ever_raised(target: LoadedTarget, workload: Workload, tmp_path: Path) -> None:
    gauge = Gauge(iter([compute(float32=2e11), compute(float32=1e11), compute(float32=3e11)]))
    stored = tmp_path / "ceilings.json"

    def opened() -> DeviceFloors:
        return DeviceFloors(gauge, None, target, workload, stored)  # type: ignore[arg-type]

    floors = opened()
    assert floors.now.bounds == {}
    first = (await floors.measure()).bounds[C16]
    assert (await floors.measure()).bounds[C16] == first
    assert opened().now.bounds[C16] == first
    assert (await floors.measure()).bounds[C16] == pytest.approx(1.5 * first)
    assert gauge.asked[0] == pytest.approx(4.46e6, rel=0.02), "two bytes a weight: these are exact in bfloat16"
    stored.write_text("{")
    assert opened().now.bounds == {}


@pytest.mark.slow
def test_this_processor_has_ceilings() -> None:
    backend: Backend = load_backend("cpu")
    ceilings = backend.ceilings(backend.detect()[0], 4_460_000)
    assert isinstance(ceilings.bandwidth, Ceiling)
    assert 1e9 < ceilings.bandwidth.value < 1e13
    assert 1e9 < ceilings.compute["float32"].value < 1e14
    assert ceilings.compute["float32"].provenance == "measured"
