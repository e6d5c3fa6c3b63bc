"""Random Llama-shaped checkpoints in safetensors, and what PyTorch computes for them.

PyTorch is imported where it is used: pytest imports this module in every worker, whatever that will run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sizes:
    num_hidden_layers: int = 2
    hidden_size: int = 64
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 16
    intermediate_size: int = 96
    vocab_size: int = 128
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = True


SIZES = {
    "round sizes": Sizes(),
    "odd sizes": Sizes(3, 50, 3, 1, 10, 33, 97, 1e-6, 500.0, False),
    "one head each": Sizes(1, 31, 2, 2, 6, 7, 13),
    "wide heads, large groups": Sizes(2, 112, 7, 1, 80, 130, 259, tie_word_embeddings=False),
}


def write(folder: Path, sizes: Sizes, *, dtype: str = "bfloat16", **config: object) -> Path:
    """A checkpoint whose weights depend on its sizes only; `dtype` is the name of torch's."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    described = {"model_type": "llama", "hidden_act": "silu", "eos_token_id": 2, **asdict(sizes), **config}
    (folder / "config.json").write_text(json.dumps(described), encoding="utf-8")
    generator = torch.Generator().manual_seed(0)
    tensors = {name: _scaled(torch.randn(shape, generator=generator)) for name, shape in _shapes(sizes).items()}
    stored = {name: tensor.to(getattr(torch, dtype)) for name, tensor in tensors.items()}
    save_file(stored, folder / "model.safetensors")
    return folder


def _scaled(drawn: Tensor) -> Tensor:
    """A projection keeps the size of what it is given; a norm's weights lie around one."""
    return drawn * drawn.shape[-1] ** -0.5 if drawn.ndim > 1 else 1 + drawn / 4


def _shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    hidden, ffn = sizes.hidden_size, sizes.intermediate_size
    q, kv = sizes.num_attention_heads * sizes.head_dim, sizes.num_key_value_heads * sizes.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens": (sizes.vocab_size, hidden),
        "model.norm": (hidden,),
    }
    for index in range(sizes.num_hidden_layers):
        shapes |= {
            f"model.layers.{index}.{name}": shape
            for name, shape in {
                "input_layernorm": (hidden,),
                "post_attention_layernorm": (hidden,),
                "self_attn.q_proj": (q, hidden),
                "self_attn.k_proj": (kv, hidden),
                "self_attn.v_proj": (kv, hidden),
                "self_attn.o_proj": (hidden, q),
                "mlp.gate_proj": (ffn, hidden),
                "mlp.up_proj": (ffn, hidden),
                "mlp.down_proj": (hidden, ffn),
            }.items()
        }
    if not sizes.tie_word_embeddings:
        shapes["lm_head"] = (sizes.vocab_size, hidden)
    return {f"{name}.weight": shape for name, shape in shapes.items()}


def torch_logits(folder: Path, sizes: Sizes, tokens: list[int]) -> Tensor:
    """Logits [tokens, vocab] of one causal pass in fp32, operator by operator as in Hugging Face's Llama."""
    import torch
    from safetensors.torch import load_file
    from torch.nn import functional

    stored = {name.removesuffix(".weight"): t.float() for name, t in load_file(folder / "model.safetensors").items()}
    inverse = 1.0 / sizes.rope_theta ** (torch.arange(0, sizes.head_dim, 2).float() / sizes.head_dim)
    angles = torch.outer(torch.arange(len(tokens)).float(), inverse).repeat(1, 2)
    cos, sin = angles.cos(), angles.sin()

    def rotate(x: Tensor) -> Tensor:
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat((-right, left), -1) * sin

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.rms_norm(x, (sizes.hidden_size,), stored[name], sizes.rms_norm_eps)

    x = stored["model.embed_tokens"][tokens]
    for index in range(sizes.num_hidden_layers):
        prefix = f"model.layers.{index}."
        h = norm(x, prefix + "input_layernorm")
        q, k, v = (
            functional.linear(h, stored[f"{prefix}self_attn.{part}_proj"])
            .view(len(tokens), -1, sizes.head_dim)
            .transpose(0, 1)
            for part in "qkv"
        )
        found = functional.scaled_dot_product_attention(
            rotate(q)[None], rotate(k)[None], v[None], is_causal=True, enable_gqa=True
        )
        x = x + functional.linear(found[0].transpose(0, 1).flatten(1), stored[prefix + "self_attn.o_proj"])
        h = norm(x, prefix + "post_attention_layernorm")
        gate, up = (functional.linear(h, stored[f"{prefix}mlp.{name}_proj"]) for name in ("gate", "up"))
        x = x + functional.linear(functional.silu(gate) * up, stored[prefix + "mlp.down_proj"])
    head = "model.embed_tokens" if sizes.tie_word_embeddings else "lm_head"
    return functional.linear(norm(x, "model.norm"), stored[head])
