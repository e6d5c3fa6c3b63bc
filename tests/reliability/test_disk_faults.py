"""A disk that is full or broken from the k-th write on: one clear end, a sound run, and the rest after it is mended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.outcome import faults, outcome_of, whole_groups
from tests.reliability.synthetic import prepare
from tests.reliability.yard import Yard
from vibeserve_tui.client import open_state
from vibeserve_tui.errors import DiskFull, EnvironmentFault, StateDamaged
from vibeserve_tui.state import place
from vibeserve_tui.state.run_dir import RunDir

ROOT = Path(__file__).parents[2]
POINTS = int(os.environ.get("VIBESERVE_TEST_DISK_FAULTS", "15"))
"""Evenly spread over all places where a write can fail; 0 = every one."""
PAUSED, DAMAGED = 4, 5


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    memory = Path("/dev/shm")  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="vibeserve-faults-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with Yard() as started:
        yield started


@pytest.fixture(scope="module")
def writes(ground: Path, yard: Yard) -> list[int]:
    """The failpoints at which a disk can say no: not behind a write that it took, and names it can always give up."""
    folder, log = ground / "golden", ground / "visits"
    folder.mkdir()
    prepare(folder)
    assert yard.run(folder, f"count:{log}") == 0
    visits = enumerate(log.read_text().splitlines(), 1)
    return [number for number, name in visits if not name.endswith(".after") and not name.startswith("unlink")]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "code"), [("enospc", PAUSED), ("eio", DAMAGED)])
def test_whatever_write_fails_the_run_ends_clearly_and_goes_on_later(
    fault: str, code: int, *, ground: Path, yard: Yard, writes: list[int], record_property
) -> None:
    golden = outcome_of(ground / "golden")
    points = [writes[number * len(writes) // POINTS] for number in range(POINTS)] if POINTS else writes
    record_property("trials", f"{fault.upper()} at {len(points)} of {len(writes)} writes")
    for point in points:
        folder = ground / f"{fault}-{point}"
        folder.mkdir(exist_ok=True)
        directory = prepare(folder)
        ended = yard.run(folder, f"{fault}:{point}")
        # Behind the last record only views are written, which the next engine makes again.
        assert ended == code or (ended == 0 and open_state(directory).is_over), point
        before = whole_groups(directory.journal.read_bytes()) if directory.journal.exists() else b""
        assert yard.run(folder) == 0, point
        assert faults(folder, before) == [], point
        assert not (directory.path / "reserve").exists(), point
        assert outcome_of(folder).digest == golden.digest, point
        shutil.rmtree(folder)


FULL_DISK = """
import os, sys
from pathlib import Path
from tests.reliability import synthetic
from vibeserve_tui.state import place
folder = Path(sys.argv[1])
run = synthetic.prepare(folder)
keep = place.keep_reserve
def keep_and_fill(directory):
    keep(directory)
    with open(folder / "ballast", "wb") as ballast:
        try:
            while True:
                ballast.write(bytes(4096)); ballast.flush()
        except OSError:
            pass
place.keep_reserve = keep_and_fill
place.FLOOR = 0
place.require_room = lambda directory: None
sys.stdout.write(str(synthetic.work_on(folder)))
sys.stdout.flush()
(folder / "ballast").unlink()
place.keep_reserve = keep
sys.stdout.write(f" {synthetic.work_on(folder)}")
"""


@pytest.mark.slow
def test_a_file_system_that_is_really_full_pauses_the_run_with_the_help_of_the_reserve(tmp_path: Path) -> None:
    # A file system of 8 MiB of our own, which nobody else sees.
    script = 'mount -t tmpfs -o size=8m none "$1" && exec "$2" -c "$3" "$1"'
    argv = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", tmp_path, sys.executable]
    # After the ballast is gone the same engine function ends the run.
    done = subprocess.run([*argv, FULL_DISK], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert done.stdout == f"{PAUSED} 0", done.stderr


def test_too_little_room_is_said_before_a_round_is_begun(tmp_path: Path) -> None:
    directory = prepare(tmp_path)
    with pytest.raises(DiskFull, match="GiB are free, a round needs") as caught:
        place.require_room(directory, floor=1 << 60)
    assert caught.value.exit_code == PAUSED


def test_a_reserve_is_kept_and_given_up(tmp_path: Path) -> None:
    directory = prepare(tmp_path)
    place.keep_reserve(directory)
    reserve = directory.path / "reserve"
    assert reserve.stat().st_size == place.RESERVE
    assert reserve.stat().st_blocks * 512 >= place.RESERVE
    place.give_up_reserve(directory)
    assert not reserve.exists()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    directory = prepare(tmp_path)
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:5 / {tmp_path} rw,relatime - {kind} server:/ rw\n")
    with pytest.raises(EnvironmentFault, match=kind) as caught:
        place.require_local(directory, mounts)
    assert caught.value.exit_code == 3
    mounts.write_text(f"1 0 8:1 / / rw - {kind} server:/ rw\n2 1 0:5 / {tmp_path} rw shared:3 - ext4 /dev/sdb rw\n")
    place.require_local(directory, mounts)


def test_a_run_directory_that_was_moved_away_is_noticed(tmp_path: Path) -> None:
    directory = prepare(tmp_path)
    opened = os.open(directory.path, os.O_RDONLY)
    place.require_same_folder(directory, opened)
    directory.path.rename(tmp_path / "elsewhere")
    with pytest.raises(StateDamaged, match="moved or removed"):
        place.require_same_folder(directory, opened)
    RunDir(directory.path).create()
    with pytest.raises(StateDamaged, match="another folder") as caught:
        place.require_same_folder(directory, opened)
    assert caught.value.exit_code == DAMAGED
    os.close(opened)
