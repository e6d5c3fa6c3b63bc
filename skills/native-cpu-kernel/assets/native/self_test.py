"""One forward pass of the real weights in plain numpy, against which every freshly started kernel is checked.

It covers what differs between kernel and reference: packing, rotary tables, cache layout, prefill, decode and copied prefixes.
"""

import numpy as np

from server.native.kernel import Kernel, Room
from server.native.shape import Shape, Unavailable
from server.native.weights import Weights, quantise, rotary_tables

TOKENS = 24
"""More than one vector of positions, on every instruction set."""
PREFILLED = 19
COPIED = 13
TOLERANCE = 1e-3
"""Of the largest logit. Rounding in another order gives about 1e-6, any mistake in the layout about 1."""


def check(kernel: Kernel, shape: Shape, weights: Weights, room: Room) -> None:
    """Raises Unavailable when the kernel's logits are not those of the reference."""
    tokens = np.random.default_rng(0).integers(shape.vocab, size=TOKENS).tolist()
    expected = reference_logits(shape, weights, room.storage, tokens)
    allowed = TOLERANCE * np.abs(expected).max()

    def compare(name: str, found: np.ndarray, position: int) -> None:
        error = np.abs(found - expected[position]).max()
        if not error <= allowed:  # also when it is NaN
            raise Unavailable(f"self-test: logits of {name} are off by {error:.3g}, allowed is {allowed:.3g}")

    prefilled = kernel.run(tokens[:PREFILLED], range(PREFILLED), [0] * PREFILLED, [1] * PREFILLED)
    for position in range(PREFILLED):
        compare("prefill", prefilled.row(position), position)
    starts = [PREFILLED, COPIED][: room.slots]
    if room.slots > 1:
        kernel.copy_prefix(0, 1, COPIED)
    for step in range(TOKENS - PREFILLED):
        positions = [start + step for start in starts]
        decoded = kernel.run([tokens[at] for at in positions], positions, range(len(starts)), [1] * len(starts))
        for row, position in enumerate(positions):
            compare("decode", decoded.row(row), position)


def reference_logits(shape: Shape, weights: Weights, storage: str, tokens: list[int]) -> np.ndarray:
    """Logits [tokens, vocab] of one causal forward pass."""
    cos, sin = rotary_tables(len(tokens), shape.head_dim, shape.rope_theta)

    def times(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        if storage == "int8_t":
            values, scales = quantise(matrix)
            matrix = values * scales[:, None]
        return x @ matrix.T

    def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(shape.rms_eps)) * weight

    x = weights.embedding[tokens]
    for layer in weights.layers():
        qkv = times(norm(x, layer.attention_norm), layer.qkv).reshape(len(tokens), -1, shape.head_dim)
        x = x + times(_attention(qkv, shape, cos, sin), layer.out)
        h = norm(x, layer.ffn_norm)
        gate = times(h, layer.gate)
        x = x + times(gate / (1 + np.exp(-gate)) * times(h, layer.up), layer.down)
    return times(norm(x, weights.final_norm), weights.head)


def _attention(qkv: np.ndarray, shape: Shape, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """From [tokens, heads of q, k and v, head_dim] to [tokens, heads of q × head_dim]."""
    heads = shape.heads + shape.kv_heads
    rotated = _rotate(qkv[:, :heads], cos[:, None], sin[:, None]).transpose(1, 0, 2)
    group = shape.heads // shape.kv_heads
    q, k = rotated[: shape.heads], rotated[shape.heads :].repeat(group, axis=0)
    v = qkv[:, heads:].transpose(1, 0, 2).repeat(group, axis=0)
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(np.float32(shape.head_dim))
    scores += np.triu(np.full_like(scores, -np.inf), 1)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return (weights @ v).transpose(1, 0, 2).reshape(len(qkv), -1)


def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    left, right = np.split(x, 2, axis=-1)
    return np.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)
