"""What a box is shown, before any tier makes it true."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vibeserve_tui.execution import bwrap, landlock
from vibeserve_tui.execution.box import BoxSpec, spec_from_json, spec_to_json
from vibeserve_tui.execution.view import SCRATCH, Bind, Empty, Interpreter, landlock_rules, view_of

TMP = SCRATCH[0]

PLAIN = Interpreter(prefixes=("/opt/python",), package="/srv/app/vibeserve_tui")


def test_folders_come_before_what_lies_in_them():
    spec = BoxSpec(("true",), Path(TMP, "a"), read_only=(Path(TMP, "a"),), writable=(Path(TMP, "a", "b", "c"),))
    paths = [entry.path for entry in view_of(spec, PLAIN)]

    assert paths.index(TMP) < paths.index(f"{TMP}/a") < paths.index(f"{TMP}/a/b/c")


def test_nothing_of_a_home_is_shown_but_what_was_named():
    shown = [entry.path for entry in view_of(BoxSpec(("true",), Path("/")), PLAIN)]

    assert not [path for path in shown if path.startswith(("/root", "/home/")) and path != "/home/sbx"]
    assert "/etc" not in shown
    assert "/etc/resolv.conf" not in shown


def test_an_installed_application_is_covered():
    installed = Interpreter(("/opt/python",), "/opt/python/lib/vibeserve_tui")
    entries = view_of(BoxSpec(("true",), Path("/")), installed)

    assert Empty("/opt/python/lib/vibeserve_tui", 1, writable=False) in entries
    assert not [entry for entry in view_of(BoxSpec(("true",), Path("/")), PLAIN) if entry.path == PLAIN.package]


def test_landlock_rules_leave_out_the_hidden_folder_and_its_links(tmp_path: Path):
    for folder in ("site/app/inner", "site/numpy", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin" / "python").touch()
    (tmp_path / "site" / "link-to-app").symlink_to("app")
    rules = dict(landlock.readable_without(str(tmp_path), [str(tmp_path / "site" / "app")]))

    assert rules == {
        str(tmp_path): landlock.LIST,
        str(tmp_path / "bin"): landlock.READ,
        str(tmp_path / "site"): landlock.LIST,
        str(tmp_path / "site" / "numpy"): landlock.READ,
    }


def test_landlock_rules_show_the_private_folder_instead_of_shared_scratch(tmp_path: Path):
    view = (Bind("/usr"), Empty(TMP, 8), Bind(str(tmp_path), writable=True))
    rules = landlock_rules(view, "/var/scratch", ((8000, landlock.BIND),))
    paths = dict(rules.paths)

    assert paths["/var/scratch"] == paths[str(tmp_path)] == landlock.WRITE
    assert paths["/usr"] == landlock.READ
    assert TMP not in paths
    assert rules.ports == ((8000, landlock.BIND),)


def test_a_set_uid_bubblewrap_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(bwrap, "_PLACES", (str(program),))
    assert bwrap.find() == str(program)

    program.chmod(0o755 | stat.S_ISUID)
    assert bwrap.find() is None


def test_a_bubblewrap_on_the_callers_path_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    planted = tmp_path / "bwrap"
    planted.write_text("#!/bin/sh\n")
    planted.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    assert bwrap.find() != str(planted)


def test_mounts_are_not_on_the_command_line_but_on_a_descriptor():
    options = bwrap.arguments((Bind("/usr"), Empty(TMP, 8)), cwd=TMP, own_network=True, seccomp_fd=7)
    words = options.decode().split("\0")

    assert words[-1] == ""
    assert ("--ro-bind", "/usr", "/usr") in zip(words, words[1:], words[2:], strict=False)
    assert words[words.index("--size") + 1 :][:3] == [str(8 << 20), "--tmpfs", TMP]
    assert "--unshare-net" in words
    assert b"--unshare-net" not in bwrap.arguments((), cwd="/", own_network=False, seccomp_fd=7)


def test_a_spec_survives_its_journey_to_the_launcher():
    spec = BoxSpec(
        ("a", "b\n"),
        Path("/w"),
        env={"A": "ä"},
        read_only=(Path("/r"),),
        writable=(Path("/w"),),
        devices=(Path("/dev/x"),),
        cores=frozenset({2, 0}),
        serves=True,
    )

    assert spec_from_json(spec_to_json(spec)) == spec
