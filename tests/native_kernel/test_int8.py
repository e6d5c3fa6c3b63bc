"""int8 weights: the kernel computes what they say, which is close to the model but not the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tests.native_kernel.checkpoints import SIZES, torch_logits, write


def test_a_quantised_weight_is_at_most_half_a_step_off(native: ModuleType) -> None:
    matrix = np.random.default_rng(0).standard_normal((7, 50), np.float32)
    matrix[3] = 0
    values, scales = native.weights.quantise(matrix)
    error = np.abs(values * scales[:, None] - matrix)
    assert (error <= scales[:, None] * 0.5001).all()
    assert (np.abs(values[[0, 1, 2, 4, 5, 6]]).max(axis=1) == 127).all()


def test_int8_logits_are_near_those_of_the_model_but_not_the_same(
    tmp_path: Path, open_native: Callable[..., Any]
) -> None:
    sizes = SIZES["odd sizes"]
    folder = write(tmp_path, sizes)
    tokens = list(range(40))
    expected = torch_logits(folder, sizes, tokens).numpy()

    model = open_native(folder, weights="int8")
    logits = model.extend(0, tokens, 0)
    found = np.array([logits.row(at) for at in range(40)])

    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-4 < error < 0.1
    assert model.kernel.endswith("-int8")


def test_steps_with_int8_weights_have_a_counter_of_their_own(
    native: ModuleType, tmp_path: Path, open_native: Callable[..., Any]
) -> None:
    folder = write(tmp_path, SIZES["odd sizes"])
    open_native(folder).prefill(0, [1], 0)
    before = native.counters.snapshot().get("native_int8_steps", 0)
    open_native(folder, weights="int8").prefill(0, [1], 0)
    assert native.counters.snapshot()["native_int8_steps"] == before + 1
