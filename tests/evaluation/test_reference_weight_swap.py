from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.toy_target import toy_target
from tests.inputs.small_target import safetensors
from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.reference import ReferenceService, reference_command
from vibeserve_tui.evaluation.weight_swap import swap_weights, write_noisy
from vibeserve_tui.inputs.model_folder import safetensors_header

MATRIX = np.linspace(-1, 1, 6000, dtype=np.float32).reshape(60, 100)
VECTOR = np.ones(100, dtype=np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    tensors = {
        "norm": ("F32", [100], VECTOR.tobytes()),
        "matrix": ("F32", [60, 100], MATRIX.tobytes()),
        "half": ("F16", [60, 100], MATRIX.astype(np.float16).tobytes()),
        "brain": ("BF16", [60, 100], (MATRIX.view(np.uint32) >> 16).astype(np.uint16).tobytes()),
        "ids": ("I64", [2, 2], bytes(32)),
    }
    (folder / "model.safetensors").write_bytes(safetensors(tensors))
    (folder / "config.json").write_text("{}")
    return folder


def read(folder: Path, name: str, dtype: str) -> np.ndarray:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    tensor = safetensors_header(path)[name]
    return np.frombuffer(content[start + tensor.begin : start + tensor.end], dtype)


def test_every_matrix_changes_by_the_asked_noise_and_nothing_else_does(model: Path, tmp_path: Path) -> None:
    write_noisy(model, tmp_path / "out", seed=1, noise=0.2, exact_in="")
    changed = read(tmp_path / "out", "matrix", "<f4") - MATRIX.ravel()
    assert changed.std() / MATRIX.std() == pytest.approx(0.2, rel=0.05)
    assert abs(changed.mean()) < 0.01
    assert np.array_equal(read(tmp_path / "out", "norm", "<f4"), VECTOR)
    assert read(tmp_path / "out", "ids", "<i8").tolist() == [0] * 4
    half = read(tmp_path / "out", "half", "<f2").astype(np.float32) - MATRIX.ravel()
    assert half.std() / MATRIX.std() == pytest.approx(0.2, rel=0.05)
    assert safetensors_header(tmp_path / "out" / "model.safetensors") == safetensors_header(model / "model.safetensors")
    assert (tmp_path / "out" / "config.json").read_text() == "{}"


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(model: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        write_noisy(model, tmp_path / name, seed=seed, noise=0.1, exact_in="bfloat16")
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_weights_that_fit_a_smaller_type_still_do(model: Path, tmp_path: Path) -> None:
    write_noisy(model, tmp_path / "brain", seed=1, noise=0.2, exact_in="bfloat16")
    assert not (read(tmp_path / "brain", "matrix", "<u4") & 0xFFFF).any()
    write_noisy(model, tmp_path / "half", seed=1, noise=0.2, exact_in="float16")
    values = read(tmp_path / "half", "matrix", "<f4")
    assert np.array_equal(values.astype(np.float16).astype(np.float32), values)


def test_rounding_to_bfloat16_is_to_the_nearest_with_ties_to_even(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    below, tie_down, tie_up, above = 0x3F800000 + 0x7FFF, 0x3F808000, 0x3F818000, 0x3F808001
    bits = np.array([[below, tie_down], [tie_up, above]], dtype="<u4")
    (folder / "model.safetensors").write_bytes(safetensors({"m": ("F32", [2, 2], bits.tobytes())}))
    write_noisy(folder, tmp_path / "out", seed=1, noise=0.0, exact_in="bfloat16")
    assert [hex(value) for value in read(tmp_path / "out", "m", "<u4")] == [
        "0x3f800000", "0x3f800000", "0x3f820000", "0x3f810000"
    ]  # fmt: skip


async def test_other_weights_are_written_once_they_say_other_things(tmp_path: Path) -> None:
    target = toy_target(tmp_path)
    log = tmp_path / "log"
    reference = await ReferenceService.start(reference_command(target, swaps=tmp_path), target.model_dir, log=log)
    prompts = [[1, number, number + 1] for number in range(10, 14)]
    own = await reference.greedy(prompts[0], 32)
    swap = await swap_weights(reference, tmp_path / "swap", seed=3, prompts=prompts, exact_in="bfloat16")
    assert swap.different > 0.9
    assert await reference.greedy(prompts[0], 32) == own
    async with reference.using(swap.model_dir) as other:
        assert await other.greedy(prompts[0], 32) != own
    await reference.close()


async def test_a_model_that_says_one_thing_whatever_its_weights_cannot_be_swapped(tmp_path: Path) -> None:
    target = toy_target(tmp_path, "\n    def best(self, ids): return 6\n")
    log = tmp_path / "log"
    reference = await ReferenceService.start(reference_command(target, swaps=tmp_path), target.model_dir, log=log)
    with pytest.raises(MeasurementError, match="something varied"):
        await swap_weights(reference, tmp_path / "swap", seed=3, prompts=[[1, 2], [1, 3]], exact_in="bfloat16")
    await reference.close()


@pytest.mark.slow
def test_noisy_weights_load_in_the_library_they_are_for(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    model_dir = toy_target(tmp_path).model_dir
    write_noisy(model_dir, tmp_path / "out", seed=1, noise=0.15, exact_in="bfloat16")
    own, other = load_file(model_dir / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in own.items():
        noise = (other[name].float() - tensor.float()).std() / tensor.float().std()
        assert other[name].dtype == tensor.dtype == torch.bfloat16
        assert float(noise) == (pytest.approx(0.15, rel=0.05) if tensor.ndim == 2 else 0)
