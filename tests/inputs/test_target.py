from __future__ import annotations

import math
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from tests.inputs.small_target import EXAMPLE, write_model, write_target
from vibeserve_tui.errors import EnvironmentFault, TargetError
from vibeserve_tui.inputs.model_folder import read_model_shape
from vibeserve_tui.inputs.target import load_target, read_definition
from vibeserve_tui.inputs.target_files import TARGET_TREE, copy_tree, tree_digest
from vibeserve_tui.inputs.workload_spec import ClosedLevel, UniformLength
from vibeserve_tui.metrics import Role
from vibeserve_tui.resources import Shipped, shipped_folder, shipped_targets


@pytest.mark.parametrize("name", shipped_targets())
def test_every_shipped_target_loads_under_its_own_name(name: str) -> None:
    target = load_target(shipped_targets()[name])
    assert target.spec.name == name
    assert target.objective.strip()


def test_the_default_target_declares_what_its_readme_says() -> None:
    target = load_target(EXAMPLE)
    assert target.spec.workload.prompt_tokens == UniformLength(dist="uniform", min=48, max=199)
    assert target.spec.level("c16") == ClosedLevel(id="c16", mode="closed", concurrency=16, requests=32)
    assert target.spec.accuracy.gap_limits.max == 0.002
    assert [metric.key for metric in target.spec.metric_specs if metric.role is Role.HEADLINE] == [
        "output_throughput@c16"
    ]


def test_the_shape_of_the_default_model_is_read_from_its_files() -> None:
    shape = read_model_shape(load_target(EXAMPLE).model_dir)
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.head_dim) == (5, 192, 4, 2, 48)
    assert (shape.ffn, shape.vocab, shape.tied, shape.attention) == (512, 1024, True, "full")
    assert (shape.parameters, shape.weight_bytes) == (2_226_240, 2 * 2_226_240)


def test_relative_bounds_become_log_ratios(tmp_path: Path) -> None:
    target = load_target(
        write_target(tmp_path, lambda text: text.replace("headline = true", "headline = true, min_effect = 0.1"))
    )
    headline, ttft = target.spec.metric_specs[0], target.spec.metric_specs[3]
    assert headline.min_effect == pytest.approx(math.log(1.1))
    assert ttft.tolerance == pytest.approx(math.log(1.05))


def test_a_tail_of_the_gaps_within_answers_has_more_samples_than_requests(tmp_path: Path) -> None:
    target = load_target(write_target(tmp_path, lambda text: text.replace('"p90_ttft_ms"', '"p99_itl_ms"')))
    assert target.spec.guards[0].spec.stat.least_samples == 1000 > target.spec.level("c16").requests


def test_a_local_model_is_taken_from_the_given_folder_and_missed_without_one(tmp_path: Path) -> None:
    root = write_target(
        tmp_path, lambda text: text.replace('source = "bundled"\npath = "reference/model"', 'source = "local"')
    )
    with pytest.raises(TargetError, match="add --model DIR"):
        load_target(root)
    write_model(tmp_path / "weights")
    assert load_target(root, model=tmp_path / "weights").model_dir == tmp_path / "weights"
    assert read_definition(root).name == "tiny-llama-chat"


def test_overrides_of_a_backend_are_merged_into_the_declaration(tmp_path: Path) -> None:
    overrides = '\n[backend.cuda]\naccuracy.class = "numeric"\nserve.timeout_s.ready = 300\nconstraints = ["one GPU"]\n'
    target = load_target(write_target(tmp_path, lambda text: text + overrides))
    cuda, cpu = target.for_backend("cuda").spec, target.for_backend("cpu").spec
    assert (cuda.accuracy.tolerance_class, cpu.accuracy.tolerance_class) == ("numeric", "exact")
    assert (cuda.serve.timeout_s.ready, cuda.serve.timeout_s.build) == (300, 180)
    assert (cuda.constraints, len(cpu.constraints)) == (("one GPU",), 2)
    with pytest.raises(TargetError, match="not made for backend 'rocm'"):
        target.for_backend("rocm")


def test_limits_of_the_target_override_those_of_its_class(tmp_path: Path) -> None:
    target = load_target(
        write_target(
            tmp_path, lambda text: text.replace('class = "exact"', 'class = "numeric"\nlimits = { mean = 0.0005 }')
        )
    )
    limits = target.spec.accuracy.gap_limits
    assert (limits.max, limits.share_05, limits.mean) == (None, 0.002, 0.0005)


def test_the_trust_hash_changes_with_any_byte_name_or_executable_bit(tmp_path: Path) -> None:
    root = write_target(tmp_path)
    digests = {tree_digest(root)}
    program = root / "benchmark" / "check.py"
    program.write_text("a")
    digests.add(tree_digest(root))
    program.write_text("b")
    digests.add(tree_digest(root))
    program.chmod(0o755)
    digests.add(tree_digest(root))
    program.rename(root / "benchmark" / "chekc.py")
    digests.add(tree_digest(root))
    assert len(digests) == 5


def test_the_trust_hash_does_not_change_with_caches_umask_or_place(tmp_path: Path) -> None:
    root = write_target(tmp_path)
    before = tree_digest(root)
    (root / "seed" / "__pycache__").mkdir()
    (root / "seed" / "__pycache__" / "x.pyc").write_bytes(b"x")
    (root / ".git").mkdir()
    (root / "OBJECTIVE.md").chmod(0o600)
    assert tree_digest(root.rename(tmp_path / "elsewhere")) == before


def test_the_trust_hash_is_the_documented_one(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1")
    files = [("a/x", b"1"), ("b", b"2")]
    lines = ["\0".join([path, "644", "1", sha256(content).hexdigest()]) + "\n" for path, content in files]
    assert tree_digest(tmp_path) == sha256("".join(lines).encode()).hexdigest()


def test_a_copied_target_is_read_only_equal_and_without_caches(tmp_path: Path) -> None:
    target = load_target(write_target(tmp_path))
    cache = target.root / "reference" / "__pycache__"
    cache.mkdir()
    (cache / "reference.cpython-311.pyc").write_bytes(b"stale")
    copy = target.copied(tmp_path / "run")
    assert copy.digest == target.digest == tree_digest(copy.root)
    assert copy.root == tmp_path / "run" / "tiny-llama-chat"
    assert copy.model_dir == copy.root / "reference" / "model"
    assert not list(copy.root.rglob("__pycache__"))
    assert not [path for path in copy.root.rglob("*") if path.is_file() and path.stat().st_mode & 0o222]
    assert load_target(copy.root) == copy


def test_a_copy_is_capped_in_files_bytes_and_depth(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a" / "b" / "c").mkdir(parents=True)
    (source / "a" / "b" / "c" / "file").write_bytes(bytes(2048))
    for name, rules in {
        "files": replace(TARGET_TREE, max_files=0),
        "bytes": replace(TARGET_TREE, max_bytes=2047),
        "depth": replace(TARGET_TREE, max_depth=2),
    }.items():
        with pytest.raises(TargetError):
            copy_tree(source, tmp_path / name, rules)
    copy_tree(source, tmp_path / "fits", replace(TARGET_TREE, max_files=1, max_bytes=2048, max_depth=3))


def test_a_copy_never_follows_a_link_out_of_the_target(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    source = tmp_path / "source"
    source.mkdir()
    (source / "innocent").symlink_to(secret)
    with pytest.raises(TargetError, match="innocent: is a link"):
        copy_tree(source, tmp_path / "copy")
    assert not (tmp_path / "copy" / "innocent").exists()


def test_shipped_data_is_found_in_a_wheel_before_a_checkout_and_missed_by_name(tmp_path: Path) -> None:
    package = tmp_path / "site" / "vibeserve_tui"
    package.mkdir(parents=True)
    with pytest.raises(EnvironmentFault, match="the shipped targets are missing"):
        shipped_folder(Shipped.TARGETS, package)
    beside = tmp_path / "site" / "targets"
    beside.mkdir()
    assert shipped_folder(Shipped.TARGETS, package) == beside
    inside = package / "_data" / "targets"
    inside.mkdir(parents=True)
    assert shipped_folder(Shipped.TARGETS, package) == inside
