from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.inputs.small_target import EXAMPLE
from vibeserve_tui.errors import TargetError
from vibeserve_tui.inputs.own_targets import make_target, own_folder, own_targets, weights_of
from vibeserve_tui.inputs.scaffold import Traffic, scaffold
from vibeserve_tui.inputs.target import target_faults
from vibeserve_tui.inputs.trust import require_trust
from vibeserve_tui.starting import find_target


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return Path(shutil.copytree(EXAMPLE / "reference" / "model", tmp_path / "my-model"))


def test_an_own_target_is_trusted_and_found_by_its_name_with_its_weights(model: Path) -> None:
    target = make_target("mine", model)
    require_trust(target)
    assert own_targets() == {"mine": own_folder() / "mine"}
    assert find_target("mine") == own_folder() / "mine"
    assert weights_of(find_target("mine")) == model.resolve()


def test_weights_that_are_gone_are_not_named(model: Path) -> None:
    make_target("mine", model)
    shutil.rmtree(model)
    assert weights_of(find_target("mine")) is None
    assert weights_of(find_target("tiny-llama-chat")) is None


def test_a_shipped_name_and_a_folder_that_is_not_there_are_refused(model: Path) -> None:
    with pytest.raises(TargetError, match="shipped"):
        make_target("tiny-llama-chat", model)
    with pytest.raises(TargetError, match="no such folder"):
        make_target("mine", model / "nowhere")
    assert own_targets() == {}


@pytest.mark.parametrize("clients", [1, 3, 64])
def test_traffic_decides_levels_metrics_and_lengths(tmp_path: Path, model: Path, clients: int) -> None:
    target = scaffold(tmp_path / "t", model, traffic=Traffic(clients=clients, longest_prompt=20, answers=(5, 9)))
    assert target_faults(target.root, model=model) == []
    assert [level.id for level in target.spec.levels] == list(dict.fromkeys(["c1", f"c{clients}"]))
    headline = next(metric for metric in target.spec.metrics if metric.headline)
    assert headline.level == f"c{clients}"
    assert target.spec.level(f"c{clients}").requests >= 20, "fewer make no p90, which is guarded"
    assert target.spec.workload.prompt_tokens.most == 20
    assert target.spec.workload.output_tokens.most == 9
    assert f"`c{clients}`" in (target.root / "OBJECTIVE.md").read_text()


def test_traffic_that_is_none_or_does_not_fit_is_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(TargetError, match="clients"):
        Traffic(clients=0)
    with pytest.raises(TargetError, match="do not fit"):
        scaffold(tmp_path / "t", model, traffic=Traffic(answers=(100_000,)))
