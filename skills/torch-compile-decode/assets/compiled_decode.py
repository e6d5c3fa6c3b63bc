"""One decoder layer of the decode step through torch.compile, for a few batch sizes, all of them ready before READY.

A compiled function is specialised on shapes. Batch sizes are rounded up to a few buckets; the length of the past is
declared dynamic, so that it does not count. All layers run the same code, which therefore is compiled once per
bucket: caches and weights are arguments. Compiled code is kept in the build folder.
"""

import os

import torch
import torch.nn.functional as F
from torch import Tensor

from server import counters
from server.config import Config
from server.layers import Shape, norm

NAMES = (
    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip


class CompiledDecode:
    def __init__(
        self, weights: dict[str, Tensor], shape: Shape, keys: Tensor, values: Tensor, turns: Tensor, config: Config
    ) -> None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(config.build_dir / "inductor")
        # Compiling in this process: a pool of helpers costs more to start than these few functions to compile.
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
        self._shape = shape
        self._embedding = weights["embed_tokens"]
        self._turns = torch.view_as_real(turns)
        self._layers = [
            (keys[i], values[i], [weights[f"layers.{i}.{name}"] for name in NAMES]) for i in range(shape.layers)
        ]
        batch = config.integer("max_batch")
        self._buckets = sorted({max(1, batch // 4**power) for power in range(config.integer("row_buckets"))})
        self._layer = torch.compile(_layer, dynamic=False)

    def bucket(self, rows: int) -> int:
        return next(size for size in self._buckets if size >= rows)

    def warm_up(self) -> None:
        """Two lengths each: the second would show if anything were specialised on the first."""
        for size in self._buckets:
            at = torch.full((size,), len(self._turns) - 1)
            for length in (3, 40):
                self(torch.zeros(size, dtype=torch.long), at, length)

    @torch.inference_mode()
    def __call__(self, ids: Tensor, at: Tensor, length: int) -> Tensor:
        mask = torch.zeros(len(ids), 1, 1, length)
        mask.masked_fill_((torch.arange(length) > at.unsqueeze(1)).view(-1, 1, 1, length), float("-inf"))
        torch._dynamo.mark_dynamic(mask, 3)
        x, turns = F.embedding(ids, self._embedding), self._turns[at]
        slots = torch.arange(len(ids))
        for keys, values, weights in self._layers:
            x = self._layer(x, turns, slots, at, mask, keys, values, weights, self._shape)
        counters.add("compiled_steps")
        return x


def _layer(
    x: Tensor, turns: Tensor, slots: Tensor, at: Tensor, mask: Tensor, keys: Tensor, values: Tensor,
    weights: list[Tensor], shape: Shape,
) -> Tensor:  # fmt: skip
    input_norm, to_q, to_k, to_v, to_o, mlp_norm, to_gate, to_up, to_down = weights
    rows, length, head_dim = len(x), mask.shape[3], shape.head_dim
    h = norm(x, input_norm, shape.eps)
    q = _rotate(F.linear(h, to_q).view(rows, -1, head_dim), turns)
    # Plain indexed assignment: the compiler does it in place, where index_copy_ would copy the whole cache.
    keys[slots, :, at] = _rotate(F.linear(h, to_k).view(rows, -1, head_dim), turns)
    values[slots, :, at] = F.linear(h, to_v).view(rows, -1, head_dim)
    past = keys[:rows, :, :length], values[:rows, :, :length]
    found = F.scaled_dot_product_attention(q.unsqueeze(2), *past, attn_mask=mask, enable_gqa=True)
    x = x + F.linear(found.flatten(1), to_o)
    h = norm(x, mlp_norm, shape.eps)
    return x + F.linear(F.silu(F.linear(h, to_gate)) * F.linear(h, to_up), to_down)


def _rotate(x: Tensor, turns: Tensor) -> Tensor:
    """As `rotate` of layers.py, in real numbers: the compiler has no complex ones."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = turns.unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
