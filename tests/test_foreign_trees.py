"""A folder in which anything could be done is copied or removed, as an ordinary user too, and nothing beside it is touched."""

from __future__ import annotations

import inspect
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT
from vibeserve_tui import foreign_trees

DEEP = 3000
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
BESIDE = "somebody's key"


def closed(root: Path) -> None:
    (root / "inside" / "deeper").mkdir(parents=True)
    (root / "inside" / "deeper" / "file").write_text("x")
    (root / "inside" / "deeper" / "file").chmod(0)
    (root / "inside" / "deeper").chmod(0)
    (root / "inside").chmod(0o100)


def deep(root: Path) -> None:
    here = os.open(root, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def odd(root: Path) -> None:
    (root / "link").symlink_to("/etc")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    with open(os.fsencode(root) + b"/\xff\n", "w") as file:
        file.write("x")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "beside").write_text(BESIDE)
    (tmp_path / "workspace").mkdir()
    yield tmp_path / "workspace"
    foreign_trees.remove(tmp_path / "workspace")  # pytest could not remove it
    foreign_trees.remove(tmp_path / "copied")


@pytest.mark.parametrize("fill", [closed, deep, odd], ids=lambda fill: fill.__name__)
def test_whatever_is_in_it_it_is_removed_and_nothing_beside_it(root: Path, fill: Callable[[Path], None]) -> None:
    fill(root)
    foreign_trees.remove(root)
    assert [path.name for path in root.parent.iterdir()] == ["beside"]
    assert Path("/etc/passwd").exists()


def test_a_link_in_its_place_is_removed_and_not_followed(root: Path) -> None:
    (root / "file").touch()
    link = root.with_name("link")
    link.symlink_to(root)
    foreign_trees.remove(link)
    assert (root / "file").exists()
    assert not link.is_symlink()


def test_a_copy_has_the_same_files_modes_times_and_links(root: Path) -> None:
    (root / "folder").mkdir()
    (root / "folder" / "program").write_text("x")
    (root / "folder" / "program").chmod(0o4755)
    os.utime(root / "folder" / "program", ns=(10**18, 10**18))
    (root / "link").symlink_to("../beside")
    foreign_trees.copy(root, root.with_name("copied"))
    program = root.with_name("copied") / "folder" / "program"
    assert program.read_text() == "x"
    assert (program.stat().st_mode & 0o7777, program.stat().st_mtime_ns) == (0o755, 10**18)
    assert str((root.with_name("copied") / "link").readlink()) == "../beside"


def test_a_copy_takes_no_more_room_than_what_was_copied(root: Path) -> None:
    with (root / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(1 << 30)
        file.write(b"amid")
        file.truncate(3 << 30)
    (root / "hole").touch()
    os.truncate(root / "hole", 1 << 30)
    foreign_trees.copy(root, root.with_name("copied"))
    copied = root.with_name("copied") / "sparse"
    assert (copied.stat().st_size, copied.stat().st_blocks * 512 < 1 << 20) == (3 << 30, True)
    assert (root.with_name("copied") / "hole").stat().st_size == 1 << 30
    with copied.open("rb") as file:
        assert file.read(6) == b"begin\0"
        file.seek(1 << 30)
        assert file.read(5) == b"amid\0"


@pytest.mark.parametrize(
    ("fill", "why"), [(deep, "more than 64 folders"), (odd, "only plain files, folders and links")]
)
def test_what_cannot_be_copied_is_an_error(root: Path, fill: Callable[[Path], None], why: str) -> None:
    fill(root)
    with pytest.raises(OSError, match=why):
        foreign_trees.copy(root, root.with_name("copied"))


def test_a_file_that_turns_into_a_link_while_it_is_copied_gives_nothing_away(root: Path) -> None:
    (root / "file").write_text("mine")
    (root / "link").symlink_to(root.with_name("beside"))
    (root / "folder").mkdir()
    (root / "folder" / "beside").write_text("mine")
    (root / "linked").symlink_to(root.parent)
    ended = threading.Event()

    def exchange() -> None:
        turning = root / "turning"
        while not ended.is_set():
            for a, b in (("file", "link"), ("folder", "linked")):
                (root / a).rename(turning)
                (root / b).rename(root / a)
                turning.rename(root / b)

    attacker = threading.Thread(target=exchange)
    attacker.start()
    try:
        for number in range(100):
            copied = root.with_name("copied")
            foreign_trees.remove(copied)
            try:
                foreign_trees.copy(root, copied)
            except OSError:
                continue  # it was gone just then
            found = [path.read_text() for path in copied.rglob("*") if path.is_file() and not path.is_symlink()]
            assert BESIDE not in found, number
    finally:
        ended.set()
        attacker.join()


def test_files_and_links_are_listed_and_what_nobody_can_hold_is_left_out(root: Path) -> None:
    (root / "b" / "c").mkdir(parents=True)
    (root / "b" / "c" / "file").write_text("x")
    (root / "b" / "c" / "file").chmod(0o640)
    (root / "a").symlink_to(root.with_name("beside"))
    (root / "large").write_bytes(bytes(101))
    (root / "fits").write_bytes(bytes(100))
    (root / os.fsdecode(b"folder-\xff")).mkdir()
    (root / "astray").symlink_to(os.fsdecode(b"\xff"))
    odd(root), deep(root)
    found = {name: (mode & 0o777, content) for name, mode, content in foreign_trees.files(root, largest=100)}
    assert found.pop("a")[1] == str(root.with_name("beside"))
    assert found.pop("b/c/file") == (0o640, b"x")
    assert found.pop("fits")[1] == bytes(100)
    assert [(name, content) for name, (_, content) in found.items()] == [("dangling", "nowhere"), ("link", "/etc")]


def test_named_files_and_folders_go_and_links_of_that_name_stay(root: Path) -> None:
    (root / "a" / "__pycache__").mkdir(parents=True)
    (root / "a" / "__pycache__" / "x.pyc").touch()
    (root / "a" / ".DS_Store").touch()
    (root / "a" / "kept").touch()
    (root / "__pycache__").symlink_to(root.parent)
    deep(root)
    foreign_trees.remove_named(root, frozenset({"__pycache__", ".DS_Store"}))
    assert [path.name for path in (root / "a").iterdir()] == ["kept"]
    assert (root / "__pycache__").is_symlink()
    assert root.with_name("beside").exists()


AS_USER = """
root = Path(sys.argv[1], "workspace")
root.mkdir()
closed(root), deep(root)
try:
    foreign_trees.copy(root, root.with_name("copied"))
except PermissionError as error:
    print(error.strerror)
for name in ("workspace", "copied"):
    foreign_trees.remove(root.with_name(name))
print(os.listdir(sys.argv[1]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the others have shown it for an ordinary user")
def test_an_ordinary_user_gets_rid_of_what_was_closed_to_it() -> None:
    folder = Path("/tmp", f"foreign-{os.getpid()}")  # noqa: S108 - pytest's own is closed to others
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    imports = "import os, sys\nsys.path.insert(0, sys.argv[2])\nfrom pathlib import Path\nfrom vibeserve_tui import foreign_trees\n"
    source = f"{imports}DEEP = {DEEP}\n{inspect.getsource(closed)}{inspect.getsource(deep)}{AS_USER}"
    argv = [*NOBODY, "/usr/bin/python3", "-B", "-c", source, folder, ROOT]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    foreign_trees.remove(folder)
    assert done.stdout == "Permission denied\n[]\n", done.stderr


def test_a_copy_takes_no_more_than_it_may_and_holes_cost_nothing(root: Path) -> None:
    with (root / "hole").open("wb") as file:
        file.truncate(1 << 40)
    foreign_trees.copy(root, root.with_name("copied"), most=1 << 20)
    foreign_trees.remove(root.with_name("copied"))
    (root / "large").write_bytes(b"x" * (2 << 20))
    with pytest.raises(OSError, match="more than may be copied"):
        foreign_trees.copy(root, root.with_name("copied"), most=1 << 20)
    assert not (root.with_name("copied") / "large").exists()
