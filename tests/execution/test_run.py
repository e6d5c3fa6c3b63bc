"""One boxed command: what goes in, what comes out, what ends it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

import vibeserve_tui
from tests.execution.conftest import DAEMONS, descriptors, eventually, launched, left_over, marked, python, run_of, spec
from vibeserve_tui import foreign_trees
from vibeserve_tui.errors import SandboxError
from vibeserve_tui.execution import connection, view
from vibeserve_tui.execution.box import BoxSpec, Killed, Limits
from vibeserve_tui.execution.ladder import Tier
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.execution.process import OUTPUT_CAP

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_stdin_reaches_the_command_and_its_output_and_exit_code_come_back(launcher: Launcher, tmp_path: Path):
    result = await launcher.run(
        spec(("sh", "-c", "cat; echo oops >&2; exit 3"), tmp_path), stdin=b"x" * 200_000, timeout_s=10
    )

    assert result.stdout == b"x" * 200_000
    assert result.stderr == b"oops\n"
    assert (result.returncode, result.killed) == (3, None)


async def test_a_log_takes_the_output_and_is_appended_to(launcher: Launcher, tmp_path: Path):
    log = tmp_path / "log"
    for word in ("one", "two"):
        result = await launcher.run(spec(("sh", "-c", f"echo {word} >&2"), tmp_path, log=log), timeout_s=10)
        assert (result.stdout, result.stderr) == (b"", b"")

    assert log.read_text() == "one\ntwo\n"


async def test_a_missing_command_is_the_commands_failure(launcher: Launcher, tmp_path: Path):
    result = await launcher.run(spec(("no-such-program",), tmp_path), timeout_s=10)

    assert result.returncode == 127
    assert b"no-such-program" in result.stderr


async def test_a_missing_path_is_refused_by_name_before_anything_starts(launcher: Launcher, tmp_path: Path):
    with pytest.raises(SandboxError, match="absent"):
        await launcher.run(spec(("true",), tmp_path, read_only=(tmp_path / "absent",)), timeout_s=10)


async def test_a_box_that_cannot_be_built_is_the_sandboxs_failure(launcher: Launcher, tmp_path: Path):
    with pytest.raises(SandboxError, match="could not be built"):
        await launcher.run(spec(("true",), tmp_path, cores=frozenset({4000})), timeout_s=10)


async def test_death_by_signal_is_reported_as_shells_do(launcher: Launcher, tmp_path: Path):
    result = await launcher.run(spec(("sh", "-c", "kill -TERM $$"), tmp_path), timeout_s=10)

    assert (result.returncode, result.killed) == (128 + 15, None)


async def test_the_environment_is_exactly_what_was_given(launcher: Launcher, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SECRET_API_KEY", "canary")
    result = await launcher.run(spec(("env",), tmp_path, env={"GIVEN": "1", "HOME": "/root"}), timeout_s=10)

    names = dict(line.split("=", 1) for line in result.stdout.decode().splitlines())
    assert set(names) <= {"PATH", "LANG", "HOME", "TMPDIR", "VIBESERVE_RUN", "GIVEN", "PWD"}
    assert (names["GIVEN"], names["VIBESERVE_RUN"]) == ("1", run_of(launcher))
    assert names["HOME"] != "/root"


async def test_a_box_inherits_three_descriptors(launcher: Launcher, tmp_path: Path):
    source = (
        "import os\ndef is_open(n):\n    try:\n        os.fstat(n)\n    except OSError:\n        return False\n"
        "    return True\nprint(sum(map(is_open, range(4096))))"
    )
    result = await launcher.run(spec(python(source), tmp_path), timeout_s=10)

    assert result.stdout == b"3\n", result


async def test_what_a_box_writes_stays_and_belongs_to_the_caller(launcher: Launcher, tmp_path: Path):
    await launcher.run(spec(("sh", "-c", "echo made > here"), tmp_path), timeout_s=10)

    assert (tmp_path / "here").read_text() == "made\n"
    assert (tmp_path / "here").stat().st_uid == os.getuid()


async def test_scratch_space_is_empty_at_every_start(launcher: Launcher):
    source = "ls -A $TMPDIR $HOME | grep -v : ; echo left > $TMPDIR/left; echo left > $HOME/left"
    bare = BoxSpec(("sh", "-c", source), Path("/usr"))
    results = [await launcher.run(bare, timeout_s=10) for _ in range(2)]

    assert [result.stdout.strip() for result in results] == [b"", b""]
    assert [result.returncode for result in results] == [0, 0]


async def test_time_out_kills_the_whole_tree(launcher: Launcher, tmp_path: Path):
    before = time.monotonic()
    result = await launcher.run(spec(python(DAEMONS, 60), tmp_path), timeout_s=0.3)

    assert result.killed is Killed.TIMEOUT
    assert result.stdout == b"ready\n"
    assert 0.3 <= time.monotonic() - before < 5
    assert left_over(launcher) == []


async def test_daemons_do_not_outlive_their_command(launcher: Launcher, tmp_path: Path):
    result = await launcher.run(spec(python(DAEMONS, 0), tmp_path), timeout_s=10)

    assert (result.returncode, result.killed) == (0, None)
    assert left_over(launcher) == []


async def test_cancelling_the_caller_kills_the_tree(launcher: Launcher, tmp_path: Path):
    log = tmp_path / "log"
    task = asyncio.create_task(launcher.run(spec(python(DAEMONS, 60), tmp_path, log=log), timeout_s=60))
    while not log.exists() or not log.read_text():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert left_over(launcher) == []


async def test_endless_output_is_capped_and_killed(launcher: Launcher, tmp_path: Path):
    result = await launcher.run(spec(("yes",), tmp_path), timeout_s=60)

    assert result.killed is Killed.OUTPUT
    assert len(result.stdout) == OUTPUT_CAP


NAMELESS = (
    "import os, time\ngone = open('gone', 'wb')\nos.unlink('gone')\ngone.write(bytes(1_500_000))\ngone.flush()\n"
    "memory = os.memfd_create('memory')\nos.write(memory, bytes(1_500_000))\ntime.sleep(30)"
)
HOG = "held = bytearray(200 << 20)\nimport time\ntime.sleep(30)"
FAMILY = "import os, time\nos.fork(); os.fork()\nheld = bytearray(60 << 20)\ntime.sleep(30)"
FORKS = "import os, time\nfor _ in range(80):\n    if os.fork() == 0:\n        break\ntime.sleep(30)"
THREADS = (
    "import threading, time\nfor _ in range(80):\n    threading.Thread(target=time.sleep, args=(30,)).start()\n"
    "time.sleep(30)"
)
FILES = (
    "import os, time\nos.mkdir('deep')\nfor n in range(4):\n    open(f'deep/{n}', 'wb').write(bytes(1_000_000))\n"
    "time.sleep(30)"
)


async def test_what_exceeds_a_limit_is_killed_for_that_reason(launcher: Launcher, tmp_path: Path):
    cases = [
        (HOG, Limits(memory_mib=100), Killed.MEMORY),
        (FAMILY, Limits(memory_mib=200), Killed.MEMORY),
        (FORKS, Limits(tasks=40), Killed.TASKS),
        (THREADS, Limits(tasks=40), Killed.TASKS),
        (FILES, Limits(disk_mib=2), Killed.DISK),
        (NAMELESS, Limits(disk_mib=2), Killed.DISK),
    ]
    boxes = []
    for number, (source, limits, _) in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        boxes.append(spec(python(source), folder, limits=limits))
    results = await asyncio.gather(*(launcher.run(box, timeout_s=20) for box in boxes))

    assert [result.killed for result in results] == [why for *_, why in cases]
    assert results[0].peak_rss_mib > 100
    assert left_over(launcher) == []


async def test_a_box_that_writes_more_log_than_it_may_is_killed(launcher: Launcher, tmp_path: Path):
    source = ("sh", "-c", "head -c 3000000 /dev/zero; sleep 30")
    box = spec(source, tmp_path, writable=(), read_only=(tmp_path,), log=tmp_path / "log", limits=Limits(log_mib=2))
    result = await launcher.run(box, timeout_s=20)

    assert result.killed is Killed.OUTPUT


async def test_a_folder_that_is_too_deep_to_be_looked_into_counts_as_too_much(launcher: Launcher, tmp_path: Path):
    source = "import os, time\nfor _ in range(3000):\n    os.mkdir('deep'); os.chdir('deep')\ntime.sleep(30)"
    result = await launcher.run(spec(python(source), tmp_path), timeout_s=20)
    foreign_trees.remove(tmp_path / "deep")

    assert result.killed is Killed.DISK


async def test_a_file_cannot_grow_beyond_the_limit(launcher: Launcher, tmp_path: Path):
    source = "head -c 5000000 /dev/zero > big"
    result = await launcher.run(spec(("sh", "-c", source), tmp_path, limits=Limits(file_mib=1)), timeout_s=10)

    assert result.returncode != 0
    assert (tmp_path / "big").stat().st_size == 1 << 20


async def test_scratch_space_is_limited(launcher: Launcher, tmp_path: Path):
    limits = Limits(scratch_mib=1, disk_mib=3)
    source = "for f in $TMPDIR/a $TMPDIR/b $HOME/c $HOME/d; do head -c 1048000 /dev/zero > $f || exit 9; done; sleep 30"
    result = await launcher.run(spec(("sh", "-c", source), tmp_path, limits=limits), timeout_s=20)

    if launcher.report.tier is Tier.LANDLOCK:
        assert result.killed is Killed.DISK
    else:
        assert result.returncode == 9


@pytest.mark.parametrize("place", ["", "/dev", *view.SCRATCH[2:], "/proc", "/usr", "/home"])
async def test_no_memory_can_be_taken_through_the_boxs_own_folders(launcher: Launcher, tmp_path: Path, place: str):
    limits = Limits(scratch_mib=1)
    name = f"{place}/{run_of(launcher)}"
    source = f"head -c 3000000 /dev/zero > {name}"
    result = await launcher.run(spec(("sh", "-c", source), tmp_path, limits=limits), timeout_s=10)

    assert result.returncode != 0
    assert not os.path.exists(name)  # noqa: ASYNC240 PTH110 - nothing to wait for


async def test_cpu_time_and_peak_memory_of_children_are_counted(launcher: Launcher, tmp_path: Path):
    source = "import subprocess, sys\nsubprocess.run([sys.executable, '-I', '-S', '-c', sys.argv[1]])"
    burner = (
        "import time\nheld = bytearray(80 << 20)\nend = time.process_time() + .2\nwhile time.process_time() < end: 1"
    )
    result = await launcher.run(spec(python(source, burner), tmp_path), timeout_s=20)

    assert 0.2 < result.cpu_s < 0.6
    assert 80 < result.peak_rss_mib < 130


async def test_a_box_stays_on_its_cores(launcher: Launcher, tmp_path: Path):
    cores = sorted(os.sched_getaffinity(0))
    source = f"import os\nos.sched_setaffinity(0, {cores})\nprint(sorted(os.sched_getaffinity(0)))"
    result = await launcher.run(spec(python(source), tmp_path, cores=frozenset(cores[:1])), timeout_s=10)

    assert result.stdout.decode().strip() == str(cores[:1])


async def test_devices_appear_only_when_named(launcher: Launcher, tmp_path: Path):
    device = Path("/dev/kmsg")
    command = ("sh", "-c", f"exec 3> {device}")
    without = await launcher.run(spec(command, tmp_path), timeout_s=10)
    named = await launcher.run(spec(command, tmp_path, devices=(device,)), timeout_s=10)

    assert without.returncode != 0
    assert named.returncode == (0 if os.access(device, os.W_OK) else named.returncode)


async def test_an_application_inside_the_interpreters_folder_is_hidden_unless_named(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = Path(vibeserve_tui.__file__).parent
    monkeypatch.setattr(connection, "_prefixes", lambda: [sys.prefix, sys.base_prefix, str(package.parent)])
    command = ("sh", "-c", f"cat {package}/errors.py; cat {package.parent}/pyproject.toml")
    async with launched(launcher.report.tier) as installed:
        hidden = await installed.run(spec(command, tmp_path), timeout_s=10)
        named = await installed.run(spec(command, tmp_path, read_only=(package,)), timeout_s=10)

    assert b"VibeServeError" not in hidden.stdout
    assert b"[project]" in hidden.stdout
    assert b"VibeServeError" in named.stdout


async def test_many_boxes_run_at_once(launcher: Launcher, tmp_path: Path):
    async def one(number: int) -> bytes:
        result = await launcher.run(spec(("sh", "-c", f"sleep 0.1; echo {number}"), tmp_path), timeout_s=30)
        return result.stdout

    assert await asyncio.gather(*map(one, range(12))) == [f"{n}\n".encode() for n in range(12)]


async def test_a_box_costs_little_beside_its_command(launcher: Launcher, tmp_path: Path):
    results = [await launcher.run(spec(("true",), tmp_path), timeout_s=10) for _ in range(8)]

    assert min(result.cpu_s for result in results) < 0.03  # whose wall time depends on what else runs here


async def test_boxes_and_pods_leave_no_descriptor_behind(launcher: Launcher, tmp_path: Path):
    (launcher_pid,) = marked(run_of(launcher))

    async def held() -> tuple[int, int]:
        await launcher.run(spec(("true",), tmp_path), timeout_s=10)
        await (await launcher.open_pod()).close()
        return descriptors(os.getpid()), descriptors(launcher_pid)

    before = await held()
    for _ in range(20):
        after = await held()

    assert after == before


async def test_a_closed_launcher_fails_every_call(launcher: Launcher, run_id: str, tmp_path: Path):
    closing = Launcher.start(run_id, tiers=(launcher.report.tier,))
    running = asyncio.create_task(closing.run(spec(python(DAEMONS, 60), tmp_path), timeout_s=60))
    await asyncio.sleep(0.2)
    await closing.close()

    with pytest.raises(SandboxError, match="closed"):
        await running
    with pytest.raises(SandboxError, match="closed"):
        await closing.run(spec(("true",), tmp_path), timeout_s=10)
    assert eventually(lambda: marked(run_id) == [], within_s=1)


async def test_the_default_limits_are_generous_enough_for_a_compiler(launcher: Launcher, tmp_path: Path):
    (tmp_path / "a.c").write_text("int main(void) { return 7; }\n")
    result = await launcher.run(
        BoxSpec(("sh", "-c", "cc a.c && ./a.out"), tmp_path, writable=(tmp_path,)), timeout_s=30
    )

    assert result.returncode == 7, result
