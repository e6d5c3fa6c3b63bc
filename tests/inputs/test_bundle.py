"""Folders of the original system, as its examples are laid out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vibeserve_tui.errors import TargetError
from vibeserve_tui.inputs.bundle import Answers, import_bundle, plain_name
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
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
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


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Llama-3.1-8B-Instruct-MLX-8bit", "llama-3-1-8b-instruct-mlx-8bit"),
        ("a" * 39 + ".b", "a" * 39),
        ("..", "imported"),
    ],
)
def test_a_target_s_name_is_made_of_its_folder_s(tmp_path: Path, folder: str, name: str) -> None:
    assert plain_name(folder) == name
    target, _ = import_bundle(bundle(tmp_path / "a"), tmp_path / name, Answers())
    assert target.name == name


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


def test_a_task_s_programs_are_found_wherever_the_manifest_says_that_they_are(tmp_path: Path) -> None:
    home = ".vibesys/tasks/prefix"
    root = "${PROJECT_ROOT}"
    manifest = f"""
version = 1
[accuracy]
command = ["uv", "run", "--offline", "python", "{root}/{home}/accuracy_checker/checker.py", "--seen={root}/reference"]
[benchmark]
entrypoint = "request-factory-adapter"
args = ["{root}/{home}/benchmark/run.py", "--mode", "quick", "--scratch", "{root}/artifacts/new"]
result_protocol = 2
"""
    files = {
        f"{home}/vibesys.input.toml": manifest,
        f"{home}/objectives.toml": '[[objective]]\nname = "p50_ttft_ms"\ndirection = "min"\n',
        f"{home}/accuracy_checker/checker.py": 'add_argument("--url")',
        f"{home}/benchmark/run.py": 'add_argument("--url"); add_argument("--output-json"); add_argument("--vs-output")',
        ".vibesys/tasks/throughput/vibesys.input.toml": MANIFEST,
    }
    target, guesses = imported(bundle(tmp_path / "a", manifest="", **files))
    assert target.programs.checker is not None
    assert target.programs.benchmark is not None
    copy = "{target}/bundle"
    assert target.programs.checker.command == (
        "{python}", f"{copy}/{home}/accuracy_checker/checker.py", f"--seen={copy}/reference", "--url", "{url}",
    )  # fmt: skip
    assert target.programs.benchmark.command == (
        "{python}", f"{copy}/{home}/benchmark/run.py", "--mode", "quick", "--scratch", "{workspace}/artifacts/new",
        "--url", "{url}", "--vs-output", "{out}",
    )  # fmt: skip
    assert "the task is prefix; it has others: throughput" in guesses
    (headline,) = target.headlines
    assert (headline.name, headline.direction, headline.level) == ("p50_ttft_ms", "min", "own")


def test_objectives_may_stand_in_the_manifest(tmp_path: Path) -> None:
    manifest = MANIFEST + '[[objective]]\nname = "speed"\ndirection = "maximize"\n'
    target, _ = imported(bundle(tmp_path / "a", manifest=manifest))
    assert [(one.name, one.direction) for one in target.headlines] == [("speed", "max")]


@pytest.mark.parametrize(
    ("objective", "backend"),
    [("# X\nMinimize latency on an H100.\n", "cuda"), ("# X\nMinimize latency with MLX.\n", "metal")],
)
def test_the_hardware_and_the_arithmetic_are_guesses(tmp_path: Path, objective: str, backend: str) -> None:
    config = {"model_type": "llama", "max_position_embeddings": 8192, "torch_dtype": "bfloat16"}
    source = bundle(tmp_path / "a", objective=objective, **{"reference/config.json": json.dumps(config)})
    target, guesses = imported(source)
    assert target.backends == (backend,)
    assert f"it is for {backend}" in guesses
    assert (target.model.dtype, target.model.exact_in) == ("float32", "bfloat16")
    assert "the truth computes in float32" in guesses


def test_a_benchmark_that_writes_no_file_is_said_to_be_read_from_what_it_prints(tmp_path: Path) -> None:
    target, guesses = imported(bundle(tmp_path / "a", manifest="version = 1\n"), direction="max")
    assert target.programs.benchmark is not None
    assert "{out}" not in target.programs.benchmark.command
    assert "what the benchmark prints is its figures" in guesses


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
        ({"reference/meta.json": "[" * 100_000}, "not JSON"),
        ({"manifest": "a = " + "[" * 100_000}, "nested too deeply"),
        ({"manifest": "a." * 10_000 + "b = 1"}, "too many dots"),
        ({"objective": "# Minimize\udcff"}, "not UTF-8"),
        ({"objective": "# Minimize" + "x" * (1 << 20)}, "larger than"),
        ({"objectives.toml": f"objective = [{{ name = 0x{'f' * 9000}, direction = 'max' }}]"}, "name"),
        ({"objectives.toml": f"pareto.relative_noise = 0x{'f' * 9000}", "manifest": MANIFEST}, "more than 64 bits"),
        ({"manifest": MANIFEST.replace("benchmark/benchmark.py", "/etc/passwd.py")}, "it has no benchmark"),
        ({"manifest": MANIFEST.replace("benchmark/benchmark.py", "../../x.py")}, "it has no benchmark"),
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


@pytest.mark.parametrize("name", ["OBJECTIVE.md", "reference/config.json", "extra", "benchmark/deeper"])
def test_nothing_is_read_through_a_link_and_none_is_copied(tmp_path: Path, name: str) -> None:
    """Who imports somebody's folder would else hand his own files to its programs."""
    source = bundle(tmp_path / "a")
    (tmp_path / "key").write_text('{"model_type": "the user\'s own"}')
    (source / name).unlink(missing_ok=True)
    (source / name).symlink_to(tmp_path / "key")
    with pytest.raises(TargetError, match="is a link"):
        imported(source)
    assert not (tmp_path / "mine").exists()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    source = bundle(tmp_path / "a")
    os.mkfifo(source / "reference" / "pipe")
    with pytest.raises(TargetError, match="not a regular file"):
        imported(source)


def test_a_guess_stays_the_comment_that_it_is(tmp_path: Path) -> None:
    meta = {"model_id": "x\n[serve]\ncommand = ['sh']\n#"}
    target, guesses = imported(bundle(tmp_path / "a", **{"reference/meta.json": json.dumps(meta)}))
    assert "is not pinned" in guesses
    assert target.serve.command == ("{python}", "-m", "server")
