"""Finding a compiler, choosing an instruction set, caching the library; and every way in which that fails."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.native_kernel.checkpoints import SIZES, write

AMD64 = frozenset({"sse2", "avx2", "fma", "avx512f"})


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    return write(tmp_path / "model", SIZES["one head each"])


def settings(native: ModuleType, **changed: object) -> Any:
    defaults = {"threads": 1, "slots": 2, "max_len": 64, "weights": "lossless", "variant": "scalar"}
    return native.Settings(**{**defaults, **changed})


def fake_compiler(folder: Path, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    compiler = folder / "c++"
    compiler.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    return folder


def test_the_fastest_instruction_set_of_the_cpu_is_chosen(native: ModuleType) -> None:
    choose = native.build.choose_variant
    assert choose(AMD64, "").name == "avx512"
    assert choose(AMD64 - {"avx512f"}, "").name == "avx2"
    assert choose(frozenset({"sse2"}), "").name == "scalar"
    assert choose(frozenset({"neon"}), "").name == "neon"
    assert choose(AMD64, "scalar").name == "scalar"


def test_an_instruction_set_that_the_cpu_lacks_is_refused_even_if_forced(native: ModuleType) -> None:
    with pytest.raises(native.Unavailable, match=r"VIBE_KERNEL=neon, but this CPU has no neon"):
        native.build.choose_variant(AMD64, "neon")
    with pytest.raises(native.Unavailable, match=r"VIBE_KERNEL=sse9 is not one of avx512, avx2, neon, scalar"):
        native.build.choose_variant(AMD64, "sse9")


def test_without_a_compiler_the_reason_says_so(
    native: ModuleType, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(native.Unavailable, match=r"^no compiler$"):
        native.open_native(model_dir, tmp_path / "build", settings(native))


def test_where_torch_is_missing_too_both_are_named(native: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(native.ConfigError, match=r"no native kernel \(no compiler\), and without it torch is needed"):
        native.torch_model(None, native.Unavailable("no compiler"))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param("echo 'error: no licence' >&2; exit 1", r"c\+\+: error: no licence", id="a compiler that fails"),
        pytest.param("exit 0", r"probe: .*No such file", id="a compiler that writes nothing"),
        pytest.param(
            'for last; do :; done; printf "#!/bin/sh\\nkill -ILL \\$\\$\\n" > "$last"; chmod +x "$last"',
            r"probe: exit status -4",
            id="a program that the CPU cannot run",
        ),
    ],
)
def test_a_compiler_counts_only_if_its_program_has_run(
    script: str, reason: str, native: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native.build, "COMPILERS", ("c++",))
    monkeypatch.setenv("PATH", f"{fake_compiler(tmp_path / 'bin', script)}:{os.defpath}")
    model_dir = write(tmp_path / "model", SIZES["one head each"])
    with pytest.raises(native.Unavailable, match=reason):
        native.open_native(model_dir, tmp_path / "build", settings(native))
    assert list((tmp_path / "build").iterdir()) == []


def test_a_build_folder_that_cannot_be_written_is_a_reason_not_a_crash(
    native: ModuleType, model_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "build").write_text("a file, not a folder", encoding="utf-8")
    with pytest.raises(native.Unavailable, match=r"cannot build: .*File exists"):
        native.open_native(model_dir, tmp_path / "build", settings(native))


def test_a_library_that_cannot_be_loaded_is_a_reason_not_a_crash(
    native: ModuleType, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "library", lambda *_: model_dir / "config.json")
    with pytest.raises(native.Unavailable, match="cannot load the kernel"):
        native.open_native(model_dir, tmp_path / "build", settings(native))


def test_the_library_is_compiled_once_and_found_again_without_a_compiler(
    native: ModuleType, model_dir: Path, build_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = native.open_native(model_dir, build_dir, settings(native))
    monkeypatch.setenv("PATH", "/nonexistent")
    second = native.open_native(model_dir, build_dir, settings(native, slots=3))
    assert first.kernel == second.kernel == "native-scalar"
    with pytest.raises(native.Unavailable, match="no compiler"):
        native.open_native(model_dir, build_dir, settings(native, max_len=65))


def test_a_kernel_that_computes_something_else_is_not_used(
    native: ModuleType, model_dir: Path, build_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = native.weights.Packer.gate_up
    monkeypatch.setattr(native.weights.Packer, "gate_up", lambda self, gate, up: packed(self, up, gate))
    with pytest.raises(native.Unavailable, match=r"self-test: logits of prefill are off by"):
        native.open_native(model_dir, build_dir, settings(native))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "gemma"}, "model type gemma"),
        ({"hidden_act": "gelu"}, "activation gelu"),
        ({"attention_bias": True}, "biases"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8}}, "scaled rotary embedding"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "scaled rotary embedding"),
        ({"head_dim": 7}, "head dimension 7"),
    ],
)
def test_a_model_that_the_kernel_would_compute_wrongly_is_refused(
    config: dict[str, object], reason: str, native: ModuleType, tmp_path: Path
) -> None:
    folder = write(tmp_path, SIZES["one head each"], **config)
    with pytest.raises(native.Unavailable, match=f"no kernel for {reason}"):
        native.Shape.read(folder)


def test_a_config_without_a_size_is_a_reason_not_a_crash(native: ModuleType, model_dir: Path) -> None:
    (model_dir / "config.json").write_text('{"model_type": "llama", "hidden_act": "silu"}', encoding="utf-8")
    with pytest.raises(native.Unavailable, match=r"config\.json has no 'num_attention_heads'"):
        native.Shape.read(model_dir)


def test_both_spellings_of_the_rotary_base_are_read(native: ModuleType, tmp_path: Path) -> None:
    folder = write(tmp_path, SIZES["one head each"])
    assert native.Shape.read(folder).rope_theta == 10000
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["rope_theta"]
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 5e5}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert native.Shape.read(folder).rope_theta == 5e5


def test_a_checkpoint_without_its_tensors_is_refused(native: ModuleType, model_dir: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(model_dir / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, model_dir / "model.safetensors")
    weights = native.Weights(native.Checkpoint(model_dir), native.Shape.read(model_dir))
    with pytest.raises(native.Unavailable, match=r"no tensor model\.layers\.0\.mlp\.up_proj\.weight"):
        list(weights.layers())
    (model_dir / "model.safetensors").unlink()
    with pytest.raises(native.Unavailable, match=r"no model\.safetensors"):
        native.Checkpoint(model_dir)
