"""The kernel against PyTorch in fp32: every instruction set that runs here, odd sizes, and the shipped model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.native_kernel.checkpoints import SIZES, torch_logits, write

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "targets/tiny-llama-chat/reference/model"
CPU = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
VARIANTS = [
    pytest.param("avx512", marks=pytest.mark.skipif("avx512f" not in CPU, reason="no AVX-512 here")),
    pytest.param("avx2", marks=[pytest.mark.slow, pytest.mark.skipif("avx2" not in CPU, reason="no AVX2 here")]),
    pytest.param("scalar", marks=pytest.mark.slow),
]
SLOW_SIZES = [pytest.param(name, marks=pytest.mark.slow) for name in SIZES if name != "odd sizes"]


def draw(vocab: int, count: int) -> list[int]:
    return np.random.default_rng(1).integers(vocab, size=count).tolist()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes_name", ["odd sizes", *SLOW_SIZES])
def test_logits_of_prefill_and_of_decode_are_those_of_pytorch(
    sizes_name: str, variant: str, tmp_path: Path, open_native: Callable[..., Any]
) -> None:
    sizes = SIZES[sizes_name]
    folder = write(tmp_path, sizes)
    # More rows than one tile of the kernel, so that its seams are crossed too.
    tokens = draw(sizes.vocab_size, 110)
    expected = torch_logits(folder, sizes, tokens).numpy()
    model = open_native(folder, variant=variant)

    prefilled = model.extend(1, tokens[:100], 0)
    found = [prefilled.row(at).copy() for at in range(100)]
    found += [model.decode([1], [tokens[at]], [at]).row(0).copy() for at in range(100, 110)]

    assert model.kernel == f"native-{variant}"
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("clang++"), reason="no Clang here")
@pytest.mark.parametrize("variant", VARIANTS)
def test_clang_builds_the_same_kernel(
    variant: str, tmp_path: Path, native: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native.build, "COMPILERS", ("clang++",))
    folder = write(tmp_path / "model", SIZES["odd sizes"])
    settings = native.Settings(threads=2, slots=2, max_len=64, weights="lossless", variant=variant)
    assert native.open_native(folder, tmp_path / "build", settings).kernel == f"native-{variant}"


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_greedy_tokens_of_the_shipped_model_are_those_of_transformers(
    variant: str, open_native: Callable[..., Any]
) -> None:
    prompts = shipped_prompts(8)
    expected = transformers_greedy(prompts, 32)
    model = open_native(SHIPPED, variant=variant, slots=8, max_len=512)

    answers = [[token] for token in model.prefill_many(range(8), prompts, [0] * 8).argmax()]
    for step in range(31):
        newest = [answer[-1] for answer in answers]
        positions = [len(prompt) + step for prompt in prompts]
        for answer, token in zip(answers, model.decode(range(8), newest, positions).argmax(), strict=True):
            answer.append(token)

    assert answers == expected


def shipped_prompts(count: int) -> list[list[int]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))
    texts = [f"<|bos|><|user|>Write the Python function number_{i}(self, *values).<|assistant|>" for i in range(count)]
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def transformers_greedy(prompts: list[list[int]], count: int) -> list[list[int]]:
    import torch
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32).eval()
    greedy = {"max_new_tokens": count, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    return [reference.generate(torch.tensor([prompt]), **greedy)[0, len(prompt) :].tolist() for prompt in prompts]


@pytest.mark.parametrize(("dtype", "storage"), [("bfloat16", "bf16"), ("float32", "float"), ("float16", "float")])
def test_weights_are_stored_in_half_only_where_that_loses_nothing(
    dtype: str, storage: str, tmp_path: Path, native: Any
) -> None:
    folder = write(tmp_path, SIZES["one head each"], dtype=dtype)
    weights = native.Weights(native.Checkpoint(folder), native.Shape.read(folder))
    assert weights.lossless_storage() == storage


def test_weights_that_need_fp32_give_the_logits_of_pytorch(tmp_path: Path, open_native: Callable[..., Any]) -> None:
    sizes = SIZES["odd sizes"]
    folder = write(tmp_path, sizes, dtype="float32")
    tokens = draw(sizes.vocab_size, 40)
    expected = torch_logits(folder, sizes, tokens).numpy()
    found = open_native(folder).extend(0, tokens, 0)
    rows = [found.row(at) for at in range(40)]
    np.testing.assert_allclose(rows, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
