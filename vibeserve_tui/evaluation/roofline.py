"""Physical floors of a decoder-only transformer: what no server on this device can beat.

Pure formulas over a model's shape and a device's ceilings. An unknown ceiling gives no bound, never a guess.
Time is at least the arithmetic over the peak, and at least the bytes that must move over the bandwidth. Attention and
the reading of the KV cache are left out, so every floor errs on the safe side.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that decide how much a token costs; one gated feed-forward network per layer."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    tied: bool = False
    """The embedding is also the head."""

    @property
    def body(self) -> int:
        """Parameters of all layers, norms left out."""
        queries_and_output = 2 * self.width * self.heads * self.head_dim
        keys_and_values = 2 * self.width * self.kv_heads * self.head_dim
        return self.layers * (queries_and_output + keys_and_values + 3 * self.width * self.ffn)

    @property
    def head(self) -> int:
        return self.vocab * self.width

    @property
    def parameters(self) -> int:
        return self.body + self.head * (1 if self.tied else 2)

    @property
    def read_per_step(self) -> int:
        """Weights that a decode step reads: looked-up embedding rows are negligible, a tied one is read as the head."""
        return self.body + self.head

    def prefill_flops(self, tokens: float) -> float:
        """Of a prompt, only whose last token passes the head."""
        return 2 * self.body * tokens + 2 * self.head


@dataclass(frozen=True, slots=True)
class Roof:
    """Ceilings of a device; None = unknown."""

    compute: float | None
    """FLOP per second, in the cheapest dtype that the target's accuracy class allows."""
    bandwidth: float | None = None
    """Bytes per second, at the size of the weights: a model in the last-level cache is not bound by DRAM."""


@dataclass(frozen=True, slots=True)
class Load:
    """A window's work, in means per request."""

    prompt_tokens: float
    """Without what of the prompt a cache may hold."""
    output_tokens: float


def best_throughput(shape: ModelShape, roof: Roof, load: Load, *, bytes_per_token: float = 0.0) -> float | None:
    """Output tokens per second; None if no ceiling is known.

    Every token but the last passes all layers, and every output token passes the head. `bytes_per_token` is what of the
    weights each of them makes the device read: a step reads all, for as many tokens as it yields.
    """
    work = shape.prefill_flops(load.prompt_tokens) + 2 * shape.read_per_step * (load.output_tokens - 1)
    seconds = [work / load.output_tokens / roof.compute] if roof.compute else []
    if roof.bandwidth and bytes_per_token:
        seconds.append(bytes_per_token / roof.bandwidth)
    return 1 / max(seconds) if seconds else None


def least_ttft_s(shape: ModelShape, roof: Roof, prompt_tokens: float) -> float | None:
    """Seconds to a first token; None if no ceiling is known."""
    return shape.prefill_flops(prompt_tokens) / roof.compute if roof.compute else None
