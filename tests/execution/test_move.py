"""A box that is moved to other cores while it runs, and one that is talked to inside a pod."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import pytest_asyncio

from tests.execution.conftest import python, spec
from vibeserve_tui.execution.box import BoxSpec
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.execution.pod import Pod

pytestmark = pytest.mark.asyncio(loop_scope="session")
THREADS = """
import threading, time
for _ in range(8):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
open("up", "w").close()
time.sleep(60)
"""


@pytest_asyncio.fixture(loop_scope="session")
async def pod(launcher: Launcher) -> Pod:
    return await launcher.open_pod()


async def affinities(pod: Pod, name: str) -> list[set[int]]:
    return [cores for process in await pod.processes(name) for cores in affinities_of(process.pid)]


def affinities_of(pid: int) -> list[set[int]]:
    return [os.sched_getaffinity(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()]


async def test_all_threads_of_a_box_are_moved(pod: Pod, tmp_path: Path) -> None:
    await pod.start("server", spec(python(THREADS), tmp_path, cores=pod.other_cores))
    while not (tmp_path / "up").exists():
        await asyncio.sleep(0.02)
    assert all(cores == pod.other_cores for cores in await affinities(pod, "server"))
    await pod.move("server", pod.server_cores)
    found = await affinities(pod, "server")
    assert len(found) >= 9
    assert all(cores == pod.server_cores for cores in found)
    await pod.close()


async def test_there_are_as_many_other_cores_as_cores(pod: Pod) -> None:
    assert len(pod.other_cores) == len(pod.server_cores)
    assert pod.client_cores <= pod.other_cores
    await pod.close()


async def test_a_box_of_a_pod_is_talked_to(pod: Pod) -> None:
    box = BoxSpec(python("import sys; print(sys.stdin.read().upper())"), Path("/usr"), cores=pod.client_cores)
    talk = await pod.converse("client", box, longest_line=1 << 16)
    talk.requests.write(b"plan")
    talk.requests.write_eof()
    assert await talk.replies.read() == b"PLAN\n"
    assert (await talk.process.exit())["returncode"] == 0
    talk.requests.close()
    await pod.close()
