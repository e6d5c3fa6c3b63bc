"""Two boxes and one network: what a pod lets through and what it keeps apart."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.execution import servers
from tests.execution.conftest import DAEMONS, left_over, parent_of, python, spec
from vibeserve_tui.errors import SandboxError
from vibeserve_tui.execution.box import BoxSpec, Killed
from vibeserve_tui.execution.ladder import Tier
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.execution.pod import Pod, split_cores

pytestmark = pytest.mark.asyncio(loop_scope="session")


def server_box(pod: Pod, folder: Path, source: str = servers.GOOD) -> BoxSpec:
    env = {"HOST": pod.host, "PORT": str(pod.port), "VIBESERVE_COMMIT": folder.name}
    return spec(python(source), folder, env=env, log=folder / "log", cores=pod.server_cores, serves=True)


async def get(pod: Pod, path: str) -> tuple[int, object]:
    box = BoxSpec(python(servers.GET, pod.host, pod.port, path), Path("/usr"), cores=pod.client_cores)
    result = await pod.run("client", box, timeout_s=20)
    assert result.returncode == 0, result.stderr.decode()
    status, _, body = result.stdout.decode().partition(" ")
    return int(status), json.loads(body)


async def until_listening(pod: Pod) -> None:
    while not await pod.listening("server"):
        await asyncio.sleep(0.01)


@pytest_asyncio.fixture(loop_scope="session")
async def pod(launcher: Launcher) -> AsyncIterator[Pod]:
    opened = await launcher.open_pod()
    yield opened
    await opened.close()
    assert left_over(launcher) == []


async def test_a_client_box_talks_to_the_server_box(pod: Pod, tmp_path: Path):
    await pod.start("server", server_box(pod, tmp_path))
    await until_listening(pod)

    assert (await get(pod, "/env"))[0] == 200


async def test_a_listener_that_was_handed_out_is_reached_from_its_pod_alone(launcher: Launcher, pod: Pod):
    call = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=10).sendall(b'hello')"
    other = await launcher.open_pod()
    with await pod.listen() as listener:
        box = BoxSpec(python(call, listener.getsockname()[1]), Path("/usr"))
        calling = asyncio.create_task(pod.run("client", box, timeout_s=30))
        listener.settimeout(30)
        client, _ = await asyncio.to_thread(listener.accept)
        with client:
            assert client.recv(5) == b"hello"
        assert (await calling).returncode == 0
        assert (await other.run("client", box, timeout_s=30)).returncode != 0
    await other.close()


async def test_two_pods_use_the_same_port_at_once(launcher: Launcher, tmp_path: Path):
    pods = [await launcher.open_pod() for _ in range(2)]
    if launcher.report.tier is not Tier.LANDLOCK:
        assert [pod.port for pod in pods] == [8000, 8000]
    for number, pod in enumerate(pods):
        folder = tmp_path / f"commit-{number}"
        folder.mkdir()
        await pod.start("server", server_box(pod, folder))
        await until_listening(pod)
    healths = [await get(pod, "/health") for pod in pods]
    for pod in pods:
        await pod.close()

    assert [health["commit"] for _, health in healths] == ["commit-0", "commit-1"]


async def test_the_host_cannot_reach_a_pod_with_a_network_of_its_own(pod: Pod, tmp_path: Path, launcher: Launcher):
    await pod.start("server", server_box(pod, tmp_path))
    await until_listening(pod)
    with socket.socket() as client:
        refused = client.connect_ex((pod.host, pod.port)) != 0

    assert refused is (launcher.report.tier is not Tier.LANDLOCK)


async def test_a_server_sees_no_process_of_its_client(pod: Pod, tmp_path: Path, launcher: Launcher):
    if launcher.report.tier is Tier.LANDLOCK:
        pytest.skip("shares the host's process list, and may not read it: see the escape attempts")
    await pod.start("server", server_box(pod, tmp_path))
    await until_listening(pod)
    _, peers = await get(pod, "/peers")

    assert not any("GET" in peer and "argv[3]" in peer for peer in peers)


async def test_suspended_uses_no_cpu_and_resumed_goes_on(pod: Pod, tmp_path: Path):
    await pod.start("server", server_box(pod, tmp_path))
    await until_listening(pod)
    await get(pod, "/burn")

    await pod.suspend("server")
    before = (await pod.usage("server")).cpu_s
    await asyncio.sleep(0.15)
    stopped = (await pod.usage("server")).cpu_s
    await pod.resume("server")
    async with asyncio.timeout(20):
        while (await pod.usage("server")).cpu_s < stopped + 0.02:
            await asyncio.sleep(0.01)

    assert stopped - before < 0.05, "a burning server would have used three times as much"
    assert (await get(pod, "/health"))[0] == 200


async def test_a_suspended_pod_can_be_closed(launcher: Launcher, tmp_path: Path):
    pod = await launcher.open_pod()
    process = await pod.start("server", server_box(pod, tmp_path))
    await until_listening(pod)
    await pod.suspend("server")
    await pod.close()

    assert (await process.wait()).killed is Killed.ASKED
    assert left_over(launcher) == []


async def test_the_time_of_a_killed_tree_is_not_lost(launcher: Launcher, tmp_path: Path):
    pod = await launcher.open_pod()
    process = await pod.start("server", spec(python("while True: 1"), tmp_path))
    while (burnt := (await pod.usage("server")).cpu_s) < 0.1:
        await asyncio.sleep(0.01)
    await pod.close()

    assert (await process.wait()).cpu_s >= burnt


async def test_closing_kills_daemons_of_every_box(launcher: Launcher, tmp_path: Path):
    pod = await launcher.open_pod()
    for name in ("server", "helper"):
        await pod.start(name, spec(python(DAEMONS, 60), tmp_path, log=tmp_path / name))
        while "ready" not in (tmp_path / name).read_text():
            await asyncio.sleep(0.01)
    await pod.close()

    assert left_over(launcher) == []


async def test_usage_counts_children_that_were_waited_for(pod: Pod, tmp_path: Path):
    burner = "import time\nend = time.process_time() + .3\nwhile time.process_time() < end: 1"
    source = (
        "import subprocess, sys, time\nsubprocess.run([sys.executable, '-I', '-S', '-c', sys.argv[1]])\n"
        "print('burnt', flush=True)\ntime.sleep(60)"
    )
    await pod.start("server", spec(python(source, burner), tmp_path, log=tmp_path / "log"))
    while "burnt" not in (tmp_path / "log").read_text():
        await asyncio.sleep(0.01)
    usage = await pod.usage("server")

    assert 0.28 <= usage.cpu_s < 0.6
    assert (usage.processes, usage.threads) == (1, 1)


async def test_usage_counts_orphans_that_the_init_reaped(pod: Pod, tmp_path: Path):
    source = (
        "import os, time\nif os.fork() == 0:\n    if os.fork() == 0:\n"
        "        end = time.process_time() + .3\n        while time.process_time() < end: 1\n"
        "        print('burnt', flush=True)\n    os._exit(0)\nos.wait()\ntime.sleep(60)"
    )
    await pod.start("server", spec(python(source), tmp_path, log=tmp_path / "log"))
    while "burnt" not in (tmp_path / "log").read_text() or (await pod.usage("server")).processes != 1:
        await asyncio.sleep(0.01)

    assert 0.28 <= (await pod.usage("server")).cpu_s < 0.6  # ended processes are counted in steps of 10 ms


async def test_usage_is_cheap(pod: Pod, tmp_path: Path):
    await pod.start("server", server_box(pod, tmp_path))
    await until_listening(pod)
    for _ in range(4):
        await get(pod, "/spawn")
    taken = []
    for _ in range(20):
        started = time.perf_counter()
        usage = await pod.usage("server")
        taken.append(time.perf_counter() - started)

    assert usage.processes == 5
    assert min(taken) < 0.005


async def test_peak_memory_outlasts_the_moment(pod: Pod, tmp_path: Path):
    source = "held = bytearray(100 << 20)\ndel held\nprint('freed', flush=True)\nimport time\ntime.sleep(60)"
    await pod.start("server", spec(python(source), tmp_path, log=tmp_path / "log"))
    while "freed" not in (tmp_path / "log").read_text():
        await asyncio.sleep(0.01)
    usage = await pod.usage("server")

    assert usage.peak_rss_mib > 100 > usage.rss_mib


async def test_processes_and_listeners_are_those_of_the_box(pod: Pod, tmp_path: Path):
    process = await pod.start("server", server_box(pod, tmp_path))
    await until_listening(pod)
    await get(pod, "/spawn")
    (server, child) = await pod.processes("server")
    (listener,) = await pod.listening("server")

    assert process.pid == server.pid == child.parent == listener.pid
    assert child.command == "sleep 60"
    assert (listener.protocol, listener.port) == ("tcp", pod.port)
    assert parent_of(process.pid) == server.parent


async def test_a_second_listener_is_seen(pod: Pod, tmp_path: Path, launcher: Launcher):
    if launcher.report.tier is Tier.LANDLOCK:
        pytest.skip("a second port cannot be bound")
    source = (
        "import socket, time\na = socket.create_server(('127.0.0.1', 9001))\n"
        "b = socket.socket(type=socket.SOCK_DGRAM); b.bind(('127.0.0.1', 9002))\nprint('up', flush=True)\ntime.sleep(60)"
    )
    await pod.start("server", spec(python(source), tmp_path, log=tmp_path / "log"))
    while "up" not in (tmp_path / "log").read_text():
        await asyncio.sleep(0.01)

    assert {(one.protocol, one.port) for one in await pod.listening("server")} == {("tcp", 9001), ("udp", 9002)}


async def test_terminate_asks_the_command_alone(pod: Pod, tmp_path: Path):
    source = (
        "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(5))\nprint('up', flush=True)\ntime.sleep(60)"
    )
    process = await pod.start("server", spec(python(source), tmp_path, log=tmp_path / "log"))
    while "up" not in (tmp_path / "log").read_text():
        await asyncio.sleep(0.01)
    await pod.terminate("server")
    result = await process.wait()

    assert (result.returncode, result.killed, process.returncode) == (5, None, 5)


async def test_the_kernel_would_end_a_box_before_the_engine(pod: Pod, tmp_path: Path):
    process = await pod.start("server", spec(("sleep", "60"), tmp_path))
    with open(f"/proc/{process.pid}/oom_score_adj") as box, open("/proc/self/oom_score_adj") as engine:  # noqa: ASYNC230
        assert int(box.read()) > int(engine.read())


async def test_an_ended_box_has_no_usage(pod: Pod, tmp_path: Path):
    process = await pod.start("server", spec(("true",), tmp_path))
    await process.wait()

    with pytest.raises(SandboxError, match="has ended"):
        await pod.usage("server")


async def test_the_load_generator_gets_the_last_core_and_the_server_the_others(pod: Pod):
    assert split_cores({0, 1}) == ({0}, {1})
    assert split_cores({1, 2, 5, 7}) == ({1, 2, 5}, {7})
    assert split_cores({3}) == ({3}, {3})
    assert pod.server_cores | pod.client_cores == os.sched_getaffinity(0)


async def test_a_box_that_listens_for_other_machines_is_killed_where_they_would_reach_it(
    pod: Pod, tmp_path: Path, launcher: Launcher
):
    source = "import socket, sys, time\nwith socket.create_server(('', int(sys.argv[1]))): print('up', flush=True); time.sleep(6)"
    process = await pod.start("server", spec(python(source, pod.port), tmp_path, log=tmp_path / "log", serves=True))
    result = await asyncio.wait_for(process.wait(), 20)

    assert result.killed is (Killed.LISTENING if launcher.report.tier is Tier.LANDLOCK else None)


async def test_where_only_ports_are_ruled_each_box_of_a_pod_gets_its_half(pod: Pod, tmp_path: Path, launcher: Launcher):
    await pod.start("server", server_box(pod, tmp_path))
    await until_listening(pod)
    connects = "import socket, sys\nsocket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=5)"
    codes = [
        (await pod.run(name, spec(python(connects, pod.port), tmp_path, serves=serves), timeout_s=20)).returncode
        for name, serves in (("another server", True), ("client", False))
    ]

    assert codes == [int(launcher.report.tier is Tier.LANDLOCK), 0]
