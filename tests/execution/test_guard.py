from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from vibeserve_tui.execution.guard import tree_faults


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder in ("tree", "seed"):
        path = tmp_path / folder / "server" / "__main__.py"
        path.parent.mkdir(parents=True)
        path.write_text("print('hello')\n")
    return tmp_path / "tree"


def faults(tree: Path) -> list[str]:
    return tree_faults(tree, tree.with_name("seed"))


def write(name: str, content: bytes = b"x = 1\n") -> Callable[[Path], None]:
    def make(tree: Path) -> None:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)

    return make


BASE64 = Random(1).choices(b"ABCDEFGHabcdefgh01234567+/", k=6000)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (write("sitecustomize.py"), "sitecustomize.py: Python would run this file by itself"),
        (write("server/usercustomize.py"), "server/usercustomize.py: Python would run this file by itself"),
        (write("tests/conftest.py"), "tests/conftest.py: Python would run this file by itself"),
        (write("a.pth"), "a.pth: Python would run this file by itself"),
        (write("json.py"), "json.py: hides a module of the standard library"),
        (write("json/__init__.py"), "json: hides a module of the standard library"),
        (write("server/.git/HEAD"), "server/.git: a nested repository is not allowed"),
        (write(".gitmodules"), ".gitmodules: a nested repository is not allowed"),
        (write("server/a\nb.py"), "a name that is not what it looks like"),
        (write("server/\u202etxt.py"), "a name that is not what it looks like"),
        (write("server/\udcff.py"), "a name that is not what it looks like"),
        (write("server/__MAIN__.py"), "server/__main__.py: other systems take this for server/__MAIN__.py"),
        (write("target.toml"), "target.toml: this is the target's, which a candidate may not bring or change"),
        (write("reference/reference.py"), "reference: this is the target's"),
        (write("server/x.so"), "server/x.so: compiled code cannot be reviewed; compile into $BUILD_DIR"),
        (write("server/__pycache__/x.cpython-311.pyc"), "x.cpython-311.pyc: compiled code cannot be reviewed"),
        (write("server/a.bin", b"\0" * 2000), "server/a.bin: a binary file"),
        (write("server/a.txt", b"\xff" * 2000), "server/a.txt: a binary file"),
        (write("server/a.json", b"1, " * 100_000), "server/a.json: 292 KiB are data, not source"),
        (write("server/a.py", b'X = "' + bytes(BASE64) + b'"\n'), "server/a.py: holds 6000 bytes of packed data"),
        (write("server/b.py", b'X = b"' + b"\\xf3" * 1000 + b'"\n'), "server/b.py: holds 4000 bytes of packed data"),
        (write("server/h.py", b"X = '" + b"0f3a" * 1000 + b"'\n"), "server/h.py: holds 4000 bytes of packed data"),
        (
            lambda tree: (tree / "out").symlink_to("/etc"),
            "out: only plain files are allowed: no links, pipes or devices",
        ),
        (lambda tree: os.mkfifo(tree / "pipe"), "pipe: only plain files are allowed"),
    ],
)
def test_what_a_tree_may_not_hold_is_named(tree: Path, make: Callable[[Path], None], says: str) -> None:
    make(tree)
    (fault,) = faults(tree)
    assert says in fault


def test_packed_data_in_many_short_lines_is_still_packed_data(tree: Path) -> None:
    lines = [bytes(BASE64[i : i + 76]).decode() for i in range(0, len(BASE64), 76)]
    write("server/a.py", ("X = (\n" + "\n".join(f'    "{line}"' for line in lines) + "\n)\n").encode())(tree)
    assert "bytes of packed data" in faults(tree)[0]


@pytest.mark.parametrize(
    "make",
    [
        write("server/json.py"),
        write("server/reference.py"),
        write("pyproject.toml"),
        write("server/kernel.cpp", b"static constexpr int kNumberOfRowsThatAreHandledTogetherInOneBlock32 = 1;\n" * 50),
        write(
            ".vibeserve/capabilities.json", b'{"a": "' + b"0123456789abcdef" * 4 + b'"}\n' + b'"' + b"f" * 64 + b'"\n'
        ),
        write("server/small.bin", b"\0" * 100),
        write("server/words.txt", b"several words that are no data at all, " * 200),
    ],
)
def test_ordinary_source_is_left_alone(tree: Path, make: Callable[[Path], None]) -> None:
    make(tree)
    assert faults(tree) == []


def test_what_the_seed_has_is_the_users_own_until_it_is_changed(tree: Path) -> None:
    for folder in (tree, tree.with_name("seed")):
        write("conftest.py")(folder)
        write("server/logo.png", b"\x89PNG\0" * 500)(folder)
    assert faults(tree) == []
    write("server/logo.png", b"\x89PNG\0" * 501)(tree)
    assert len(faults(tree)) == 1


def test_a_tree_that_nobody_could_review_is_refused(tree: Path) -> None:
    for number in range(40):
        write(f"server/part_{number}.txt", b"a b c d e f\n" * 20_000)(tree)
    assert faults(tree) == ["9 MiB are more source than anybody can review"]
