"""What a run withstands, tried out: prints a table. `python benchmarks/reliability.py [--quick]`, about eight minutes.

Rows with trials come from the tests of that name, which record how many they made; the last two are measured here, with
and without a sandbox in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui.execution.box import BoxSpec
from vibeserve_tui.execution.launcher import Launcher

ROOT = Path(__file__).parents[1]
QUICK = {
    "FAILPOINTS": "60", "RECOVERIES": "10", "KILLS": "20", "POWER_CUTS": "300", "DISK_FAULTS": "10", "ORPHANS": "10",
    "INTERRUPTS": "3",
}  # fmt: skip
FULL = {"RECOVERIES": "100", "KILLS": "200", "INTERRUPTS": "20", "ORPHANS": "50"}
"""What the tests do fewer of, for the sake of their time."""


@dataclass(frozen=True)
class Row:
    measure: str
    tests: tuple[str, ...]
    """Paths below tests/, with `::` and a name where it is not the whole file."""


CRASHES, POWER, DISK = ("reliability/test_crashes.py", "reliability/test_power.py", "reliability/test_disk_faults.py")
ROWS = (
    Row("SIGKILL at every write", (f"{CRASHES}::test_a_kill_at_any_failpoint_loses_nothing",)),
    Row("crashes during recovery", (f"{CRASHES}::test_crashes_during_recovery_lose_nothing",)),
    Row("random kill -9 of the engine and its git", (f"{CRASHES}::test_random_kills_of_the_whole_group_lose_nothing",)),
    Row("power cuts, simulated", (f"{POWER}::test_no_acknowledged_record_is_lost_in_a_power_cut",)),
    Row("disk full (ENOSPC) and broken (EIO) at a write", (DISK,)),
    Row("app, engine, launcher, box or terminal killed", ("reliability/test_orphans.py::test_nothing_outlives_its_family",)),
    Row("sandbox escapes, each tier, root and user", ("execution/test_escapes.py",)),
    Row("planted git settings, hooks, filters, trees", ("state/test_git_attacks.py",)),
    Row("a key in env, .env and keyring", ("reliability/test_canary.py",)),
    Row("malformed inputs", ("reliability/test_malformed.py",)),
    Row("terminal injections", ("reliability/test_hostile_text.py",)),
    Row("two engines on one run", ("reliability/test_inbox.py::test_of_two_engines_exactly_one_gets_the_run",)),
    Row("ctrl-c twice", ("reliability/test_leaving.py::test_ctrl_c_twice_ends_at_once_and_leaves_terminal_and_run_in_order",)),
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer trials of each kind")
    options = parser.parse_args(argv)
    scale = {f"VIBESERVE_TEST_{name}": value for name, value in (QUICK if options.quick else FULL).items()}
    print("| what was done to a run | trials | failures | seconds |\n|---|---|---|---|", flush=True)
    failures = 0
    for row in ROWS:
        trials, failed, took_s = try_out(row, scale)
        failures += failed
        print(f"| {row.measure} | {trials} | {failed} | {took_s:.0f} |", flush=True)
    call, request = asyncio.run(overheads(10 if options.quick else 40))
    print(f"\nA sandboxed tool call costs {call:+.1f} ms (p50); a request inside a pod {request:+.1f} % (p50).")
    return int(failures > 0)


def try_out(row: Row, scale: dict[str, str]) -> tuple[str, int, float]:
    """Trials in words, failed tests, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        argv = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--junitxml", report, "-p", "no:cacheprovider"]
        begun = time.monotonic()
        subprocess.run(
            [*argv, *(f"tests/{test}" for test in row.tests)],
            cwd=ROOT, env={**os.environ, **scale}, stdout=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        took_s = time.monotonic() - begun
        if not report.exists():
            return "none", 1, took_s
        root = ET.parse(report).getroot()  # noqa: S314 - our own
    cases = list(root.iter("testcase"))
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    named = [item.get("value", "") for case in cases for item in case.iter("property") if item.get("name") == "trials"]
    return ", ".join(dict.fromkeys(named)) or f"{len(cases)} cases", failed + (not cases), took_s


# ---- what isolation costs -----------------------------------------------------------------------------------------

SERVER = """
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
CLIENT = """
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


def python(source: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", source, *map(str, arguments))


async def overheads(pairs: int) -> tuple[float, float]:
    """Milliseconds that a boxed call takes longer, and per cent that a request in a pod does; medians over pairs."""
    launcher = Launcher.start("overhead")
    with tempfile.TemporaryDirectory() as folder:
        spec = BoxSpec(("true",), cwd=Path(folder), writable=(Path(folder),))
        calls = [await timed_call(launcher, spec) for _ in range(pairs)]
        ratios = [await timed_requests(launcher, Path(folder), number) for number in range(max(3, pairs // 4))]
    await launcher.close()
    return statistics.median(calls), 100 * (statistics.median(ratios) - 1)


async def timed_call(launcher: Launcher, spec: BoxSpec) -> float:
    begun = time.perf_counter()
    await launcher.run(spec, timeout_s=10)
    boxed = time.perf_counter()
    bare = await asyncio.create_subprocess_exec("true")
    await bare.wait()
    return 1000 * ((boxed - begun) - (time.perf_counter() - boxed))


async def timed_requests(launcher: Launcher, folder: Path, number: int) -> float:
    """p50 of a request in a pod over that on the host's loopback, server and client alike."""
    pod = await launcher.open_pod()
    log = folder / f"server-{number}"
    await pod.start("server", BoxSpec(python(SERVER, pod.port), cwd=folder, writable=(folder,), log=log))
    while not log.exists() or b"ready" not in log.read_bytes():  # noqa: ASYNC110 - another process says so
        await asyncio.sleep(0.01)
    done = await pod.run("client", BoxSpec(python(CLIENT, pod.port), cwd=folder, read_only=(folder,)), timeout_s=60)
    await pod.close()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = await asyncio.create_subprocess_exec(*python(SERVER, port), stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    await server.stdout.readline()
    client = await asyncio.create_subprocess_exec(*python(CLIENT, port), stdout=asyncio.subprocess.PIPE)
    bare, _ = await client.communicate()
    server.kill()
    await server.wait()
    return float(done.stdout) / float(bare)


if __name__ == "__main__":
    sys.exit(main())
