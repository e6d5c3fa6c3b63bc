"""Compiles the workspace's kernel for a small random model; its self-test then compares it with plain numpy.

Run in the workspace. Fails with the reason that a server would show in its log before it fell back to torch.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, os.getcwd())

from server import native

CONFIG = {
    "model_type": "llama",
    "hidden_act": "silu",
    "num_hidden_layers": 2,
    "hidden_size": 50,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "intermediate_size": 70,
    "vocab_size": 99,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "eos_token_id": 2,
}
LAYER = {
    "input_layernorm": (50,),
    "post_attention_layernorm": (50,),
    "self_attn.q_proj": (40, 50),
    "self_attn.k_proj": (20, 50),
    "self_attn.v_proj": (20, 50),
    "self_attn.o_proj": (50, 40),
    "mlp.gate_proj": (70, 50),
    "mlp.up_proj": (70, 50),
    "mlp.down_proj": (50, 70),
}


def write_model(folder: Path) -> None:
    shapes = {"model.embed_tokens.weight": (99, 50), "model.norm.weight": (50,)}
    for layer in range(CONFIG["num_hidden_layers"]):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in LAYER.items()}
    random = np.random.default_rng(0)
    header, data = {}, b""
    for name, shape in shapes.items():
        values = random.standard_normal(shape, np.float32) * shape[-1] ** -0.5 + (len(shape) == 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": (len(data), len(data) + values.nbytes)}
        data += values.astype(np.float32).tobytes()
    described = json.dumps(header).encode()
    described += b" " * (-len(described) % 8)
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(len(described).to_bytes(8, "little") + described + data)


with tempfile.TemporaryDirectory() as scratch:
    folder = Path(scratch)
    write_model(folder)
    settings = native.Settings(threads=1, slots=2, max_len=64, weights="lossless", variant="")
    print(native.open_native(folder, folder, settings).kernel)
