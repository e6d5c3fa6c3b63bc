"""The weights by their place in the model, and their packing into the panels that kernel.cpp multiplies.

Storage is chosen once for the whole model: bf16 when every matrix fits in it without loss, else fp32; int8 with one scale
per output only on request, because it changes the answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from server.native.checkpoint import Checkpoint
from server.native.shape import Shape

STORAGES = ("bf16", "float", "int8_t")
"""The kernel's names for the types of a weight."""


@dataclass(frozen=True)
class Layer:
    """One decoder layer; matrices are [outputs, inputs], as in the checkpoint."""

    attention_norm: np.ndarray
    ffn_norm: np.ndarray
    qkv: np.ndarray
    out: np.ndarray
    gate: np.ndarray
    up: np.ndarray
    down: np.ndarray


class Weights:
    def __init__(self, checkpoint: Checkpoint, shape: Shape) -> None:
        self._checkpoint = checkpoint
        self._shape = shape
        self.embedding = checkpoint.tensor("model.embed_tokens.weight")
        self.final_norm = checkpoint.tensor("model.norm.weight")
        self.head = self.embedding if shape.tied else checkpoint.tensor("lm_head.weight")

    def layers(self) -> Iterator[Layer]:
        for index in range(self._shape.layers):
            yield Layer(
                attention_norm=self._of(index, "input_layernorm"),
                ffn_norm=self._of(index, "post_attention_layernorm"),
                qkv=np.concatenate([self._of(index, f"self_attn.{part}_proj") for part in "qkv"]),
                out=self._of(index, "self_attn.o_proj"),
                gate=self._of(index, "mlp.gate_proj"),
                up=self._of(index, "mlp.up_proj"),
                down=self._of(index, "mlp.down_proj"),
            )

    def lossless_storage(self) -> str:
        matrices = [self.embedding, self.head]
        for layer in self.layers():
            matrices += [layer.qkv, layer.out, layer.gate, layer.up, layer.down]
        return "bf16" if all(_fits_bf16(matrix) for matrix in matrices) else "float"

    def _of(self, layer: int, name: str) -> np.ndarray:
        return self._checkpoint.tensor(f"model.layers.{layer}.{name}.weight")


def _fits_bf16(matrix: np.ndarray) -> bool:
    return not (matrix.view(np.uint32) & 0xFFFF).any()


def to_bf16(values: np.ndarray) -> np.ndarray:
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def quantise(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest int8 values and the scale of each output."""
    scales = np.maximum(np.abs(matrix).max(axis=1), 1e-8) / 127
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales.astype(np.float32)


@dataclass(frozen=True)
class Packer:
    """Packs matrices for one variant of the kernel."""

    width: int
    panels: int
    storage: str

    def matrix(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Panels of `width` outputs, and the scales of the outputs when the storage has any.

        Within a panel the inputs follow one another in groups that fill 32-bit lanes, [inputs / group][width][group]:
        one vector load gives a whole group, which shifts and masks then take apart.
        """
        outputs, inputs = matrix.shape
        whole = _padded(matrix, (_up(outputs, self.width * self.panels), _up(inputs, 4)))
        values, scales = whole, None
        if self.storage == "int8_t":
            values, scales = quantise(whole)
        elif self.storage == "bf16":
            values = to_bf16(whole)
        group = 4 // values.itemsize
        columns = _up(inputs, max(2, group))
        lanes = values[:, :columns].reshape(-1, self.width, columns // group, group)
        return np.ascontiguousarray(lanes.transpose(0, 2, 1, 3)), scales

    def gate_up(self, gate: np.ndarray, up: np.ndarray) -> np.ndarray:
        """Panels of gate and up by turns, so that the kernel has both of a pair in registers at once."""
        rows = _up(len(gate), self.width)
        pairs = [_padded(half, (rows, half.shape[1])).reshape(-1, self.width, half.shape[1]) for half in (gate, up)]
        return np.stack(pairs, axis=1).reshape(2 * rows, -1)

    def by_head(self, out: np.ndarray, heads: int) -> np.ndarray:
        """The output projection with its inputs spread to whole vectors per head."""
        split = out.reshape(len(out), heads, -1)
        return _padded(split, (*split.shape[:2], _up(split.shape[2], self.width))).reshape(len(out), -1)

    def vector(self, values: np.ndarray) -> np.ndarray:
        return _padded(values, (_up(len(values), self.width * self.panels),))

    def rows(self, embedding: np.ndarray) -> np.ndarray:
        return to_bf16(embedding) if self.storage == "bf16" else embedding


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _padded(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    whole = np.zeros(shape, values.dtype)
    whole[tuple(slice(n) for n in values.shape)] = values
    return whole


def rotary_tables(positions: int, head_dim: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin [positions, head_dim / 2]; in fp32 throughout, because that is what the reference rounds to."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequencies = np.float32(1) / np.float32(theta) ** exponents
    angles = np.arange(positions, dtype=np.float32)[:, None] * frequencies
    return np.cos(angles), np.sin(angles)
