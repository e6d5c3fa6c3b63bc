"""A server's folder of weights does not tell whose weights they are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vibeserve_tui.execution import weights


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """As a cache of downloads has it: names are links to what they name."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "abc").write_text("weights")
    folder = tmp_path / "model"
    (folder / "notes").mkdir(parents=True)
    (folder / "model.safetensors").symlink_to("../blobs/abc")
    (folder / "config.json").write_text("{}")
    return folder


def lay_out(model: Path, name: str) -> Path:
    folder = model.with_name("served") / name
    weights.lay_out(model, folder, model.with_name("copies"))
    return folder


def test_every_start_has_a_folder_of_its_own_with_the_very_files(model: Path) -> None:
    first, second = lay_out(model, "first"), lay_out(model, "second")
    for folder in (first, second):
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
        assert not (folder / "model.safetensors").is_symlink()
        assert (folder / "model.safetensors").samefile(model / "model.safetensors")
    assert not model.with_name("copies").exists()


def test_where_nothing_can_be_linked_there_is_one_copy_for_all(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def refuse(source: Path, made: Path) -> None:
        if "copies" not in Path(source).parts:
            raise OSError(errno.EXDEV, "another file system")
        link(source, made)

    monkeypatch.setattr(os, "link", refuse)
    first, second = lay_out(model, "first"), lay_out(model, "second")
    assert (first / "model.safetensors").read_text() == "weights"
    assert (first / "model.safetensors").samefile(second / "model.safetensors")
    assert not (first / "model.safetensors").samefile(model / "model.safetensors")
    copied = (first / "model.safetensors").stat().st_mtime_ns
    assert copied == (model / "model.safetensors").stat().st_mtime_ns


def test_a_copy_that_was_cut_off_is_made_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off = model.with_name("copies") / "model.new"
    cut_off.mkdir(parents=True)
    (cut_off / "half").touch()
    test_where_nothing_can_be_linked_there_is_one_copy_for_all(model, monkeypatch)
    assert not (model.with_name("served") / "first" / "half").exists()
