"""The decoder layers of a Llama-shaped model: weights, norms and projections. They know no cache and no schedule.

Differences from the published layout, made once while loading: the rows of the query and key projections are
reordered so that the two numbers that rotary embedding turns together are neighbours. Scores do not change,
because queries and keys are reordered alike, and the rotation becomes one complex multiplication.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from server import counters


@dataclass(frozen=True)
class Shape:
    """The numbers of config.json that matter here."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    eps: float
    theta: float
    eos: int

    @property
    def group(self) -> int:
        """Query heads that share one key/value head."""
        return self.heads // self.kv_heads


def read_shape(model_dir: Path) -> Shape:
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=hidden,
        heads=heads,
        kv_heads=config["num_key_value_heads"],
        head_dim=config.get("head_dim") or hidden // heads,
        vocab=config["vocab_size"],
        eps=config["rms_norm_eps"],
        theta=config.get("rope_theta") or config["rope_parameters"]["rope_theta"],
        eos=config["eos_token_id"],
    )


def read_weights(model_dir: Path, shape: Shape, dtype: torch.dtype) -> dict[str, Tensor]:
    """Names as in the checkpoint without `model.` and `.weight`, in the dtype of the arithmetic."""
    stored = load_file(model_dir / "model.safetensors")
    weights = {name.removeprefix("model.").removesuffix(".weight"): tensor.to(dtype) for name, tensor in stored.items()}
    weights.setdefault("lm_head", weights["embed_tokens"])
    for layer in range(shape.layers):
        for name in ("q_proj", "k_proj"):
            key = f"layers.{layer}.self_attn.{name}"
            weights[key] = _pair_rotated_rows(weights[key], shape.head_dim)
    counters.add(f"weights_{str(dtype).removeprefix('torch.')}", len(stored))
    return weights


def _pair_rotated_rows(weight: Tensor, head_dim: int) -> Tensor:
    """Rows 0..n-1 and n..2n-1 of each head, which turn together, become pairs (0, n), (1, n+1), …"""
    heads = weight.view(-1, 2, head_dim // 2, weight.shape[1])
    return heads.transpose(1, 2).reshape(weight.shape).contiguous()


def rotations(shape: Shape, length: int) -> Tensor:
    """The rotary factors of positions 0..length-1: complex numbers of absolute value one, [length, 1, head_dim / 2]."""
    exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
    angles = torch.outer(torch.arange(length, dtype=torch.float32), 1.0 / shape.theta**exponents)
    return torch.polar(torch.ones_like(angles), angles).unsqueeze(1)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Apply rotary factors [rows, 1, head_dim / 2] to [rows, heads, head_dim]."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


# region: linear
class Linear:
    """x → x · weightᵀ"""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


# endregion: linear


# region: projections
class Layer:
    """One decoder layer but for the attention itself; x is [rows, hidden]."""

    def __init__(self, weights: dict[str, Tensor], index: int, shape: Shape) -> None:
        prefix = f"layers.{index}."
        self._shape = shape
        self._input_norm = weights[prefix + "input_layernorm"]
        self._mlp_norm = weights[prefix + "post_attention_layernorm"]
        self._q, self._k, self._v, self._o = (Linear(weights[f"{prefix}self_attn.{name}_proj"]) for name in "qkvo")
        self._gate, self._up, self._down = (Linear(weights[f"{prefix}mlp.{n}_proj"]) for n in ("gate", "up", "down"))

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [rows, heads, head_dim], keys and values [rows, kv_heads, head_dim], none of them rotated yet."""
        head_dim = self._shape.head_dim
        x = norm(x, self._input_norm, self._shape.eps)
        return (
            self._q(x).view(len(x), -1, head_dim),
            self._k(x).view(len(x), -1, head_dim),
            self._v(x).view(len(x), -1, head_dim),
        )

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add what attention found, then the feed-forward part."""
        x = x + self._o(attended)
        h = norm(x, self._mlp_norm, self._shape.eps)
        return x + self._down(F.silu(self._gate(h)) * self._up(h))


# endregion: projections


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, weight.shape, weight, eps)
