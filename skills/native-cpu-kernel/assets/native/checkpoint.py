"""model.safetensors, mapped into memory and read tensor by tensor as fp32.

Widening bf16 and fp16 to fp32 loses nothing. Needs no library but numpy, so that the server starts fast and small.
"""

import json
from pathlib import Path

import numpy as np

from server.native.shape import Unavailable


class Checkpoint:
    def __init__(self, model_dir: Path) -> None:
        path = model_dir / "model.safetensors"
        if not path.is_file():
            raise Unavailable("no model.safetensors")
        self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
        header = int(self._bytes[:8].view("<u8")[0])
        self._data = self._bytes[8 + header :]
        self._entries = json.loads(bytes(self._bytes[8 : 8 + header]))

    def tensor(self, name: str) -> np.ndarray:
        if name not in self._entries:
            raise Unavailable(f"no tensor {name}")
        entry = self._entries[name]
        begin, end = entry["data_offsets"]
        raw = self._data[begin:end]
        match entry["dtype"]:
            case "BF16":
                values = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
            case "F16":
                values = raw.view("<f2").astype(np.float32)
            case "F32":
                values = raw.view("<f4").astype(np.float32)
            case other:
                raise Unavailable(f"no kernel for weights in {other}")
        return values.reshape(entry["shape"])
