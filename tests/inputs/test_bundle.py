"""Folders of the original system, as its examples are laid out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vibeserve_tui.errors import TargetError
from vibeserve_tui.inputs.bundle import Answers, import_bundle
from vibeserve_tui.inputs.target import Target, read_definition

MANIFEST = """
version = 1
[accuracy]
command = ["uv", "run", "python", "accuracy_checker/checker.py", "--data", "${PROJECT_ROOT}/data"]
timeout_seconds = 120
[benchmark]
command = ["uv", "run", "python", "benchmark/benchmark.py"]
timeout_seconds = 1800
[benchmark.result]
json_argument = "--output-json"
metric = "latency_ms.p50"
"""
OBJECTIVE = "# Serve a model\n\nMinimize the median latency of `/v1/completions`.\n"
REVISION = "0e9e39f249a16976918f6564b8830bc894c89659"


def bundle(folder: Path, manifest: str = MANIFEST, objective: str = OBJECTIVE, **files: str) -> Path:
    defaults = {
        "OBJECTIVE.md": objective,
        "accuracy_checker/checker.py": 'parser.add_argument("--url")',
        "benchmark/benchmark.py": 'parser.add_argument("--url")\nprint(f"Primary metric: speed = {x}")',
        "reference/config.json": json.dumps({"model_type": "llama", "max_position_embeddings": 8192}),
        "reference/meta.json": json.dumps({"model_id": "meta/llama", "revision": REVISION}),
    }
    if manifest:
        defaults["vibesys.input.toml"] = manifest
    for name, text in (defaults | files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def imported(source: Path, **known: str) -> tuple[Target, str]:
    target, guesses = import_bundle(source, source.parent / "mine", Answers(**known))
    assert read_definition(source.parent / "mine") == target
    return target, "\n".join(guesses)


def test_a_folder_with_a_manifest_becomes_a_target(tmp_path: Path) -> None:
    target, guesses = imported(bundle(tmp_path / "Llama"))
    (headline,) = target.headlines
    assert (headline.name, headline.direction, headline.unit) == ("latency_ms.p50", "min", "ms")
    assert "direction min" in guesses
    assert (target.model.source, target.model.hub.revision) == ("hub", REVISION)
    assert target.model.max_context == 8192
    assert target.programs.checker is not None
    assert target.programs.checker.command == (
        "{python}", "{target}/bundle/accuracy_checker/checker.py", "--data", "{workspace}/data", "--url", "{url}",
    )  # fmt: skip
    assert target.programs.benchmark is not None
    assert target.programs.benchmark.command[-4:] == ("--url", "{url}", "--output-json", "{out}")
    assert target.programs.benchmark.timeout_s == 1800
    folder = tmp_path / "mine"
    assert (folder / "bundle" / "benchmark" / "benchmark.py").is_file()
    assert (folder / "seed" / "server").is_dir()
    assert "Guesses" in (folder / "target.toml").read_text()


def test_a_manifest_may_lie_with_its_task(tmp_path: Path) -> None:
    source = bundle(tmp_path / "olmo", manifest="")
    home = source / ".vibesys" / "tasks" / "default"
    home.mkdir(parents=True)
    (home / "vibesys.input.toml").write_text(MANIFEST)
    target, _ = imported(source)
    assert target.headlines[0].name == "latency_ms.p50"


def test_declared_objectives_need_no_guess(tmp_path: Path) -> None:
    objectives = '[[objective]]\nname = "throughput"\ndirection = "maximize"\n[[objective]]\nname = "p99_ms"\ndirection = "minimize"\n[pareto]\nrelative_noise = 0.03\n'
    target, guesses = imported(bundle(tmp_path / "a", **{"objectives.toml": objectives}))
    assert [(one.name, one.direction, one.min_effect) for one in target.headlines] == [
        ("throughput", "max", 0.03), ("p99_ms", "min", 0.03),
    ]  # fmt: skip
    assert target.pareto
    assert "direction" not in guesses


def test_a_metric_that_is_only_printed_is_a_guess(tmp_path: Path) -> None:
    target, guesses = imported(bundle(tmp_path / "a", manifest="version = 1\n"), direction="max")
    assert target.headlines[0].name == "speed"
    assert "prints it as `Primary metric:`" in guesses


def test_weights_without_a_revision_are_local(tmp_path: Path) -> None:
    source = bundle(tmp_path / "a", **{"reference/meta.json": json.dumps({"verifier": {"hf_id": "org/model"}})})
    target, guesses = imported(source)
    assert target.model.source == "local"
    assert "org/model is not pinned" in guesses
    (tmp_path / "again").mkdir()
    pinned, _ = import_bundle(source, tmp_path / "again" / "mine", Answers(revision=REVISION))
    assert pinned.model.hub.id == "org/model"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"objective": "# X\nServe it well.\n"}, "--direction max or min"),
        ({"objective": "# X\nMaximize speed and minimize memory.\n"}, "--direction max or min"),
        ({"objective": "# X\nMinimize image generation time.\n"}, "only text can be judged"),
        ({"manifest": "version = 1\n", "benchmark/benchmark.py": "pass"}, "--metric NAME"),
        ({"reference/config.json": "{}"}, "--architecture llama"),
        ({"manifest": "version = [\n"}, "not valid TOML"),
        ({"reference/meta.json": "{"}, "not JSON"),
    ],
)
def test_what_cannot_be_guessed_is_asked_for(tmp_path: Path, change: dict[str, str], says: str) -> None:
    with pytest.raises(TargetError) as caught:
        imported(bundle(tmp_path / "a", **change))
    assert says in str(caught.value)
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_is_none_of_these_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(TargetError, match=r"it has OBJECTIVE\.md"):
        imported(tmp_path / "a")
