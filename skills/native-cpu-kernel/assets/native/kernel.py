"""The compiled kernel as a Python object: it packs the weights, owns all memory and makes one foreign call per step."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from server.native.shape import Shape, Unavailable
from server.native.weights import Packer, Weights, rotary_tables

ALIGNMENT = 64
"""A cache line, and the widest vector."""


class _Geometry(ctypes.Structure):
    """Mirrors `Geometry` in kernel.cpp."""

    _fields_ = (
        ("width", ctypes.c_int32),
        ("panels", ctypes.c_int32),
        ("padded_vocab", ctypes.c_int32),
        ("slot_bytes", ctypes.c_int64),
        ("scratch_bytes", ctypes.c_int64),
    )


class _Matrix(ctypes.Structure):
    _fields_ = (("panels", ctypes.c_void_p), ("scales", ctypes.c_void_p))


class _Layer(ctypes.Structure):
    _fields_ = (
        ("attention_norm", ctypes.c_void_p),
        ("ffn_norm", ctypes.c_void_p),
        ("qkv", _Matrix),
        ("out", _Matrix),
        ("gate_up", _Matrix),
        ("down", _Matrix),
    )


class _Model(ctypes.Structure):
    """Mirrors `Model` in kernel.cpp."""

    _fields_ = (
        ("embedding", ctypes.c_void_p),
        ("layers", ctypes.POINTER(_Layer)),
        ("final_norm", ctypes.c_void_p),
        ("head", _Matrix),
        ("cos", ctypes.c_void_p),
        ("sin", ctypes.c_void_p),
        ("cache", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
        ("tokens", ctypes.POINTER(ctypes.c_int32)),
        ("positions", ctypes.POINTER(ctypes.c_int32)),
        ("slots", ctypes.POINTER(ctypes.c_int32)),
        ("wanted", ctypes.POINTER(ctypes.c_int32)),
        ("logits", ctypes.c_void_p),
        ("best", ctypes.POINTER(ctypes.c_int32)),
        ("slot_count", ctypes.c_int32),
    )


class Logits:
    """The logits of one step; the next step overwrites them."""

    __slots__ = ("_best", "_rows")

    def __init__(self, rows: np.ndarray, best: list[int]) -> None:
        self._rows = rows
        self._best = best

    def argmax(self) -> list[int]:
        """The largest logit of every row, the lowest id on ties."""
        return self._best

    def row(self, index: int) -> np.ndarray:
        return self._rows[index]


@dataclass(frozen=True)
class Room:
    """How much is cached, and the type that stores the weights."""

    slots: int
    max_len: int
    storage: str


class Kernel:
    def __init__(self, library: Path, shape: Shape, weights: Weights, room: Room) -> None:
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise Unavailable(f"cannot load the kernel: {error}") from error
        self._library.geometry.restype = _Geometry
        geometry = self._library.geometry()
        self._room = room
        self._packer = Packer(geometry.width, geometry.panels, room.storage)
        self._kept: list[object] = []  # everything that the structures only point to
        self._model = _Model(slot_count=room.slots)
        self._address = ctypes.byref(self._model)
        self._load(shape, weights)
        self._allocate(geometry, shape)

    def run(
        self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int], wanted: Sequence[int]
    ) -> Logits:
        """One step over rows of (token, position, slot); logits of the rows whose `wanted` is 1.

        Rows of one slot stand together, in the order of their positions, and everything before them is cached.
        """
        rows = len(tokens)
        self._tokens[:rows] = tokens
        self._positions[:rows] = positions
        self._slots[:rows] = slots
        self._wanted[:rows] = wanted
        faulty = self._library.step(self._address, rows)
        if faulty >= 0:
            row = f"token {tokens[faulty]}, position {positions[faulty]}, slot {slots[faulty]}"
            raise ValueError(f"row {faulty} cannot be run: {row}")
        count = sum(wanted)
        return Logits(self._logits[:count], self._best[:count])

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        slots, positions = range(self._room.slots), range(self._room.max_len + 1)
        if source not in slots or target not in slots or length not in positions:
            raise ValueError(f"no prefix of {length} positions from slot {source} to slot {target}")
        self._library.copy_prefix(self._address, source, target, length)

    def _load(self, shape: Shape, weights: Weights) -> None:
        packer, model = self._packer, self._model
        model.embedding = self._address_of(packer.rows(weights.embedding))
        model.final_norm = self._address_of(packer.vector(weights.final_norm))
        model.head = self._matrix(weights.head)
        model.layers = (_Layer * shape.layers)(
            *(
                _Layer(
                    self._address_of(packer.vector(layer.attention_norm)),
                    self._address_of(packer.vector(layer.ffn_norm)),
                    self._matrix(layer.qkv),
                    self._matrix(packer.by_head(layer.out, shape.heads)),
                    self._matrix(packer.gate_up(layer.gate, layer.up)),
                    self._matrix(layer.down),
                )
                for layer in weights.layers()
            )
        )

    def _allocate(self, geometry: _Geometry, shape: Shape) -> None:
        model, room = self._model, self._room
        cos, sin = rotary_tables(room.max_len, shape.head_dim, shape.rope_theta)
        model.cos, model.sin = self._address_of(cos), self._address_of(sin)
        # Zeroed memory is not resident until it is used: slots that stay short cost little.
        model.cache = self._zeros(room.slots * geometry.slot_bytes).ctypes.data
        model.scratch = self._zeros(geometry.scratch_bytes).ctypes.data
        most_logits = max(room.slots, room.max_len)
        logits = np.zeros((most_logits, geometry.padded_vocab), np.float32)
        model.logits = logits.ctypes.data
        self._logits = logits[:, : shape.vocab]
        # ctypes arrays take a list much faster than numpy arrays do, and a step is only tens of microseconds long.
        rows = ctypes.c_int32 * (room.slots * room.max_len)
        self._tokens, self._positions, self._slots, self._wanted = rows(), rows(), rows(), rows()
        self._best = (ctypes.c_int32 * most_logits)()
        for name in ("tokens", "positions", "slots", "wanted", "best"):
            setattr(model, name, ctypes.cast(getattr(self, f"_{name}"), ctypes.POINTER(ctypes.c_int32)))

    def _matrix(self, matrix: np.ndarray) -> _Matrix:
        panels, scales = self._packer.matrix(matrix)
        return _Matrix(self._address_of(panels), None if scales is None else self._address_of(scales))

    def _address_of(self, values: np.ndarray) -> int:
        """The address of a copy that lives as long as this object."""
        space = self._zeros(values.nbytes)
        space[:] = values.reshape(-1).view(np.uint8)
        return space.ctypes.data

    def _zeros(self, size: int) -> np.ndarray:
        space = np.zeros(size + ALIGNMENT, np.uint8)
        self._kept.append(space)
        begin = -space.ctypes.data % ALIGNMENT
        return space[begin : begin + size]
