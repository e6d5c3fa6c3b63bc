"""The part of a target that agents may see, as a folder of its own: goal, contract, model sizes, a few public prompts.

Reference, checker and benchmark are not in it, so that showing the folder can show nothing else.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.inputs.target import FILE_NAME, LoadedTarget

PROMPTS = 16
MAX_MODEL_FILE = 1 << 20


def public_folder(target: LoadedTarget, workload: Workload, folder: Path) -> Path:
    """Make the folder anew and return it."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "model").mkdir(parents=True, mode=0o700)
    for name in ("OBJECTIVE.md", FILE_NAME):
        shutil.copyfile(target.root / name, folder / name)
    for path in sorted(target.model_dir.glob("*.json")):
        if path.stat().st_size <= MAX_MODEL_FILE:
            shutil.copyfile(path, folder / "model" / path.name)
    endpoint = target.spec.endpoints[0].path
    requests = workload.draw(target.spec.workload.public_draw, PROMPTS)
    lines = (json.dumps(request.body(endpoint)) for request in requests)
    (folder / "prompts.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return folder
