"""The profile for macOS: its text, byte for byte; nothing of it has been run on a Mac."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from vibeserve_tui.execution import seatbelt
from vibeserve_tui.execution.seatbelt import Box

GOLDEN = Path(__file__).parent / "data"
UPDATE = "VIBESERVE_UPDATE_SNAPSHOTS"
BOXES = {
    "tool": Box(read_only=("/opt/python",), writable=("/runs/1/workspace",), scratch="/private/tmp/box-1"),
    "server": Box(read_only=("/opt/python", "/runs/1/checkout"), scratch="/private/tmp/box-2", ports=(8123,)),
}  # fmt: skip


@pytest.mark.parametrize("name", BOXES)
def test_the_profile_is_the_one_that_was_reviewed(name: str) -> None:
    golden = GOLDEN / f"seatbelt-{name}.sbpl"
    if os.environ.get(UPDATE):
        golden.write_text(seatbelt.profile(BOXES[name]), "utf-8")
    assert seatbelt.profile(BOXES[name]) == golden.read_text("utf-8")


@pytest.mark.parametrize("name", BOXES)
def test_the_profile_is_well_formed(name: str) -> None:
    text = re.sub(r";[^\n]*", "", seatbelt.profile(BOXES[name]))
    depth = 0
    for character in re.sub(r'"[^"]*"', "", text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert text.count('"') % 2 == 0
    used, given = set(re.findall(r'param "(\w+)"', text)), set(seatbelt.parameters(BOXES[name]))
    assert used == given


def test_everything_is_denied_that_is_not_named() -> None:
    text = seatbelt.profile(Box())
    assert "(deny default)" in text
    assert "network" not in re.sub(r";[^\n]*", "", text)
    assert not re.search(r"file-write\*", text)
    assert "/Users" not in text


def test_only_the_pods_ports_can_be_bound_and_reached() -> None:
    rules = re.findall(r"\(allow network.*", seatbelt.profile(Box(ports=(8123,))))
    assert rules == [
        '(allow network-bind network-inbound (local ip "localhost:8123"))',
        '(allow network-outbound (remote ip "localhost:8123"))',
    ]


def test_paths_are_parameters_and_never_text_of_the_profile() -> None:
    odd = '/tmp/a") (allow default) (literal "'  # noqa: S108
    argv = seatbelt.command(Box(writable=(odd,)), ["server", "--port", "1"])
    assert odd not in seatbelt.profile(Box(writable=(odd,)))
    assert f"-DWRITE_0={odd}" in argv
    assert argv[-4:] == ["--", "server", "--port", "1"]
    assert argv[0] == "/usr/bin/sandbox-exec"


@pytest.mark.parametrize("path", ["relative", "/a/../b", ""])
def test_a_path_that_does_not_mean_what_it_says_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="absolute"):
        seatbelt.parameters(Box(read_only=(path,)))
