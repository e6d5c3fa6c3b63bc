"""Floors against worked examples of published models and devices."""

import pytest

from vibeserve_tui.evaluation.roofline import (
    Load,
    ModelShape,
    Roof,
    Storage,
    decode_floor,
    efficiency,
    prefill_floor,
    speculative_cycle,
    throughput_bound,
)

LLAMA_8B = ModelShape(layers=32, width=4096, heads=32, kv_heads=8, head_dim=128, ffn=14336, vocab=128256)
LLAMA_1B = ModelShape(layers=16, width=2048, heads=32, kv_heads=8, head_dim=64, ffn=8192, vocab=128256, tied=True)
TINY = ModelShape(layers=6, width=256, heads=8, kv_heads=4, head_dim=32, ffn=688, vocab=4096)
BF16 = Storage.plain(16)
Q8, Q4 = Storage.grouped(8, 64), Storage.grouped(4, 64)
M3_PRO = Roof(bandwidth=150e9, compute=6.44e12)
H100 = Roof(bandwidth=3350e9, compute=989e12)


def test_shapes_count_their_parameters() -> None:
    assert LLAMA_8B.parameters / 1e9 == pytest.approx(8.030, abs=5e-4)
    assert LLAMA_8B.read_per_step / 1e9 == pytest.approx(7.505, abs=5e-4)
    assert LLAMA_8B.kv_bytes(2) == 131_072
    assert LLAMA_1B.parameters == LLAMA_1B.read_per_step


def test_group_scales_count_as_weight() -> None:
    assert (Q8.bytes_per_weight, Q4.bytes_per_weight) == (1.0625, 0.5625)


def test_an_8_bit_8b_model_on_a_laptop_decodes_18_tokens_a_second_at_best() -> None:
    step = decode_floor(LLAMA_8B, Q8, M3_PRO, context=1428)
    assert step.seconds == pytest.approx(54.4e-3, abs=5e-5)
    assert step.bound == "bandwidth"


def test_prefill_is_bound_by_arithmetic() -> None:
    prompt = prefill_floor(LLAMA_8B, Q8, M3_PRO, tokens=1300)
    assert prompt.seconds == pytest.approx(2.89, abs=5e-3)
    assert prompt.bound == "compute"
    assert prefill_floor(LLAMA_8B, Q8, Roof(150e9, 5.01e12), tokens=1300).seconds == pytest.approx(3.71, abs=5e-3)
    assert prefill_floor(LLAMA_8B, BF16, H100, tokens=1024).seconds == pytest.approx(14.7e-3, abs=5e-5)


def test_small_chunks_read_the_weights_more_often() -> None:
    whole = prefill_floor(LLAMA_8B, Q8, M3_PRO, tokens=1300)
    chunked = prefill_floor(LLAMA_8B, Q8, M3_PRO, tokens=1300, chunk=256)
    assert whole.bandwidth_s is not None
    assert chunked.bandwidth_s == pytest.approx(6 * whole.bandwidth_s)
    assert chunked.compute_s == whole.compute_s


@pytest.mark.parametrize(("accepted", "seconds"), [(1.5, 10.5), (2.0, 9.2), (2.5, 8.3), (3.0, 7.6)])
def test_speculation_pays_by_its_acceptance(accepted: float, seconds: float) -> None:
    verify = decode_floor(LLAMA_8B, Q8, M3_PRO, context=1428).seconds
    draft = decode_floor(LLAMA_1B, Q4, M3_PRO, context=1428).seconds
    prompt = prefill_floor(LLAMA_8B, Q8, M3_PRO, tokens=1300).seconds
    assert verify is not None
    assert draft is not None
    assert prompt is not None
    cycle_s, tokens = speculative_cycle(verify, draft, 4, accepted)
    assert cycle_s == pytest.approx(74.2e-3, abs=5e-5)
    assert prompt + 256 / tokens * cycle_s == pytest.approx(seconds, abs=0.05)


@pytest.mark.parametrize(
    ("batch", "tokens_per_s"), [(1, 221), (8, 1666), (32, 5553), (64, 9085), (128, 13321), (256, 17371)]
)
def test_a_batch_on_an_h100_stays_bound_by_bandwidth(batch: int, tokens_per_s: int) -> None:
    step = decode_floor(LLAMA_8B, BF16, H100, batch=batch, context=1024)
    assert step.seconds is not None
    assert round(batch / step.seconds) == tokens_per_s
    assert step.bound == "bandwidth"


def test_a_measured_ceiling_gives_the_measured_floor() -> None:
    step = decode_floor(LLAMA_8B, BF16, Roof(4300e9, 790e12), context=512)
    assert step.seconds == pytest.approx(3.51e-3, abs=5e-6)


def test_the_tiny_model_moves_21_6_mb_a_step() -> None:
    step = decode_floor(TINY, Storage.plain(32), Roof(30e9, None))
    assert step.bandwidth_s == pytest.approx(0.72e-3, abs=5e-6)
    assert step.compute_s is None
    assert efficiency(step.seconds, 3.2e-3) == pytest.approx(0.225, abs=5e-3)


def test_an_unknown_ceiling_gives_no_bound() -> None:
    unknown = Roof(None, None)
    assert decode_floor(TINY, BF16, unknown).seconds is None
    assert decode_floor(TINY, BF16, unknown).bound is None
    assert throughput_bound(TINY, BF16, unknown, Load(100, 48, 16)) is None
    assert efficiency(None, 1.0) is None
    assert efficiency(0.5, None) is None
    assert efficiency(0.5, 0.0) is None


@pytest.mark.parametrize("concurrency", [1, 16])
def test_no_schedule_beats_the_throughput_bound(concurrency: int) -> None:
    """The best there is: prompts prefilled in one pass over the weights, then full batches of decode steps."""
    roof, prompt_tokens, output_tokens = Roof(30e9, 100e9), 120, 48
    prefill = prefill_floor(TINY, BF16, roof, tokens=prompt_tokens)
    step = decode_floor(TINY, BF16, roof, batch=concurrency, context=prompt_tokens)
    assert prefill.bandwidth_s is not None
    assert prefill.compute_s is not None
    assert step.bandwidth_s is not None
    assert step.compute_s is not None
    reading_s = prefill.bandwidth_s + (output_tokens - 1) * step.bandwidth_s
    computing_s = concurrency * prefill.compute_s + (output_tokens - 1) * step.compute_s
    best = concurrency * output_tokens / max(reading_s, computing_s)
    bound = throughput_bound(TINY, BF16, roof, Load(prompt_tokens, output_tokens, concurrency))
    assert bound is not None
    assert 0.8 * bound < best < bound


def test_the_bound_is_tight_for_pure_decoding() -> None:
    roof = Roof(30e9, None)
    step = decode_floor(TINY, BF16, roof, batch=16).seconds
    bound = throughput_bound(TINY, BF16, roof, Load(0, 1000, 16))
    assert step is not None
    assert bound == pytest.approx(1.05 * 16 / step)


def test_a_request_for_one_token_costs_its_prefill() -> None:
    bound = throughput_bound(TINY, BF16, Roof(None, 100e9), Load(100, 1, 16))
    assert bound == pytest.approx(1.05 * 100e9 / (2 * TINY.body * 100 + 2 * TINY.head))


def test_several_tokens_per_pass_lift_the_bandwidth_bound_and_never_the_compute_bound() -> None:
    slow_memory = Roof(1e9, 1e15)
    plain = throughput_bound(TINY, BF16, slow_memory, Load(0, 48, 1))
    speculative = throughput_bound(TINY, BF16, slow_memory, Load(0, 48, 1, tokens_per_pass=5))
    assert plain is not None
    assert speculative == pytest.approx(5 * plain)
    predicted = throughput_bound(TINY, BF16, slow_memory, Load(0, 48, 1, tokens_per_pass=None))
    compute_only = throughput_bound(TINY, BF16, Roof(None, 1e15), Load(0, 48, 1))
    assert predicted == compute_only


def test_a_cached_prefix_raises_the_bound() -> None:
    roof = Roof(None, 100e9)
    whole = throughput_bound(TINY, BF16, roof, Load(512, 48, 16))
    cached = throughput_bound(TINY, BF16, roof, Load(12, 48, 16))
    assert whole is not None
    assert cached is not None
    assert cached > whole
