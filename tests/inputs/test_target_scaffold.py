from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.inputs.small_target import EXAMPLE
from vibeserve_tui.errors import TargetError
from vibeserve_tui.inputs.scaffold import scaffold
from vibeserve_tui.inputs.target import Target, load_target, target_faults
from vibeserve_tui.inputs.toml_files import Section, TomlFile
from vibeserve_tui.inputs.toml_writer import commented


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE / "reference" / "model", tmp_path / "my-model"))


def test_a_new_target_for_a_local_model_is_complete_and_sound(tmp_path: Path, model: Path) -> None:
    target = scaffold(tmp_path / "my-target", model)
    assert target_faults(target.root, model=model) == []
    assert load_target(target.root, model=model) == target
    assert target.spec.model.source == "local"
    assert target.spec.model.exact_in == "bfloat16"
    assert target.spec.accuracy.tolerance_class == "numeric"
    assert (target.root / "seed" / "server" / "__main__.py").is_file()
    assert {path.name for path in target.root.iterdir()} >= {
        "OBJECTIVE.md",
        "README.md",
        "NOTICE",
        "benchmark",
        "reference",
    }


def test_every_field_of_a_new_declaration_stands_under_a_comment(tmp_path: Path, model: Path) -> None:
    lines = (scaffold(tmp_path / "my-target", model).root / "target.toml").read_text().splitlines()
    for name in Target.model_fields.keys() - {
        "format_version",
        "model",
        "serve",
        "workload",
        "accuracy",
        "programs",
        "limits",
    }:
        above = lines[next(number for number, line in enumerate(lines) if line.startswith(f"{name} = ")) - 1]
        assert above.startswith("# "), name
    assert "# path =" in lines


def test_a_model_without_chat_template_gets_text_and_no_chat_endpoint(tmp_path: Path, model: Path) -> None:
    settings = json.loads((model / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    target = scaffold(tmp_path / "plain", model)
    assert target.spec.workload.kind == "text"
    assert [endpoint.path for endpoint in target.spec.endpoints] == ["/v1/completions"]
    first = (target.root / "benchmark" / "corpus.jsonl").read_text().splitlines()[0]
    assert json.loads(first).keys() == {"id", "text"}


def test_a_short_context_shortens_prompts_and_the_seed(tmp_path: Path, model: Path) -> None:
    config = json.loads((model / "config.json").read_text()) | {"max_position_embeddings": 128}
    (model / "config.json").write_text(json.dumps(config))
    target = scaffold(tmp_path / "short", model)
    assert target.spec.workload.prompt_tokens is not None
    assert target.spec.workload.prompt_tokens.most == 64
    assert json.loads((target.root / "seed" / "server" / "config.json").read_text())["max_len"] == 128


@pytest.mark.parametrize(
    ("name", "backend", "what"),
    [
        ("My Target", "cpu", "not a target name"),
        ("fine", "CPU!", "not a plain word"),
        ("my-model", "cpu", "exists already"),
    ],
)
def test_a_wrong_name_leaves_nothing_behind(tmp_path: Path, model: Path, name: str, backend: str, what: str) -> None:
    with pytest.raises(TargetError, match=what) as caught:
        scaffold(tmp_path / name, model, backend=backend)
    assert caught.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["my-model"]


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"config\.json: cannot be read"):
        scaffold(tmp_path / "new", tmp_path)


class Plain(Section):
    text: str = "x"
    """Said with care."""
    absent: int | None = None
    numbers: tuple[float, ...] = ()


def test_what_is_written_reads_back_as_the_same_value(tmp_path: Path) -> None:
    value = Plain(text='quote " backslash \\ tab \t newline \n umlaut ü', numbers=(1.5, 2.0, 1e-7))
    path = tmp_path / "plain.toml"
    path.write_text(commented(value))
    assert TomlFile.read(path, TargetError).parse(Plain) == value
    assert path.read_text().startswith("# Said with care.\ntext = ")
    assert (
        tomllib.loads((EXAMPLE / "target.toml").read_text()).keys()
        <= tomllib.loads(commented(load_target(EXAMPLE).spec)).keys()
    )
