"""Physical floors of a decoder-only transformer: what no server on this device can beat.

Pure formulas over a model's shape and a device's ceilings. An unknown ceiling gives no bound, never a guess.
Time is at least the bytes that must move over the bandwidth, and at least the arithmetic over the peak.

A floor has two uses. Shown to people, `efficiency` = floor / measured says how far there is to go. In the gate,
`throughput_bound` and `prefill_floor` are hard: a figure beyond a measured ceiling is a broken measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

HARD_BOUND_SLACK = 1.05
"""A measured ceiling is a median; a figure this far beyond it is still believed."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that decide how much a token costs; one gated feed-forward network per layer."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    """Of a mixture of experts: the active experts together."""
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

    def kv_bytes(self, bytes_per_value: float) -> float:
        """KV cache of one token."""
        return 2 * self.layers * self.kv_heads * self.head_dim * bytes_per_value

    def attention_flops(self, context: float) -> float:
        """Of one token that attends to `context` tokens."""
        return 4 * self.layers * self.heads * self.head_dim * context


@dataclass(frozen=True, slots=True)
class Storage:
    """How many bytes a weight and a cached value take."""

    bytes_per_weight: float
    bytes_per_kv_value: float

    @classmethod
    def plain(cls, bits: int) -> Storage:
        return cls(bits / 8, bits / 8)

    @classmethod
    def grouped(cls, bits: int, group: int, *, scale_bits: int = 32, kv_bits: int = 16) -> Storage:
        """Quantised in groups; 32 bits of scale = fp16 scale and bias, as MLX stores them."""
        return cls((bits + scale_bits / group) / 8, kv_bits / 8)


@dataclass(frozen=True, slots=True)
class Roof:
    """Ceilings of a device; None = unknown."""

    bandwidth: float | None
    """Bytes per second, at the size of the weights: a model in the last-level cache is not bound by DRAM."""
    compute: float | None
    """FLOP per second, in the cheapest dtype that the target's accuracy class allows."""


@dataclass(frozen=True, slots=True)
class Floor:
    """A least time by either ceiling; None = that ceiling is unknown."""

    bandwidth_s: float | None
    compute_s: float | None

    @property
    def seconds(self) -> float | None:
        return max((s for s in (self.bandwidth_s, self.compute_s) if s is not None), default=None)

    @property
    def bound(self) -> str | None:
        """Which ceiling it is; None unless both are known."""
        if self.bandwidth_s is None or self.compute_s is None:
            return None
        return "bandwidth" if self.bandwidth_s >= self.compute_s else "compute"


@dataclass(frozen=True, slots=True)
class Load:
    """A window's work as the bound sees it."""

    prompt_tokens: float
    """Mean per request, without a shared prefix that may be cached."""
    output_tokens: float
    """Mean per request."""
    concurrency: int
    tokens_per_pass: float | None = 1.0
    """Tokens that one pass over the weights may yield per sequence; None = any number (predicted output)."""


def decode_floor(shape: ModelShape, storage: Storage, roof: Roof, *, batch: int = 1, context: int = 0) -> Floor:
    """One decode step of `batch` sequences with `context` cached tokens each."""
    moved = shape.read_per_step * storage.bytes_per_weight
    moved += batch * context * shape.kv_bytes(storage.bytes_per_kv_value)
    work = batch * (2 * shape.read_per_step + shape.attention_flops(context))
    return _floor(moved, work, roof)


def prefill_floor(shape: ModelShape, storage: Storage, roof: Roof, *, tokens: int, chunk: int | None = None) -> Floor:
    """One prompt of `tokens` tokens, in chunks of `chunk`; only its last token passes the head."""
    passes = -(-tokens // (chunk or tokens))
    # A token attends to half of the prompt on average.
    work = 2 * shape.body * tokens + 2 * shape.head + tokens * shape.attention_flops(tokens / 2)
    return _floor(passes * shape.body * storage.bytes_per_weight, work, roof)


def speculative_cycle(verify_s: float, draft_s: float, drafted: int, accepted: float) -> tuple[float, float]:
    """Seconds per cycle, and tokens per cycle: the accepted drafts and the target's own token."""
    return verify_s + drafted * draft_s, accepted + 1


def throughput_bound(shape: ModelShape, storage: Storage, roof: Roof, load: Load) -> float | None:
    """Output tokens per second that nothing honest exceeds; None if no ceiling is known.

    Every token but the last passes all layers and every output token passes the head; a pass over the weights serves at
    most all running sequences. Attention and the reading of the KV cache are left out, so the bound errs on the safe
    side.
    """
    work = 2 * shape.body * (load.prompt_tokens + load.output_tokens - 1) + 2 * shape.head * load.output_tokens
    seconds = [] if roof.compute is None else [work / load.output_tokens / roof.compute]
    if roof.bandwidth is not None and load.tokens_per_pass is not None:
        moved = shape.read_per_step * storage.bytes_per_weight / (load.concurrency * load.tokens_per_pass)
        seconds.append(moved / roof.bandwidth)
    return HARD_BOUND_SLACK / max(seconds) if seconds else None


def efficiency(floor_s: float | None, measured_s: float | None) -> float | None:
    """Floor over measured time: 1 = nothing left to gain; None if either is unknown."""
    if floor_s is None or measured_s is None or measured_s <= 0:
        return None
    return floor_s / measured_s


def _floor(moved: float, work: float, roof: Roof) -> Floor:
    return Floor(
        bandwidth_s=None if roof.bandwidth is None else moved / roof.bandwidth,
        compute_s=None if roof.compute is None else work / roof.compute,
    )
