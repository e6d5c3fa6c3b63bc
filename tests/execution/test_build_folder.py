from __future__ import annotations

import os
from pathlib import Path

import pytest

from vibeserve_tui.execution.build_folder import BuildFolder


@pytest.fixture
def builds(tmp_path: Path) -> BuildFolder:
    folder = BuildFolder(tmp_path / "abc")
    folder.open()
    return folder


def test_it_keeps_what_was_there_when_it_was_closed(builds: BuildFolder) -> None:
    (builds.path / "kernel.so").write_text("built")
    assert not builds.is_closed
    assert builds.close()
    assert builds.is_closed
    assert (builds.path / "kernel.so").read_text() == "built"


def test_whoever_holds_the_old_folder_writes_where_nobody_looks(builds: BuildFolder) -> None:
    held = os.open(builds.path, os.O_RDONLY)
    builds.close()
    os.close(os.open("late", os.O_CREAT | os.O_WRONLY, dir_fd=held))
    assert list(builds.path.iterdir()) == []
    builds.forget()
    assert os.listdir(held) == []  # noqa: PTH208  its name is gone
    os.close(held)


def test_it_is_closed_once_and_stays_closed_for_another_engine(builds: BuildFolder) -> None:
    assert builds.close()
    again = BuildFolder(builds.path)
    again.open()
    assert again.is_closed
    assert not again.close()


def test_what_cannot_be_copied_is_an_error_of_the_file_system(builds: BuildFolder) -> None:
    os.mkfifo(builds.path / "pipe")
    with pytest.raises(OSError, match="only plain files"):
        builds.close()
