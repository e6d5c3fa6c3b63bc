"""`target new`: a complete target folder around a local model, ready for `target check`.

It copies the shipped tiny target's seed, reference and corpus and declares what the model's own
files say; everything that it had to assume stands in the written files, to be changed there.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui.errors import TargetError
from vibeserve_tui.inputs.model_folder import ModelShape, has_chat_template, read_model_shape, stored_dtype
from vibeserve_tui.inputs.target import FILE_NAME, LoadedTarget, Target, load_target
from vibeserve_tui.inputs.target_files import MODEL_TREE, tree_digest
from vibeserve_tui.inputs.toml_files import validate
from vibeserve_tui.inputs.toml_writer import commented
from vibeserve_tui.metrics import Stat
from vibeserve_tui.resources import shipped_targets

EXAMPLE = "tiny-llama-chat"
_SHORTEST_CONTEXT = 128
_HEADER = """\
# A target: what is served, on what, how it is judged, how it is measured. All fields are here; `vibeserve target check`
# names what does not hold together. The model is local: runs need --model DIR.

"""
_OBJECTIVE = """\
# Serve {model} as fast as this machine allows

## Goal
More output tokens per second with {clients} clients at once (`output_throughput` at level `c{clients}`). Answers stay within the
accuracy class of `target.toml`; time to the first token is guarded.

## Interface
`python -m server` in the checkout, with `MODEL_DIR`, `HOST` and `PORT` in the environment: `GET /health`,
{endpoints}, streamed as server-sent events, one token per event.

## What may be exploited
- {architecture}: {layers} layers, hidden {hidden}, {heads} query and {kv_heads} key/value heads of {head_dim}.
- Write here what is known about your traffic: lengths, concurrency, shared prefixes, fixed formats.

## What may not
- Answers cannot be stored: prompts are drawn in private, and the judge also serves other weights from `MODEL_DIR`.
- No packages beyond those installed, no network.
"""
_README = """\
# {name}

Made by `vibeserve target new` from the model folder `{model_dir}`. Check before you publish it:

- the licence of the weights, and `license` in target.toml;
- `benchmark/corpus.jsonl`: the conversations of the shipped target `{example}` (Apache-2.0; quoted Python
  standard-library text under the PSF License, see `NOTICE`). Replace them by prompts like those of your own traffic;
- `seed/`: the server of `{example}`, transformers' `generate()` behind FastAPI. It expects a byte-level BPE tokenizer;
- `reference/reference.py`: the truth, transformers on one thread in {dtype}.
"""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What people will ask of the server, as far as a number says it."""

    clients: int = 16
    """At once, at the level that counts."""
    longest_prompt: int = 199
    """Tokens."""
    answers: tuple[int, ...] = (32, 48, 64)
    """Lengths in tokens, each equally likely."""

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, values in (
                ("clients", [self.clients]),
                ("prompt", [self.longest_prompt]),
                ("answers", self.answers),
            )
            if not values or min(values) < 1
        ]
        if wrong:
            raise TargetError(f"{wrong[0]}: must be 1 or more", fix="give a positive number")


def scaffold(  # noqa: PLR0913 - each is one answer of whoever makes a target
    folder: Path,
    model_dir: Path,
    *,
    backend: str = "cpu",
    title: str = "",
    license_name: str = "",
    traffic: Traffic | None = None,
) -> LoadedTarget:
    """Write a target called like `folder`, which must not exist, for the model in `model_dir`; load it."""
    traffic = traffic or Traffic()
    if folder.exists():
        raise TargetError("exists already", where=str(folder), fix="choose another name, or remove it")
    shape = read_model_shape(model_dir)
    if shape.max_context < _SHORTEST_CONTEXT:
        raise TargetError(
            f"a context of {shape.max_context} tokens is too short",
            where=str(model_dir),
            fix="write the target by hand",
        )
    chat = has_chat_template(model_dir)
    table = _declaration(folder.name, model_dir, shape, traffic, chat=chat)
    kind = "chat" if chat else "text"
    table |= {
        "backends": [backend],
        "title": title or f"{model_dir.name}, {kind} traffic, 1 to {traffic.clients} clients",
    }
    table |= {"license": license_name or "unknown"}
    spec, faults = validate(table, Target)
    if spec is None:
        raise TargetError(faults[0].what, where=f"{folder / FILE_NAME}: {faults[0].field}", fix=faults[0].fix)
    _copy_example(folder, shape, chat=chat)
    paths = " and ".join(f"`POST {endpoint.path}`" for endpoint in spec.endpoints)
    (folder / FILE_NAME).write_text(_HEADER + commented(spec), encoding="utf-8")
    facts = {
        name: getattr(shape, name) for name in ("architecture", "layers", "hidden", "heads", "kv_heads", "head_dim")
    }
    (folder / "OBJECTIVE.md").write_text(
        _OBJECTIVE.format(model=model_dir.name, endpoints=paths, clients=traffic.clients, **facts), encoding="utf-8"
    )
    readme = _README.format(name=spec.name, model_dir=model_dir.resolve(), example=EXAMPLE, dtype=spec.model.dtype)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    return load_target(folder, model=model_dir)


def _levels(traffic: Traffic) -> dict[str, object]:
    """One client, and as many as will come; the crowd's throughput counts, each client's waiting is guarded."""
    crowd = f"c{traffic.clients}"
    levels = {
        f"c{n}": {"id": f"c{n}", "mode": "closed", "concurrency": n, "requests": max(Stat.P90.least_samples, 2 * n)}
        for n in (1, traffic.clients)
    }
    metrics: dict[tuple[str, str], dict[str, object]] = {
        ("output_throughput", crowd): {"unit": "tok/s", "direction": "max", "headline": True},
        ("output_throughput", "c1"): {"unit": "tok/s", "direction": "max"},
        ("median_ttft_ms", "c1"): {"unit": "ms", "direction": "min"},
    }
    if crowd == "c1":
        metrics["output_throughput", crowd]["headline"] = True
    guard = {
        "name": "p90_ttft_ms",
        "level": crowd,
        "unit": "ms",
        "direction": "min",
        "tolerance": 0.05,
        "basis": "baseline",
    }
    return {
        "levels": list(levels.values()),
        "metrics": [{"name": name, "level": level, **rest} for (name, level), rest in metrics.items()],
        "guards": [guard],
    }


def _lengths(traffic: Traffic, shape: ModelShape) -> dict[str, object]:
    longest = min(traffic.longest_prompt, shape.max_context - max(traffic.answers))
    if longest < 1:
        raise TargetError(
            f"answers of {max(traffic.answers)} tokens do not fit a context of {shape.max_context}",
            fix="shorter answers",
        )
    return {
        "prompt_tokens": {"dist": "uniform", "min": min(48, longest), "max": longest},
        "output_tokens": {"dist": "choice", "values": list(traffic.answers)},
    }


def _declaration(name: str, model_dir: Path, shape: ModelShape, traffic: Traffic, *, chat: bool) -> dict[str, object]:
    """What the example declares, for another model. Its class is numeric: few engines compute in fp32."""
    example = load_target(shipped_targets()[EXAMPLE]).spec
    table = example.model_dump(mode="json", by_alias=True, exclude_none=True)
    table |= {"name": name, **_levels(traffic)}
    table["limits"]["memory_mib"] = max(4096, 4 * shape.weight_bytes >> 20)
    table["accuracy"] = {"class": "numeric"}
    table["workload"] |= {"kind": "chat" if chat else "text", **_lengths(traffic, shape)}
    if not chat:
        table["endpoints"] = table["endpoints"][:1]
    table["model"] = {
        "source": "local",
        "architecture": shape.architecture,
        "dtype": "float32",
        "exact_in": stored_dtype(model_dir),
        "max_context": min(shape.max_context, 2048),
        "sha256": tree_digest(model_dir, MODEL_TREE),
    }
    return table


def _copy_example(folder: Path, shape: ModelShape, *, chat: bool) -> None:
    example = shipped_targets()[EXAMPLE]
    shutil.copytree(example / "seed", folder / "seed", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "reference").mkdir()
    shutil.copyfile(example / "reference" / "reference.py", folder / "reference" / "reference.py")
    shutil.copyfile(example / "NOTICE", folder / "NOTICE")
    (folder / "benchmark").mkdir()
    corpus = (example / "benchmark" / "corpus.jsonl").read_text(encoding="utf-8")
    (folder / "benchmark" / "corpus.jsonl").write_text(corpus if chat else _as_text(corpus), encoding="utf-8")
    knobs = folder / "seed" / "server" / "config.json"
    settings = json.loads(knobs.read_text(encoding="utf-8"))
    settings["max_len"] = min(settings["max_len"], shape.max_context)
    knobs.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _as_text(corpus: str) -> str:
    """Conversations as plain text, for models without a chat template."""
    lines = []
    for line in corpus.splitlines():
        record = json.loads(line)
        text = "\n\n".join(message["content"] for message in record["messages"])
        lines.append(json.dumps({"id": record["id"], "text": text}) + "\n")
    return "".join(lines)
