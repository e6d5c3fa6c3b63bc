"""A seed of three files and skill folders written from a few words, for tests of the recipe machinery."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vibeserve_tui.recipes.facts import DeviceFacts, Facts, HardwareFacts, TargetFacts, WorkloadFacts
from vibeserve_tui.recipes.recipe import Recipe, load_recipe
from vibeserve_tui.recipes.regions import digest

SEED_FILES = {
    "server/engine.py": (
        '"""The engine."""\n\n'
        "class Engine:\n"
        "    # region: kv\n"
        "    def cache(self):\n"
        '        return "dynamic"\n'
        "\n"
        "    # endregion: kv\n"
        "\n"
        "    # region: schedule.step\n"
        "    def step(self):\n"
        "        first = 1\n"
        "        second = 2\n"
        "        third = 3\n"
        "        return first + second + third\n"
        "\n"
        "    # endregion: schedule.step\n"
    ),
    "server/config.json": '{\n  "threads": 1,\n  "ratio": 0.5,\n  "mode": "plain"\n}\n',
    "server/old.py": "x = 1\n",
}
KV = '    def cache(self):\n        return "dynamic"\n\n'
STEP = "    def step(self):\n        first = 1\n        second = 2\n        third = 3\n        return first + second + third\n\n"
FACTS = Facts(
    workload=WorkloadFacts(p99_total_len=263, max_total_len=263),
    hw=HardwareFacts(cores=4),
    device=DeviceFacts(capabilities=frozenset({"avx2"})),
    backend="cpu",
    target=TargetFacts(forbids=frozenset()),
    tools=frozenset({"cxx"}),
)


def write_files(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def make_seed(root: Path) -> Path:
    return write_files(root, SEED_FILES)


def contents(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): p.read_text(encoding="utf-8") for p in sorted(root.rglob("*")) if p.is_file()}


def recipe_text(name: str, *, apply: str, capabilities: str = "", head: str = "", tail: str = "") -> str:
    return f"""
schema = 1
id = "{name}"
version = "1.0"
title = "A recipe of a test"
layer = "kv"
risk = "bit-exact"
capabilities = {{ {capabilities} }}
{head}
[requires]
backends = ["cpu"]
[prior]
log_gain = 0.2
sd = 0.1
metric = "output_throughput"
source = "invented"
{apply}
{tail}
"""


def make_recipe(folder: Path, text: str, assets: Mapping[str, str]) -> Recipe:
    """Write recipe.toml and its assets; `folder` must bear the recipe's name."""
    write_files(folder, {"recipe.toml": text, **{f"assets/{name}": body for name, body in assets.items()}})
    return load_recipe(folder / "recipe.toml")


def replace_kv(new: str = "kv.py", *, expects: str = KV, more: str = "") -> str:
    return f"""
[[apply]]
op = "replace_region"
target = {{ file = "server/engine.py", region = "kv" }}
asset = "assets/{new}"
expects = "{digest(expects)}"
{more}
"""


def replace_step(new: str = "step.py", *, expects: str = STEP, more: str = "") -> str:
    return replace_kv(new, expects=expects, more=more).replace('region = "kv"', 'region = "schedule.step"')
