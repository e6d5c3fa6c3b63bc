"""Nothing boxed outlives its engine or its launcher, however these end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.execution.conftest import DAEMONS, eventually, marked, parent_of, python, spec
from vibeserve_tui.errors import SandboxError
from vibeserve_tui.execution.ladder import LADDER, Tier
from vibeserve_tui.execution.launcher import Launcher

ROOT = Path(__file__).parents[2]

# An engine with daemons in a pod, daemons in a box of their own, and one suspended server.
ENGINE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.execution.conftest import DAEMONS, python, spec
from vibeserve_tui.execution.ladder import Tier
from vibeserve_tui.execution.launcher import Launcher

async def main(launcher, folder):
    pod = await launcher.open_pod()
    for name in ("server", "helper"):
        await pod.start(name, spec(python(DAEMONS, 60), folder, log=folder / name))
    task = asyncio.create_task(launcher.run(spec(python(DAEMONS, 60), folder, log=folder / "tool"), timeout_s=60))
    while not all((folder / name).exists() and "ready" in (folder / name).read_text() for name in ("server", "helper", "tool")):
        await asyncio.sleep(0.01)
    await pod.suspend("helper")
    print("up", flush=True)
    await task

launcher = Launcher.start(sys.argv[2], tiers=(Tier(sys.argv[3]),))
asyncio.run(main(launcher, Path(sys.argv[4])))
"""


on_every_tier = pytest.mark.parametrize("tier", LADDER, ids=str)


def launcher_of(run_id: str) -> int:
    """The launcher itself, not its forks that keep boxes."""
    forks = [pid for pid in marked(run_id) if b"launcher_process" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return min(forks, key=lambda pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]))


def log_lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


@on_every_tier
@pytest.mark.parametrize("victim", ["engine", "launcher", "launcher asked"])
def test_no_process_is_left_after_a_second(tier: Tier, run_id: str, tmp_path: Path, victim: str):
    argv = [sys.executable, "-c", ENGINE, str(ROOT), run_id, tier, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as engine:
        try:
            assert engine.stdout is not None
            assert engine.stdout.readline() == "up\n"
            assert len(marked(run_id)) > 9
            if victim == "engine":
                engine.kill()
            else:
                os.kill(launcher_of(run_id), signal.SIGTERM if "asked" in victim else signal.SIGKILL)

            assert eventually(lambda: marked(run_id) == [], within_s=1)
        finally:
            engine.kill()


@on_every_tier
async def test_calls_fail_when_the_launcher_is_lost(tier: Tier, run_id: str, tmp_path: Path):
    launcher = Launcher.start(run_id, tiers=(tier,))
    pod = await launcher.open_pod()
    process = await pod.start("server", spec(python(DAEMONS, 60), tmp_path))
    running = asyncio.create_task(launcher.run(spec(("sleep", "60"), tmp_path), timeout_s=60))
    await asyncio.sleep(0.1)
    os.kill(launcher_of(run_id), signal.SIGKILL)

    with pytest.raises(SandboxError, match="ended unexpectedly"):
        await process.wait()
    with pytest.raises(SandboxError, match="ended unexpectedly"):
        await running
    with pytest.raises(SandboxError, match="ended unexpectedly"):
        await launcher.open_pod()
    assert eventually(lambda: marked(run_id) == [], within_s=1)
    await launcher.close()


@on_every_tier
async def test_a_killed_keeper_takes_its_box_along(tier: Tier, run_id: str, tmp_path: Path):
    launcher = Launcher.start(run_id, tiers=(tier,))
    pod = await launcher.open_pod()
    process = await pod.start("server", spec(python(DAEMONS, 60), tmp_path, log=tmp_path / "log"))
    while "ready" not in (tmp_path / "log").read_text():
        await asyncio.sleep(0.01)
    os.kill(parent_of(process.pid), signal.SIGKILL)
    result = await process.wait()
    left = eventually(lambda: len(marked(run_id)) == 1, within_s=1)
    await launcher.close()

    assert result.returncode != 0
    assert left


async def test_scratch_folders_of_the_landlock_tier_are_removed(run_id: str, tmp_path: Path):
    launcher = Launcher.start(run_id, tiers=(Tier.LANDLOCK,))
    where = ("sh", "-c", "mkdir -p $TMPDIR/a/b; echo $TMPDIR; sleep $0")
    ended = await launcher.run(spec((*where, "0"), tmp_path), timeout_s=10)
    running = asyncio.create_task(launcher.run(spec((*where, "60"), tmp_path, log=tmp_path / "log"), timeout_s=60))
    while not (folders := log_lines(tmp_path / "log")):
        await asyncio.sleep(0.01)
    await launcher.close()
    with pytest.raises(SandboxError):
        await running

    assert not any(map(os.path.exists, [ended.stdout.decode().strip(), *folders]))


# A launcher of an ordinary user with a child of root's, as a set-uid program would be: it cannot be killed.
WITH_A_STRAY = """
import asyncio, os, signal, sys, tempfile, time
stray = os.fork()
if not stray:
    time.sleep(30)
    os._exit(0)
os.setresuid(65534, 65534, 65534)
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from vibeserve_tui.execution import supervisor
from vibeserve_tui.execution.box import BoxSpec
from vibeserve_tui.execution.box_plan import Ground
from vibeserve_tui.execution.ladder import Tier
from vibeserve_tui.execution.view import Interpreter
supervisor._STRAY_S = 0.5

async def main():
    ground = Ground(Tier.NONE, Interpreter((), "/none"), "stray", tempfile.mkdtemp(), "")
    boxes = supervisor.Supervisor(ground, lambda over: None)
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, boxes.reap)
    watching = asyncio.create_task(boxes.watch())
    begun = time.monotonic()
    with open(os.devnull, "r+b") as nothing:
        stdio = (nothing.fileno(),) * 3
        over = await boxes.start(1, BoxSpec(("true",), Path("/")), stdio, None, None).over
    print(over["returncode"], 0.4 < time.monotonic() - begun < 20, flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root leaves somebody behind whom others cannot end")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs an interpreter that every user may run")
def test_an_orphan_that_cannot_be_killed_holds_up_a_box_but_not_for_ever():
    argv = ["/usr/bin/python3", "-c", WITH_A_STRAY, str(ROOT)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, process_group=0, env={}) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "0 True\n"
        finally:
            os.killpg(started.pid, signal.SIGKILL)
