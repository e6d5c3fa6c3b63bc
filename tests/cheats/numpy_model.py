"""The tiny Llama in numpy, behind the runner interface of the torch recipes: a server that is up in half a second.

Copied over server/model.py of the tree that the zoo is made of; it is a candidate's file and not imported by tests.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from server import counters
from server.config import Config
from server.logits import Logits


class Model:
    def __init__(self, config: Config) -> None:
        self.dtype = config.text("dtype")
        self.max_len = config.integer("max_len")
        self.slots = config.integer("max_batch") + config.integer("spare_slots")
        settings = json.loads((config.model_dir / "config.json").read_text())
        self.vocab, self.eos = settings["vocab_size"], settings["eos_token_id"]
        self.layers, self.heads = settings["num_hidden_layers"], settings["num_attention_heads"]
        self.kv_heads = settings["num_key_value_heads"]
        self.head_dim = settings.get("head_dim") or settings["hidden_size"] // self.heads
        self.eps = settings["rms_norm_eps"]
        self.weights = read_weights(config.model_dir / "model.safetensors")
        theta = settings.get("rope_theta") or settings["rope_parameters"]["rope_theta"]
        angles = np.outer(np.arange(self.max_len), theta ** -(np.arange(0, self.head_dim, 2) / self.head_dim))
        self.cos, self.sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        shape = (self.layers, self.slots, self.kv_heads, self.max_len, self.head_dim)
        self.keys, self.values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.prefill(0, [0, 0], 0)

    def prefill(self, slot: int, ids: Sequence[int], start: int) -> Logits:
        return Logits(self._head(self._span(slot, ids, start)[-1:]))

    def prefill_many(self, slots: Sequence[int], ids_lists: Sequence[Sequence[int]], starts: Sequence[int]) -> Logits:
        ends = [self._span(slot, ids, start)[-1] for slot, ids, start in zip(slots, ids_lists, starts, strict=True)]
        return Logits(self._head(np.stack(ends)))

    def extend(self, slot: int, ids: Sequence[int], start: int) -> Logits:
        return Logits(self._head(self._span(slot, ids, start)))

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        self.keys[:, target, :, :length] = self.keys[:, source, :, :length]
        self.values[:, target, :, :length] = self.values[:, source, :, :length]

    def decode(self, slots: Sequence[int], ids: Sequence[int], positions: Sequence[int]) -> Logits:
        counters.add("numpy_steps")
        at = np.array(positions)

        def attend(layer: int, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
            out = np.empty_like(q)
            for row, (slot, position) in enumerate(zip(slots, positions, strict=True)):
                self.keys[layer, slot, :, position], self.values[layer, slot, :, position] = k[row], v[row]
                out[row] = self._look_back(layer, slot, q[row : row + 1], position)[0]
            return out

        return Logits(self._head(self._forward(ids, at, attend)))

    def _span(self, slot: int, ids: Sequence[int], start: int) -> np.ndarray:
        end = start + len(ids)

        def attend(layer: int, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
            self.keys[layer, slot, :, start:end] = k.transpose(1, 0, 2)
            self.values[layer, slot, :, start:end] = v.transpose(1, 0, 2)
            return self._look_back(layer, slot, q, start)

        return self._forward(ids, np.arange(start, end), attend)

    def _look_back(self, layer: int, slot: int, q: np.ndarray, start: int) -> np.ndarray:
        """Queries [rows, heads, head_dim] at start… attend to everything stored before them and to themselves."""
        end = start + len(q)
        keys, values = self.keys[layer, slot, :, :end], self.values[layer, slot, :, :end]
        grouped = q.reshape(len(q), self.kv_heads, -1, self.head_dim).transpose(1, 2, 0, 3)
        scores = grouped @ keys[:, None].swapaxes(-1, -2) / np.float32(self.head_dim**0.5)
        if len(q) > 1:
            scores += np.triu(np.full((len(q), end), -np.inf, np.float32), start + 1)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        return (scores @ values[:, None]).transpose(2, 0, 1, 3).reshape(q.shape)

    def _forward(self, ids: Sequence[int], positions: np.ndarray, attend) -> np.ndarray:
        weights = self.weights
        x = weights["model.embed_tokens.weight"][np.array(ids)]
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            h = self._norm(x, prefix + "input_layernorm.weight")
            q, k, v = (
                (h @ weights[f"{prefix}self_attn.{name}_proj.weight"].T).reshape(len(h), -1, self.head_dim)
                for name in "qkv"
            )
            attended = attend(layer, self._turn(q, positions), self._turn(k, positions), v)
            x = x + attended.reshape(len(h), -1) @ weights[prefix + "self_attn.o_proj.weight"].T
            h = self._norm(x, prefix + "post_attention_layernorm.weight")
            gate = h @ weights[prefix + "mlp.gate_proj.weight"].T
            up = h @ weights[prefix + "mlp.up_proj.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[prefix + "mlp.down_proj.weight"].T
        return x

    def _turn(self, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        a, b = np.split(x, 2, -1)
        return np.concatenate((a * cos - b * sin, a * sin + b * cos), -1)

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.eps)) * self.weights[name]

    def _head(self, x: np.ndarray) -> np.ndarray:
        weights = self.weights
        return (
            self._norm(x, "model.norm.weight") @ weights.get("lm_head.weight", weights["model.embed_tokens.weight"]).T
        )


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """bf16 and fp32 tensors of a safetensors file, as fp32."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    weights = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            begin, end = (start + offset for offset in entry["data_offsets"])
            raw = data[begin:end]
            wide = np.frombuffer(raw, "<u2").astype(np.uint32) << 16 if entry["dtype"] == "BF16" else raw
            weights[name] = np.frombuffer(wide, "<f4").reshape(entry["shape"])
    return weights
