"""Floors against worked examples of published models and devices."""

import pytest

from vibeserve_tui.evaluation.roofline import Load, ModelShape, Roof, best_throughput, least_ttft_s

LLAMA_8B = ModelShape(layers=32, width=4096, heads=32, kv_heads=8, head_dim=128, ffn=14336, vocab=128256)
LLAMA_1B = ModelShape(layers=16, width=2048, heads=32, kv_heads=8, head_dim=64, ffn=8192, vocab=128256, tied=True)
TINY = ModelShape(layers=6, width=256, heads=8, kv_heads=4, head_dim=32, ffn=688, vocab=4096)
DECODING = Load(0, 100_000)


def test_shapes_count_their_parameters() -> None:
    assert LLAMA_8B.parameters / 1e9 == pytest.approx(8.030, abs=5e-4)
    assert LLAMA_8B.read_per_step / 1e9 == pytest.approx(7.505, abs=5e-4)
    assert LLAMA_1B.parameters == LLAMA_1B.read_per_step


@pytest.mark.parametrize(
    ("bandwidth", "bits", "tokens_per_s"), [(150e9, 8, 20.0), (3350e9, 16, 223.2), (4300e9, 16, 286.5)]
)
def test_decoding_alone_is_bound_by_reading_the_weights(bandwidth: float, bits: int, tokens_per_s: float) -> None:
    weights = LLAMA_8B.read_per_step * bits / 8
    best = best_throughput(LLAMA_8B, Roof(989e12, bandwidth), DECODING, bytes_per_token=weights)
    assert best == pytest.approx(tokens_per_s, rel=1e-3)


def test_a_first_token_is_bound_by_arithmetic() -> None:
    # With attention, which is left out here, 2.89 s and 14.7 ms.
    assert least_ttft_s(LLAMA_8B, Roof(6.44e12), 1300) == pytest.approx(2.82, abs=5e-3)
    assert least_ttft_s(LLAMA_8B, Roof(989e12), 1024) == pytest.approx(14.46e-3, abs=5e-5)


def test_an_unknown_ceiling_gives_no_floor() -> None:
    assert best_throughput(TINY, Roof(None), DECODING) is None
    assert best_throughput(TINY, Roof(None, 30e9), DECODING) is None, "nobody said what has to be read"
    assert best_throughput(TINY, Roof(None, 30e9), DECODING, bytes_per_token=1e6) == pytest.approx(30_000)
    assert least_ttft_s(TINY, Roof(None, 30e9), 100) is None


@pytest.mark.parametrize("concurrency", [1, 16])
def test_no_schedule_beats_the_floor(concurrency: int) -> None:
    """The best there is: prompts prefilled in one pass over the weights, then full batches of decode steps."""
    roof, prompt, output, weights = Roof(100e9, 30e9), 120, 48, 2 * TINY.read_per_step
    reading_s = output * weights / 30e9
    computing_s = concurrency * (TINY.prefill_flops(prompt) + (output - 1) * 2 * TINY.read_per_step) / 100e9
    best = concurrency * output / max(reading_s, computing_s)
    floor = best_throughput(TINY, roof, Load(prompt, output), bytes_per_token=weights / concurrency)
    assert floor == pytest.approx(best)


def test_a_request_for_one_token_costs_its_prefill() -> None:
    floor = best_throughput(TINY, Roof(100e9), Load(100, 1))
    assert floor == pytest.approx(100e9 / (2 * TINY.body * 100 + 2 * TINY.head))


def test_a_cached_prefix_raises_the_floor() -> None:
    whole, cached = (best_throughput(TINY, Roof(100e9), Load(prompt, 48)) for prompt in (512, 12))
    assert whole is not None
    assert cached is not None
    assert cached > whole
