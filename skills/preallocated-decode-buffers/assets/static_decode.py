"""One decode step out of few, large operations that write into buffers allocated once.

On a small model a step is bound by the number of operations, not by their arithmetic. Four things are done while
loading instead of in every step:

- query, key and value projections become one matrix, gate and up another;
- norm weights and the scale of attention are multiplied into the matrices that follow them;
- the columns of the first matrix are grouped by key/value head, as [its queries | key | value], so that scores are
  one batched product over (row, key/value head) and nothing is repeated or copied for grouped-query attention;
- every view that a step needs is made once per batch size and length, rounded up to a bucket.

Sums run in another order than in the layers they replace: logits differ by rounding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from server import counters
from server.layers import Shape

silu_into = torch.ops.aten.silu.out


@dataclass(frozen=True)
class Matrices:
    """One layer's weights, ready for x · W."""

    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass(frozen=True)
class Buffers:
    """Everything a step writes to, and the views it reads, for one number of rows and one length."""

    x: Tensor
    length: Tensor
    normed: Tensor
    qkv: Tensor
    pairs: Tensor
    """qkv as complex numbers: what rotary embedding turns."""
    q: Tensor
    k: Tensor
    v: Tensor
    scores: Tensor
    found: Tensor
    found_rows: Tensor
    gate_up: Tensor
    gate: Tensor
    up: Tensor
    inner: Tensor
    logits: Tensor
    past: list[tuple[Tensor, Tensor]]
    """Per layer: keys transposed [rows · kv_heads, head_dim, length] and values [rows · kv_heads, length, head_dim]."""


@dataclass(frozen=True)
class Step:
    """Where the rows of one step stand: the same for all layers."""

    turns: Tensor
    places: Tensor
    """Rows of a layer's cache that take the new keys and values."""
    mask: Tensor
    """[rows · kv_heads, 1, length]: -inf where a row may not look."""


class StaticDecode:
    def __init__(self, weights: dict[str, Tensor], shape: Shape, keys: Tensor, values: Tensor, bucket: int) -> None:
        self._shape = shape
        self._bucket = bucket
        self._keys, self._values = keys, values
        # One row per position of a head of a slot, where a step stores what it adds.
        self._cache = [(k.view(-1, shape.head_dim), v.view(-1, shape.head_dim)) for k, v in zip(keys, values)]
        self._embedding = weights["embed_tokens"]
        self._layers = [self._matrices(weights, f"layers.{index}.") for index in range(shape.layers)]
        self._head = _columns(weights["lm_head"], weights["norm"])
        # |x| and this number, as the sides of a right angle, give the root mean square with its epsilon.
        self._epsilon = torch.tensor((shape.hidden * shape.eps) ** 0.5)
        self._buffers: dict[tuple[int, int], Buffers] = {}

    def _matrices(self, weights: dict[str, Tensor], prefix: str) -> Matrices:
        shape = self._shape
        per_head = [weights[f"{prefix}self_attn.{name}_proj"].view(shape.kv_heads, -1, shape.hidden) for name in "qkv"]
        per_head[0] = per_head[0] * shape.head_dim**-0.5
        gate_up = torch.cat([weights[f"{prefix}mlp.{name}_proj"] for name in ("gate", "up")])
        return Matrices(
            qkv=_columns(torch.cat(per_head, dim=1).flatten(0, 1), weights[prefix + "input_layernorm"]),
            out=weights[prefix + "self_attn.o_proj"].t().contiguous(),
            gate_up=_columns(gate_up, weights[prefix + "post_attention_layernorm"]),
            down=weights[prefix + "mlp.down_proj"].t().contiguous(),
        )

    def turns(self, turns: Tensor) -> Tensor:
        """Rotary factors [positions, 1, head_dim / 2] laid out like a row of qkv; values turn by nothing."""
        shape = self._shape
        still = torch.ones_like(turns).expand(-1, 1, -1)
        one_head = torch.cat([turns.expand(-1, shape.group + 1, -1), still], dim=1)
        return one_head.repeat(1, shape.kv_heads, 1).flatten(1)

    def step(self, ids: Tensor, turns: Tensor, positions: Tensor, places: Tensor, length: int) -> Tensor:
        """Row i is slot i: its newest token, the rotary factors and the cache rows of its position."""
        length = -(-length // self._bucket) * self._bucket
        b = self._buffers_for(len(ids), min(length, self._keys.shape[3]))
        step = Step(turns, places, self._mask(positions, b.scores.shape[2]))
        torch.index_select(self._embedding, 0, ids, out=b.x)
        for layer, matrices in enumerate(self._layers):
            self._attention(b, layer, step)
            self._mlp(b, matrices)
        self._norm(b)
        counters.add("static_buffer_steps")
        return torch.mm(b.normed, self._head, out=b.logits)

    def _attention(self, b: Buffers, layer: int, step: Step) -> None:
        matrices, (keys, values), (past_keys, past_values) = self._layers[layer], self._cache[layer], b.past[layer]
        self._norm(b)
        torch.mm(b.normed, matrices.qkv, out=b.qkv)
        torch.mul(b.pairs, step.turns, out=b.pairs)
        keys.index_copy_(0, step.places, b.k)
        values.index_copy_(0, step.places, b.v)
        torch.baddbmm(step.mask, b.q, past_keys, out=b.scores)
        torch.softmax(b.scores, -1, out=b.scores)
        torch.bmm(b.scores, past_values, out=b.found)
        torch.addmm(b.x, b.found_rows, matrices.out, out=b.x)

    def _mlp(self, b: Buffers, matrices: Matrices) -> None:
        self._norm(b)
        torch.mm(b.normed, matrices.gate_up, out=b.gate_up)
        silu_into(b.gate, out=b.inner)
        torch.mul(b.inner, b.up, out=b.inner)
        torch.addmm(b.x, b.inner, matrices.down, out=b.x)

    def _norm(self, b: Buffers) -> None:
        """RMS norm up to a constant factor and the weights, both of which are in the next matrix."""
        torch.linalg.vector_norm(b.x, dim=-1, keepdim=True, out=b.length)
        torch.hypot(b.length, self._epsilon, out=b.length)
        torch.div(b.x, b.length, out=b.normed)

    def _mask(self, positions: Tensor, length: int) -> Tensor:
        later = torch.arange(length) > positions.unsqueeze(1)
        mask = torch.zeros(len(positions), length).masked_fill_(later, float("-inf"))
        return mask.repeat_interleave(self._shape.kv_heads, 0).unsqueeze(1)

    def _buffers_for(self, rows: int, length: int) -> Buffers:
        if (rows, length) not in self._buffers:
            self._buffers[rows, length] = self._make_buffers(rows, length)
        return self._buffers[rows, length]

    def _make_buffers(self, rows: int, length: int) -> Buffers:
        shape = self._shape
        group, head_dim, batch = shape.group, shape.head_dim, rows * shape.kv_heads
        inner = self._layers[0].down.shape[0]
        qkv = torch.empty(rows, shape.kv_heads * (group + 2) * head_dim)
        by_head = qkv.view(batch, group + 2, head_dim)
        gate_up, found = torch.empty(rows, 2 * inner), torch.empty(batch, group, head_dim)
        past = [
            (k[:rows, :, :length].flatten(0, 1), v[:rows, :, :length].flatten(0, 1))
            for k, v in zip(self._keys, self._values)
        ]
        return Buffers(
            x=torch.empty(rows, shape.hidden),
            length=torch.empty(rows, 1),
            normed=torch.empty(rows, shape.hidden),
            qkv=qkv,
            pairs=torch.view_as_complex(qkv.view(rows, -1, 2)),
            q=by_head[:, :group],
            k=by_head[:, group],
            v=by_head[:, group + 1],
            scores=torch.empty(batch, group, length),
            found=found,
            found_rows=found.view(rows, -1),
            gate_up=gate_up,
            gate=gate_up[:, :inner],
            up=gate_up[:, inner:],
            inner=torch.empty(rows, inner),
            logits=torch.empty(rows, shape.vocab),
            past=[(k.transpose(1, 2), v) for k, v in past],
        )


def _columns(weight: Tensor, norm_weight: Tensor) -> Tensor:
    """A projection after a norm, for x · W: norm weights and the square root that the norm leaves out multiplied in."""
    return (weight * (norm_weight * weight.shape[1] ** 0.5)).t().contiguous()
