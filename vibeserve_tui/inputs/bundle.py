"""`target import`: a folder of the original VibeServe (now VibeSys) made into a target of ours.

Its checker and benchmark are kept and run as they are; what its files do not say is guessed and marked as a guess, or
asked for. The judge's battery comes on top: it needs a reference of our shape and a seed server, which are those of the
shipped example.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vibeserve_tui.errors import TargetError
from vibeserve_tui.inputs.scaffold import EXAMPLE
from vibeserve_tui.inputs.target import FILE_NAME, Target
from vibeserve_tui.inputs.target_files import IGNORED_NAMES, require_plain
from vibeserve_tui.inputs.target_rules import LEVEL_METRICS
from vibeserve_tui.inputs.toml_files import TomlFile, read_text, validate
from vibeserve_tui.inputs.toml_writer import commented
from vibeserve_tui.resources import shipped_targets
from vibeserve_tui.safe_text import clean_line

MANIFESTS = ("vibesys.input.toml", "vibeserve.input.toml")
OTHER_MODALITIES = ("/v1/images", "/v1/audio", "image generation", "speech")
_HEADER = "# Imported from {source}. Guesses, to be checked before it is trusted:\n{guesses}\n\n"
_UNITS = {
    "tok_per_sec": "tok/s", "tok_s": "tok/s", "throughput": "tok/s", "req_per_sec": "req/s", "_ms": "ms", "_s": "s",
    "latency": "s", "ttft": "ms", "tpot": "ms",
}  # fmt: skip
_PRINTED = re.compile(r"Primary metric:\s*([A-Za-z][\w.]*)")
_IN_PROJECT = re.compile(r"\$\{PROJECT_ROOT\}(?:/([\w./-]+))?")
_ON_A_MAC = re.compile(r"\b(mlx|metal|apple silicon|macbook)\b", re.IGNORECASE)
LEVEL = "own"
_DIRECTED = re.compile(r"\b(maximi[sz]e|minimi[sz]e)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a person was asked, or knew beforehand; "" = not given."""

    metric: str = ""
    direction: str = ""
    revision: str = ""
    architecture: str = ""


@dataclass(slots=True)
class _Bundle:
    """The folder as it was found, and what had to be guessed about it."""

    root: Path
    home: Path
    """Where manifest and objective lie: the root, or a task's folder below it."""
    manifest: Mapping[str, object]
    answers: Answers
    guesses: list[str] = field(default_factory=list)

    def guess(self, what: str) -> None:
        """Each becomes a comment of one line."""
        self.guesses.append(clean_line(what))

    def table(self, *names: str) -> Mapping[str, object]:
        found: object = self.manifest
        for name in names:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def file(self, relative: str) -> Path | None:
        """Below the task's folder or the root; the task's own comes first."""
        if not _stays_inside(relative):
            return None
        return next((path for path in (self.home / relative, self.root / relative) if path.is_file()), None)

    def words(self, table: str) -> list[str]:
        """Of a program's command, or what an entry point of the original's own is given."""
        words = self.table(table).get("command", self.table(table).get("args"))
        return [word for word in words if isinstance(word, str)] if isinstance(words, list) else []

    def placed(self, word: str) -> str:
        """With the project's root where its files are now: in the copy, or else in the program's own folder."""

        def place(found: re.Match[str]) -> str:
            name = found[1] or ""
            known = name and _stays_inside(name) and (self.root / name).exists()
            return f"{{target}}/bundle/{name}" if known else f"{{workspace}}/{name}".rstrip("/")

        return _IN_PROJECT.sub(place, word)

    def json(self, relative: str) -> Mapping[str, object]:
        path = self.file(relative)
        try:
            found = json.loads(read_text(path, TargetError)) if path else {}
        except (ValueError, RecursionError) as error:
            raise TargetError(f"not JSON: {error}", where=str(path)) from error
        return found if isinstance(found, Mapping) else {}


def _stays_inside(relative: str) -> bool:
    return not relative.startswith("/") and ".." not in PurePosixPath(relative).parts


def plain_name(folder: str) -> str:
    """A target's name that is as near to the folder's as a target's name can be."""
    return re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:40].rstrip("-") or "imported"


def import_bundle(source: Path, folder: Path, answers: Answers) -> tuple[Target, tuple[str, ...]]:
    """Write the target `folder`, which must not exist; returns its definition and the guesses in it."""
    if folder.exists():
        raise TargetError("exists already", where=str(folder), fix="choose another name, or remove it")
    require_plain(source)
    bundle = _found(source, answers)
    table = _declaration(bundle, folder.name)
    spec, faults = validate(table, Target)
    if spec is None:
        raise TargetError(faults[0].what, where=f"{folder / FILE_NAME}: {faults[0].field}", fix=faults[0].fix)
    _copy(bundle, folder)
    guesses = "\n".join(f"#   - {guess}" for guess in bundle.guesses) or "#   - none"
    header = _HEADER.format(source=clean_line(source.name), guesses=guesses)
    (folder / FILE_NAME).write_text(header + commented(spec), "utf-8")
    return spec, tuple(bundle.guesses)


def _found(source: Path, answers: Answers) -> _Bundle:
    homes = [source, *sorted(source.glob(".vibesys/tasks/*"))]
    found = [home / name for home in homes for name in MANIFESTS if (home / name).is_file()]
    if found:
        bundle = _Bundle(source, found[0].parent, TomlFile.read(found[0], TargetError).table, answers)
        if others := sorted({path.parent.name for path in found[1:]} - {bundle.home.name}):
            bundle.guess(f"the task is {bundle.home.name}; it has others: {', '.join(others)}")
        return bundle
    if not (source / "OBJECTIVE.md").is_file():
        raise TargetError(
            "is no folder of the original", where=str(source), fix=f"it has OBJECTIVE.md, and usually {MANIFESTS[0]}"
        )
    return _Bundle(source, source, {}, answers)


def _declaration(bundle: _Bundle, name: str) -> dict[str, object]:
    objective = _objective(bundle)
    bundle.guess("endpoints, levels, the judge's prompts and the seed server are those of the shipped example")
    backend = "metal" if _ON_A_MAC.search(objective) else "cuda"
    bundle.guess(f"it is for {backend}, and answers are judged as those of class numeric")
    return {
        "schema": 1,
        "name": name,
        "title": _title(objective, name),
        "modality": "text_generation",
        "backends": [backend],
        "license": "unknown",
        "endpoints": [
            {"path": "/v1/completions", "stream": "sse", "fields": ["temperature", "seed", "stop", "ignore_eos"]},
            {"path": "/v1/chat/completions", "stream": "sse", "fields": ["temperature", "seed", "stop"]},
        ],
        "levels": [{"id": LEVEL, "mode": "closed", "concurrency": 8, "requests": 16}],
        **_metrics(bundle, objective),
        "model": _model(bundle),
        "serve": {"command": ["{python}", "-m", "server"]},
        "workload": {
            "kind": "program",
            "corpus": "benchmark/corpus.jsonl",
            "prompt_tokens": {"dist": "uniform", "min": 48, "max": 199},
            "output_tokens": {"dist": "choice", "values": [32, 48, 64]},
            "ignore_eos": True,
        },
        "accuracy": {"class": "numeric"},
        "programs": _programs(bundle),
    }


def _objective(bundle: _Bundle) -> str:
    path = bundle.file("OBJECTIVE.md")
    if path is None:
        raise TargetError("OBJECTIVE.md is missing", where=str(bundle.root))
    text = read_text(path, TargetError)
    if other := next((word for word in OTHER_MODALITIES if word in text.lower()), None):
        raise TargetError(
            f"its objective speaks of {other!r}: only text can be judged",
            where=str(path),
            fix="write a target by hand: the judge has no battery for this modality",
        )
    return text


def _title(objective: str, name: str) -> str:
    heading = next((line.lstrip("# ").strip() for line in objective.splitlines() if line.startswith("#")), name)
    return heading[:120] or name


# ---- what is measured -----------------------------------------------------------------------------------------------


def _metrics(bundle: _Bundle, objective: str) -> dict[str, object]:
    rows = _declared_objectives(bundle)
    if not rows:
        name = _metric_name(bundle)
        rows = [(name, _direction(bundle, objective, name))]
    noise = _number(bundle, "pareto", "relative_noise")
    metrics = []
    for name, direction in rows:
        row: dict[str, object] = {"name": name, "unit": _unit(bundle, name), "direction": direction, "headline": True}
        row |= {"level": LEVEL} if name in LEVEL_METRICS else {}
        metrics.append(row | ({"min_effect": noise} if noise else {}))
    return {"metrics": metrics, "pareto": len(rows) > 1}


def _declared_objectives(bundle: _Bundle) -> list[tuple[str, str]]:
    table = _objectives(bundle)
    listed = table.get("objective", table.get("objectives", []))
    rows = [row for row in listed if isinstance(row, Mapping)] if isinstance(listed, list) else []
    return [(_text(row, "name"), _short(bundle, _text(row, "direction"))) for row in rows]


def _objectives(bundle: _Bundle) -> Mapping[str, object]:
    """A file of their own, or a part of the manifest."""
    path = bundle.file("objectives.toml")
    return TomlFile.read(path, TargetError).table if path else bundle.manifest


def _text(row: Mapping[str, object], key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else ""


def _number(bundle: _Bundle, *names: str) -> float:
    found: object = _objectives(bundle)
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, int | float) else 0.0


def _metric_name(bundle: _Bundle) -> str:
    stated = bundle.answers.metric or bundle.table("benchmark", "result").get("metric")
    if isinstance(stated, str) and stated:
        return stated
    script = _script(bundle, "benchmark")
    if script is not None and (match := _PRINTED.search(read_text(script, TargetError))):
        bundle.guess(f"the headline is {match[1]}: the benchmark prints it as `Primary metric:`")
        return match[1]
    raise TargetError("its files do not name the metric", where=str(bundle.root), fix="add --metric NAME")


def _direction(bundle: _Bundle, objective: str, name: str) -> str:
    if bundle.answers.direction:
        return bundle.answers.direction
    lines = [line for line in objective.splitlines() if _DIRECTED.search(line)]
    words = {match[0].lower()[:3] for line in lines for match in _DIRECTED.finditer(line)}
    if len(words) != 1:
        raise TargetError(
            f"nothing says whether more {name} is better", where=str(bundle.root), fix="add --direction max or min"
        )
    direction = words.pop()
    bundle.guess(f"direction {direction}: OBJECTIVE.md says {lines[0].strip()[:80]!r}")
    return direction


def _short(bundle: _Bundle, direction: str) -> str:
    if direction[:3] not in ("max", "min"):
        raise TargetError(f"direction {direction[:40]!r} is neither maximize nor minimize", where=str(bundle.root))
    return direction[:3]


def _unit(bundle: _Bundle, name: str) -> str:
    unit = next((unit for part, unit in _UNITS.items() if part in name), "units")
    bundle.guess(f"{name} is in {unit}")
    return unit


# ---- what is served, and by what it is judged -----------------------------------------------------------------------


def _model(bundle: _Bundle) -> dict[str, object]:
    meta = bundle.json("reference/meta.json")
    verifier = meta.get("verifier")
    inner = verifier if isinstance(verifier, Mapping) else {}
    identifier = str(meta.get("model_id") or inner.get("hf_id") or "")
    revision = bundle.answers.revision or str(meta.get("revision") or "")
    config = bundle.json("reference/config.json") or bundle.json("config.json")
    architecture = bundle.answers.architecture or str(config.get("model_type") or "")
    if not architecture:
        raise TargetError(
            "its files do not name the model's architecture", where=str(bundle.root), fix="add --architecture llama"
        )
    context = config.get("max_position_embeddings")
    if not isinstance(context, int):
        bundle.guess("the model's context is 4096 tokens")
    bundle.guess("the truth computes in float32")
    held_in = inner.get("dtype") or config.get("torch_dtype") or config.get("dtype")
    model: dict[str, object] = {
        "architecture": architecture,
        "dtype": "float32",
        "exact_in": held_in if held_in in ("bfloat16", "float16") else "",
        "max_context": context if isinstance(context, int) else 4096,
    }
    if identifier and re.fullmatch(r"[0-9a-f]{40}", revision):
        return model | {"source": "hub", "hub": {"id": identifier, "revision": revision}}
    why = f"{identifier} is not pinned to a revision" if identifier else "its files name no model"
    bundle.guess(f"the weights are local (--model DIR): {why}")
    return model | {"source": "local"}


def _programs(bundle: _Bundle) -> dict[str, object]:
    found: dict[str, object] = {}
    for ours, theirs in (("checker", "accuracy"), ("benchmark", "benchmark")):
        script = _script(bundle, theirs)
        if script is None:
            continue
        table = bundle.table(theirs)
        seconds = table.get("timeout_seconds", 300)
        found[ours] = {"command": _command(bundle, theirs, script), "timeout_s": seconds}
    if "benchmark" not in found:
        raise TargetError("it has no benchmark", where=str(bundle.root), fix="benchmark/benchmark.py")
    return found


def _script(bundle: _Bundle, table: str) -> Path | None:
    """The Python file that a command names, or the customary one."""
    named = next((word for word in bundle.words(table) if word.endswith(".py")), "").removeprefix("${PROJECT_ROOT}/")
    customary = {"accuracy": "accuracy_checker/checker.py", "benchmark": "benchmark/benchmark.py"}[table]
    return bundle.file(named) if named else bundle.file(customary)


def _command(bundle: _Bundle, table: str, script: Path) -> list[str]:
    words = bundle.words(table)
    behind = next((words[i + 1 :] for i, word in enumerate(words) if word.endswith(".py")), [])
    place = script.relative_to(bundle.root).as_posix()
    command = ["{python}", f"{{target}}/bundle/{place}", *map(bundle.placed, behind)]
    source = read_text(script, TargetError)
    if '"--url"' in source:
        command += ["--url", "{url}"]
    elif '"--port"' in source:
        command += ["--port", "{port}"]
    else:
        bundle.guess(f"{place} takes neither --url nor --port: it has to find the server at $PORT")
    if table == "benchmark":
        command += _told_to_write(bundle, source)
    return command


def _told_to_write(bundle: _Bundle, source: str) -> list[str]:
    """The option with which a benchmark writes its figures down, and the file."""
    named = bundle.table("benchmark", "result").get("json_argument")
    if isinstance(named, str) and named:
        return [named, "{out}"]
    if "result_protocol" in bundle.table("benchmark"):
        return ["--vs-output", "{out}"]
    if option := next((one for one in ("--output-json", "--vs-output") if one in source), ""):
        return [option, "{out}"]
    bundle.guess(
        "what the benchmark prints is its figures, as records or one JSON object: nothing else would be believed"
    )
    return []


def _copy(bundle: _Bundle, folder: Path) -> None:
    """The bundle whole, as it is; beside it what the judge needs."""
    example = shipped_targets()[EXAMPLE]
    folder.mkdir(parents=True)
    ignored = shutil.ignore_patterns(*IGNORED_NAMES, "*.bin", "*.pt", "*.pth")
    shutil.copytree(bundle.root, folder / "bundle", symlinks=True, ignore=ignored)
    shutil.copytree(example / "seed", folder / "seed", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "reference").mkdir()
    shutil.copyfile(example / "reference" / "reference.py", folder / "reference" / "reference.py")
    shutil.copyfile(example / "NOTICE", folder / "NOTICE")
    (folder / "benchmark").mkdir()
    shutil.copyfile(example / "benchmark" / "corpus.jsonl", folder / "benchmark" / "corpus.jsonl")
    objective = bundle.file("OBJECTIVE.md")
    assert objective is not None, "looked for before"
    shutil.copyfile(objective, folder / "OBJECTIVE.md")
