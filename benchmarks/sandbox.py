"""What isolation costs: `python benchmarks/sandbox.py [--calls 100] [--pairs 12]`, alone on the machine, four minutes.

With and without a box in turns, so that what drifts drifts for both: a tool call (`true`), a bare request over the
loopback (no work at all, the worst case), and the benchmark of the shipped target: the same server tree, environment,
cores, load generator and requests, once in a pod with the generator boxed beside it, once as ordinary processes.
Medians of differences and of ratios, with the quartiles of the pairs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cheats.laboratory import ENV, fast_tree
from vibeserve_tui.evaluation.load_client import run_load_here
from vibeserve_tui.evaluation.load_level import Address, plan_of
from vibeserve_tui.evaluation.load_plan import LoadPlan
from vibeserve_tui.evaluation.load_report import LoadReport
from vibeserve_tui.evaluation.load_summary import figures, summarise
from vibeserve_tui.evaluation.testbed import LiveServer, Testbed
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.execution.box import BoxSpec
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.inputs.target import load_target
from vibeserve_tui.resources import shipped_targets
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.state.workspace import Store

Load = Callable[[LoadPlan], Awaitable[LoadReport]]
METRICS = ("median_ttft_ms", "median_e2el_ms")
WINDOW_REQUESTS = 24
WINDOW_LIMIT_S = 120.0
ECHO = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := connection.recv(4096):
                connection.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 64\\r\\n\\r\\n" + bytes(64))
"""
ASK = """
import socket, statistics, sys, time
took = []
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(3000):
        begun = time.perf_counter()
        connection.sendall(b"GET / HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
        connection.recv(4096)
        took.append(time.perf_counter() - begun)
print(statistics.median(took[500:]) * 1e6)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=several, default=100, help="pairs of tool calls")
    parser.add_argument("--pairs", type=several, default=12, help="pairs of windows")
    options = parser.parse_args()
    launcher = Launcher.start(f"overhead-{uuid.uuid4().hex}")
    asyncio.run(measure(launcher, options.calls, options.pairs))


def several(text: str) -> int:
    """Quartiles need two."""
    if (number := int(text)) < 2:
        raise argparse.ArgumentTypeError("at least 2")
    return number


async def measure(launcher: Launcher, calls: int, pairs: int) -> None:
    print(f"tier {launcher.report.tier}, {len(os.sched_getaffinity(0))} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        show("a tool call costs more, ms", [await timed_call(launcher, folder) for _ in range(calls)])
        ratios = [await timed_requests(launcher, folder, number) for number in range(pairs)]
        show("a bare request, p50 in a pod over p50 without", ratios)
        for metric, found in (await windows(launcher, folder / "windows", pairs)).items():
            show(f"the target's benchmark, {metric} in a pod over that without", found)
    await launcher.close()


def show(what: str, values: Sequence[float]) -> None:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    print(f"{what}: {middle:.3f} ({low:.3f} to {high:.3f}, {len(values)} pairs)", flush=True)


async def timed_call(launcher: Launcher, folder: Path) -> float:
    """Milliseconds that `true` takes longer in a box."""
    begun = time.perf_counter()
    await launcher.run(BoxSpec(("true",), cwd=folder, writable=(folder,)), timeout_s=10)
    boxed = time.perf_counter()
    bare = await asyncio.create_subprocess_exec("true")
    await bare.wait()
    return 1000 * ((boxed - begun) - (time.perf_counter() - boxed))


def python(source: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", source, *map(str, arguments))


async def timed_requests(launcher: Launcher, folder: Path, number: int) -> float:
    """On the same cores with and without a pod."""
    pod = await launcher.open_pod()
    log = folder / f"echo-{number}"
    box = BoxSpec(python(ECHO, pod.port), cwd=Path("/"), log=log, serves=True, cores=pod.server_cores)
    server = await pod.start("server", box)
    while b"ready" not in log.read_bytes():
        assert server.returncode is None, log.read_text()
        await asyncio.sleep(0.01)
    done = await pod.run("client", BoxSpec(python(ASK, pod.port), cwd=Path("/"), cores=pod.client_cores), timeout_s=60)
    await pod.close()
    return float(done.stdout) / bare_request_us(pod.server_cores, pod.client_cores)


def bare_request_us(server_cores: frozenset[int], client_cores: frozenset[int]) -> float:
    port = free_port()
    with pinned(server_cores):
        server = subprocess.Popen(python(ECHO, port), stdout=subprocess.PIPE)
    assert server.stdout is not None
    server.stdout.readline()
    with pinned(client_cores):
        asked = subprocess.run(python(ASK, port), stdout=subprocess.PIPE, check=True)
    server.kill()
    server.wait()
    return float(asked.stdout)


async def windows(launcher: Launcher, folder: Path, pairs: int) -> Mapping[str, list[float]]:
    """Both servers stay up and idle in turns; pairs alternate in who comes first."""
    target = load_target(shipped_targets()["tiny-llama-chat"])
    directory = RunDir(folder)
    directory.create()
    tree = fast_tree(target.file(target.spec.seed), folder / "tree")
    bed = Testbed(launcher, Store(directory.store), directory, target, "cpu", ENV)
    commit = bed.store.snapshot(tree, ref="attempts/1", parent=None, message="x", when=1_700_000_000).sha
    workload, level = Workload.load(target), target.spec.levels[0]
    path = target.spec.endpoints[0].path
    found: dict[str, list[float]] = {metric: [] for metric in METRICS}
    async with bed.serve(commit) as boxed:
        with ordinary(bed, tree, boxed, folder / "build") as port:
            ports = {"pod": boxed.served.port, "host": port}
            ways: dict[str, Load] = {"pod": boxed.run, "host": partial(load_beside, boxed)}
            for number in range(-1, pairs):  # the first warms both up
                requests = workload.slice(7, number + 1, WINDOW_REQUESTS)
                seen: dict[str, dict[str, float | None]] = {}
                for way in ("pod", "host") if number % 2 else ("host", "pod"):
                    address = Address("127.0.0.1", ports[way], path)
                    plan = plan_of(level, requests, address, deadline_s=WINDOW_LIMIT_S)
                    seen[way] = figures(summarise(await ways[way](plan)))
                if number >= 0:
                    note(seen, found)
    return found


def note(seen: Mapping[str, Mapping[str, float | None]], found: Mapping[str, list[float]]) -> None:
    for metric, ratios in found.items():
        pod, host = seen["pod"][metric], seen["host"][metric]
        assert pod is not None
        assert host is not None
        ratios.append(pod / host)


async def load_beside(server: LiveServer, plan: LoadPlan) -> LoadReport:
    with pinned(server.served.pod.client_cores):
        return await run_load_here(plan)


@contextlib.contextmanager
def ordinary(bed: Testbed, tree: Path, boxed: LiveServer, build: Path) -> Iterator[int]:
    """The same server as an ordinary process, on the same cores."""
    build.mkdir()
    port, serving = free_port(), bed.target.spec.serve
    env = {
        **bed.env, **serving.env, "PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(build),
        "MODEL_DIR": str(bed.target.model_dir), "BUILD_DIR": str(build), "VIBESERVE_COMMIT": "x",
        "VIBESERVE_BACKEND": "cpu", "HOST": "127.0.0.1", "PORT": str(port),
        "VIBESERVE_CORES": str(len(boxed.served.pod.server_cores)),
    }  # fmt: skip
    argv = [word.replace("{python}", sys.executable) for word in serving.command]
    with pinned(boxed.served.pod.server_cores), (build / "log").open("wb") as log:
        server = subprocess.Popen(argv, cwd=tree, env=env, stdout=log, stderr=log)
    try:
        while not answers(port):
            assert server.poll() is None, (build / "log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        server.kill()
        server.wait()


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextlib.contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """What is started meanwhile stays on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    main()
