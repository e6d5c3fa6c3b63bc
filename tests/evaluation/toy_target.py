"""A target whose model is arithmetic: a real reference process without a framework, ready in a tenth of a second."""

from __future__ import annotations

import shutil
from pathlib import Path

from vibeserve_tui.inputs.target import LoadedTarget, load_target
from vibeserve_tui.resources import shipped_targets

MODEL = """
import math, os, sys, time, zlib
from pathlib import Path

VOCABULARY = 1024

class Reference:
    end_ids = [2]

    def __init__(self, model_dir, device, dtype):
        print("loading", model_dir)
        self.salt = str(zlib.crc32((Path(model_dir) / "model.safetensors").read_bytes())).encode()

    def best(self, ids):
        return 6 + zlib.crc32(self.salt + bytes(token % 256 for token in ids[-3:])) % (VOCABULARY - 6)

    def generate(self, prompt_ids, n):
        ids = list(prompt_ids)
        for _ in range(n):
            ids.append(self.best(ids))
        return ids[len(prompt_ids):]

    def gaps(self, prompt_ids, output_ids):
        ids = [*prompt_ids, *output_ids]
        ends = range(len(prompt_ids), len(ids))
        return [0.0 if ids[end] == self.best(ids[:end]) else 4.0 for end in ends]

    def next_logprobs(self, prompt_ids):
        return [-math.log(VOCABULARY)] * VOCABULARY
"""


def toy_target(parent: Path, extra: str = "") -> LoadedTarget:
    """The shipped target with the arithmetic model; `extra` is Python that changes its class."""
    root = Path(
        shutil.copytree(
            shipped_targets()["tiny-llama-chat"],
            parent / "tiny-llama-chat",
            ignore=shutil.ignore_patterns("training", "__pycache__"),
        )
    )
    (root / "reference" / "reference.py").write_text(MODEL + extra)
    return load_target(root)
