"""What the kernel is compiled for: the sizes of one Llama-shaped model, read from its config.json.

A model that the kernel would compute wrongly is refused here, by name of what it has and the kernel lacks.
"""

import json
from dataclasses import dataclass
from pathlib import Path


class Unavailable(Exception):
    """The native kernel cannot serve here; the message says why, in a few words."""


@dataclass(frozen=True)
class Shape:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    rms_eps: float
    rope_theta: float
    tied: bool
    eos: int | None

    @classmethod
    def read(cls, model_dir: Path) -> "Shape":
        config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
        try:
            return cls._of(config)
        except KeyError as missing:
            raise Unavailable(f"config.json has no {missing}") from missing

    @classmethod
    def _of(cls, config: dict) -> "Shape":
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        _refuse_others(config, rope)
        heads, hidden = config["num_attention_heads"], config["hidden_size"]
        return cls(
            layers=config["num_hidden_layers"],
            hidden=hidden,
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or hidden // heads,
            ffn=config["intermediate_size"],
            vocab=config["vocab_size"],
            rms_eps=config["rms_norm_eps"],
            rope_theta=rope.get("rope_theta") or config.get("rope_theta", 10000.0),
            tied=config.get("tie_word_embeddings", False),
            eos=config.get("eos_token_id"),
        )

    @property
    def defines(self) -> tuple[str, ...]:
        """The sizes as compiler flags."""
        sizes = {
            "LAYERS": self.layers,
            "HIDDEN": self.hidden,
            "HEADS": self.heads,
            "KV_HEADS": self.kv_heads,
            "HEAD_DIM": self.head_dim,
            "FFN": self.ffn,
            "VOCAB": self.vocab,
            "RMS_EPS": f"{self.rms_eps:e}f",
        }
        return tuple(f"-D{name}={value}" for name, value in sizes.items())


def _refuse_others(config: dict, rope: dict) -> None:
    refused = {
        f"model type {config.get('model_type')}": config.get("model_type") != "llama",
        f"activation {config.get('hidden_act')}": config.get("hidden_act") != "silu",
        f"head dimension {config.get('head_dim')}": (config.get("head_dim") or 0) % 2 == 1,
        "biases": bool(config.get("attention_bias") or config.get("mlp_bias")),
        "scaled rotary embedding": (rope.get("rope_type") or rope.get("type") or "default") != "default",
    }
    for what, present in refused.items():
        if present:
            raise Unavailable(f"no kernel for {what}")
