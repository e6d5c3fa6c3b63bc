"""The check for real GPUs does all its steps on a stand-in, and says of each that failed why it did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gpu_check
from tests.backends.stand_ins import live, nvidia_smi, tools

__all__ = ["tools"]


def test_every_step_is_tried_and_what_failed_is_in_the_report(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(tools, live=live())
    monkeypatch.setattr(gpu_check, "LOOK_S", 0.2)
    monkeypatch.setattr(gpu_check, "BUSY", "import time; print('busy', flush=True); time.sleep(60)")
    monkeypatch.setattr("vibeserve_cpu.ceilings.MEASURING_S", 0.01)
    monkeypatch.setattr(gpu_check.Check, "torch", lambda self: (_ for _ in ()).throw(ValueError("no CUDA")))
    assert gpu_check.main(tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["device"]["name"] == "NVIDIA H200" and report["conformance"]["seen"] == []
    assert report["idle"]["seen"]["ready"]["ok"] and report["under_own_load"]["seen"]["trusted"]
    assert not report["under_foreign_load"]["seen"]["seen"], "the stand-in lists no process"
    assert report["release_after_a_kill"]["seen"]["held_bytes"] is None
    assert "nsys is not found" in report["nsys"]["seen"]["failed"]
    assert "no CUDA" in report["<lambda>"]["seen"]["failed"]
    assert "H200" in (tmp_path / "out" / "identity.csv").read_text()


def test_without_a_gpu_it_ends_with_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if gpu_check.CudaBackend().detect():
        pytest.skip("there is a GPU here")
    assert gpu_check.main(tmp_path / "out") == 3
    assert "no NVIDIA driver" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
