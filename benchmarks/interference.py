"""Does an attached app disturb the benchmark? The same server under the same load, with the app and without, in turn.

    python benchmarks/interference.py [--blocks 10] [--strict]

The default target's seed server answers 16 clients at once. A block is four windows, A B B A: in the B windows the app
shows a measurement that goes on, in the A windows it is stopped by a signal, so that nothing but its work is missing.
The claim is that the difference is smaller than the 95 % interval of its own estimate; with --strict that is the exit code.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.app import READY, seconds_until, shown
from tests.tui import journals
from vibeserve_tui.evaluation.bench import bench
from vibeserve_tui.evaluation.block_stats import t_quantile
from vibeserve_tui.state.journal import Journal

TARGET = Path(__file__).parents[1] / "targets" / "tiny-llama-chat"
WORKLOAD = f"""
tokenizer = "{TARGET}/reference/model"
level = {{ id = "c16", mode = "closed", concurrency = 16, requests = 32 }}
[workload]
kind = "chat"
corpus = "corpus.jsonl"
prompt_tokens = {{ dist = "uniform", min = 48, max = 199 }}
output_tokens = {{ dist = "choice", values = [16, 24, 32] }}
"""
READY_S = 120.0
WINDOW_EVERY_S = 0.5
SIDES = ("without", "with", "with", "without")


@contextmanager
def seed_server(folder: Path) -> Iterator[str]:
    """The default target's simplest server, on a port of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"MODEL_DIR": str(TARGET / "reference" / "model"), "PORT": str(port), "BUILD_DIR": str(folder)}
    server = subprocess.Popen(
        [sys.executable, "-m", "server"], cwd=TARGET / "seed", env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )  # fmt: skip
    try:
        deadline = time.monotonic() + READY_S
        while server.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        else:
            raise TimeoutError("the seed server did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def measurement_going_on(run: Path, script: journals.Script) -> Iterator[None]:
    """Windows arrive in the journal at the pace of a real measurement, on both sides of the comparison."""
    over = threading.Event()

    def write() -> None:
        journal = Journal(run / "journal.jsonl")
        count = 0
        while not over.wait(WINDOW_EVERY_S):
            journal.append(
                journals.window(script, 9, "AB"[count % 2], block=2 + count // 4, index=count % 4, level=400.0)
            )
            count += 1
        journal.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


def throughput(url: str, workload: Path, draw: int) -> float:
    table = asyncio.run(bench(url, workload, seed=draw))
    found = table["output_throughput"]
    assert isinstance(found, float)
    return found


def block(app: int, url: str, workload: Path, draw: int) -> float:
    """ln of the throughput with the app over that without it."""
    logs: dict[str, list[float]] = {side: [] for side in SIDES}
    for side in SIDES:
        os.kill(app, signal.SIGCONT if side == "with" else signal.SIGSTOP)
        logs[side].append(math.log(throughput(url, workload, draw)))
    return statistics.fmean(logs["with"]) - statistics.fmean(logs["without"])


def measure(folder: Path, blocks: int) -> list[float]:
    workload = folder / "workload.toml"
    workload.write_text(WORKLOAD, encoding="utf-8")
    (folder / "corpus.jsonl").symlink_to(TARGET / "benchmark" / "corpus.jsonl")
    script = journals.running()
    run = journals.write_run(script, folder / "run")
    found = []
    with seed_server(folder) as url, measurement_going_on(run, script), shown(run) as terminal:
        seconds_until(terminal, READY)
        app = terminal.process().pid
        throughput(url, workload, 0)
        for draw in range(1, blocks + 1):
            found.append(block(app, url, workload, draw))
            print(f"  block {draw}: {100 * math.expm1(found[-1]):+.2f} %", flush=True)
        os.kill(app, signal.SIGCONT)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vibeserve-interference-") as folder:
        found = measure(Path(folder), options.blocks)
    mean = statistics.fmean(found)
    half = t_quantile(0.975, len(found) - 1) * statistics.stdev(found) / math.sqrt(len(found))
    low, middle, high = (100 * math.expm1(value) for value in (mean - half, mean, mean + half))
    within = low <= 0 <= high
    print(f"throughput with the app attached: {middle:+.2f} % [{low:+.2f}, {high:+.2f}] over {len(found)} blocks")
    print("no difference beyond the interval" if within else "the app can be seen in the figures")
    return int(options.strict and not within)


if __name__ == "__main__":
    sys.exit(main())
