"""The runner interface: whatever a scheduler does with slots and batches, the logits stay the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.native_kernel.checkpoints import SIZES, write

SIZES_HERE = SIZES["odd sizes"]
TOKENS = np.random.default_rng(2).integers(SIZES_HERE.vocab_size, size=(4, 60)).tolist()


def assert_close(found: object, expected: np.ndarray) -> None:
    """Blocks of another shape add in another order; logits are of size 10."""
    np.testing.assert_allclose(np.array(found), expected, rtol=0, atol=1e-4)


@pytest.fixture
def model(tmp_path: Path, open_native: Callable[..., Any]) -> Any:
    return open_native(write(tmp_path, SIZES_HERE))


@pytest.fixture
def alone(model: Any) -> np.ndarray:
    """Logits of the last of 50 tokens of each sequence, computed one at a time in slot 0: [4, vocab]."""
    return np.array([model.prefill(0, tokens[:50], 0).row(0).copy() for tokens in TOKENS])


def test_prompts_prefilled_together_do_not_see_one_another(model: Any, alone: np.ndarray) -> None:
    together = model.prefill_many([2, 0, 3, 1], [tokens[:50] for tokens in TOKENS], [0] * 4)
    assert_close([together.row(i) for i in range(4)], alone)


def test_a_prompt_in_pieces_gives_what_it_gives_whole(model: Any, alone: np.ndarray) -> None:
    for start, end in ((0, 7), (7, 8), (8, 33), (33, 50)):
        last = model.prefill(1, TOKENS[0][start:end], start)
    assert_close(last.row(0), alone[0])


def test_slots_of_different_lengths_decode_in_one_batch(model: Any, alone: np.ndarray) -> None:
    lengths = [49, 20, 1, 35]
    for slot, length in enumerate(lengths):
        model.prefill(slot, TOKENS[slot][:length], 0)
    for at in range(48):
        slots = [slot for slot in (3, 0, 2, 1) if lengths[slot] + at < 50]
        positions = [lengths[slot] + at for slot in slots]
        logits = model.decode(slots, [TOKENS[slot][p] for slot, p in zip(slots, positions, strict=True)], positions)
        for row, (slot, position) in enumerate(zip(slots, positions, strict=True)):
            if position == 49:
                assert_close(logits.row(row), alone[slot])


def test_a_copied_prefix_continues_in_its_new_slot_and_the_old_one_is_unchanged(model: Any, alone: np.ndarray) -> None:
    model.prefill(0, TOKENS[0][:40], 0)
    model.prefill(3, TOKENS[1][:60], 0)
    model.copy_prefix(0, 3, 37)
    assert_close(model.prefill(3, TOKENS[0][37:50], 37).row(0), alone[0])
    assert_close(model.prefill(0, TOKENS[0][40:50], 40).row(0), alone[0])


def test_a_reused_slot_remembers_nothing(model: Any, alone: np.ndarray) -> None:
    model.prefill(2, TOKENS[1], 0)
    assert_close(model.prefill(2, TOKENS[0][:50], 0).row(0), alone[0])


def test_extend_gives_the_logits_of_every_position(model: Any) -> None:
    model.prefill(0, TOKENS[0][:20], 0)
    verified = model.extend(0, TOKENS[0][20:26], 20)
    rows = [verified.row(i).copy() for i in range(6)]
    best = verified.argmax()
    for i, row in enumerate(rows):
        assert_close(model.prefill(1, TOKENS[0][: 21 + i], 0).row(0), row)
        assert best[i] == int(row.argmax())


def test_two_threads_give_what_one_gives(tmp_path: Path, open_native: Callable[..., Any], alone: np.ndarray) -> None:
    model = open_native(write(tmp_path, SIZES_HERE), threads=2)
    together = model.prefill_many(range(4), [tokens[:49] for tokens in TOKENS], [0] * 4)
    assert len(together.argmax()) == 4
    logits = model.decode(range(4), [tokens[49] for tokens in TOKENS], [49] * 4)
    assert_close([logits.row(i) for i in range(4)], alone)


@pytest.mark.parametrize(
    ("slot", "token", "position"),
    [
        pytest.param(4, 0, 0, id="no such slot"),
        pytest.param(-1, 0, 0, id="negative slot"),
        pytest.param(1, 97, 0, id="no such token"),
        pytest.param(1, -1, 0, id="negative token"),
        pytest.param(1, 0, 128, id="beyond the last position"),
        pytest.param(1, 0, -1, id="negative position"),
        pytest.param(0, 0, 5, id="the slot's own position again"),
        pytest.param(0, 0, 4, id="going back in a slot"),
    ],
)
def test_a_row_that_would_read_or_write_elsewhere_is_refused(model: Any, slot: int, token: int, position: int) -> None:
    with pytest.raises(ValueError, match="row 1 cannot be run"):
        model.decode([0, slot], [0, token], [5, position])


@pytest.mark.parametrize(("source", "target", "length"), [(4, 0, 1), (0, 4, 1), (-1, 0, 1), (0, 1, 129), (0, 1, -1)])
def test_a_prefix_is_not_copied_out_of_bounds(model: Any, source: int, target: int, length: int) -> None:
    with pytest.raises(ValueError, match="no prefix"):
        model.copy_prefix(source, target, length)


def test_the_last_position_can_be_used(model: Any) -> None:
    model.prefill(3, (TOKENS[0] * 3)[:127], 0)
    assert np.isfinite(model.decode([3], [5], [127]).row(0)).all()


def test_ties_go_to_the_lowest_id(tmp_path: Path, open_native: Callable[..., Any]) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = write(tmp_path, SIZES_HERE)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:1].repeat(97, 1)
    tensors["lm_head.weight"][:40] *= 0.5
    tensors["lm_head.weight"][90:] = -tensors["lm_head.weight"][90:]
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    logits = open_native(folder).extend(0, TOKENS[0], 0)
    for best, row in zip(logits.argmax(), (logits.row(i) for i in range(60)), strict=True):
        assert best == int(torch.tensor(row).argmax()) == int(np.flatnonzero(row == row.max())[0])
        assert best in {40, 90}


def test_every_step_is_counted(native: Any, model: Any) -> None:
    before = native.counters.snapshot().get("native_steps", 0)
    model.prefill(0, [1, 2, 3], 0)
    model.decode([0], [4], [3])
    assert native.counters.snapshot()["native_steps"] == before + 2
