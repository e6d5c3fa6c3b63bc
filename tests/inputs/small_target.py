"""A target folder with two-by-two weights: everything that the checks read, and nothing to run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from vibeserve_tui.inputs.target_files import MODEL_TREE, tree_digest
from vibeserve_tui.resources import shipped_targets

EXAMPLE = shipped_targets()["tiny-llama-chat"]


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    header: dict[str, object] = {}
    data = b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def write_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    config = (EXAMPLE / "reference" / "model" / "config.json").read_text()
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").write_bytes(safetensors({"embed": ("BF16", [2, 2], bytes(range(8)))}))


def write_target(parent: Path, edit: Callable[[str], str] = lambda text: text) -> Path:
    """The shipped declaration, edited, over the smallest files that satisfy it."""
    root = parent / "tiny-llama-chat"
    write_model(root / "reference" / "model")
    (root / "reference" / "reference.py").write_text("class Reference:\n    pass\n")
    (root / "benchmark").mkdir()
    (root / "benchmark" / "corpus.jsonl").write_text('{"id": "a", "text": "b"}\n')
    (root / "seed" / "server").mkdir(parents=True)
    (root / "seed" / "server" / "__main__.py").write_text("")
    (root / "OBJECTIVE.md").write_text("Be fast.\n")
    text = (EXAMPLE / "target.toml").read_text()
    shipped_digest = text.split('sha256 = "')[1].split('"')[0]
    text = text.replace(shipped_digest, tree_digest(root / "reference" / "model", MODEL_TREE))
    (root / "target.toml").write_text(edit(text))
    return root
