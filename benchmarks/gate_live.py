"""Put live servers through the gate many times, and print how often it was right.

    python benchmarks/gate_live.py {same,slower,faster} [--runs 20] [--tree {seed,fast}] [--hog] [--judge]
                                   [--noise FILE] [--out FILE]

`same` measures a tree against itself: nothing may be accepted. `slower` measures it against a copy whose engine spends
11 % more time on each step: every run has to reject it. `faster` measures it against recipes that are known to pay: each
has to be accepted at the first look, within 90 s. `--hog` keeps another process busy on one core meanwhile, `--judge`
has the candidate judged before each gate: both together may take two minutes. Each gate is the quick one of a run, with
the sentinels of the cpu backend and the noise of an A/A measurement before the first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cheats.laboratory import Laboratory, laboratory, tree_of
from vibeserve_tui.backend import load_backend
from vibeserve_tui.evaluation import measure
from vibeserve_tui.evaluation.battery import judge
from vibeserve_tui.evaluation.block_run import MeasureEvent
from vibeserve_tui.evaluation.evidence import Evidence, comparison_of, noise_of
from vibeserve_tui.evaluation.gate_config import GateConfig
from vibeserve_tui.evaluation.live_side import LiveSide, WindowPlan, mean_output_tokens
from vibeserve_tui.evaluation.measure import MeasurePlan
from vibeserve_tui.evaluation.sentinels import watching
from vibeserve_tui.events import JudgeStep
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.metrics import Role

SLOWER = """

import time

_usual = Engine.{step}


def _slower(self, work):
    begun = time.perf_counter()
    _usual(self, work)
    until = time.perf_counter() + 0.111 * (time.perf_counter() - begun)
    while time.perf_counter() < until:
        pass


Engine.{step} = _slower
"""
STEPS = {"seed": "_answer", "fast": "_step"}
"""Where the engine of each tree works: the seed a request at a time, the other one a token of all."""
FASTER = ("kv-cache-preallocate", "continuous-batching")
HOG = """\
import os, sys
while os.kill(int(sys.argv[1]), 0) is None:
    sum(range(100_000))
"""
READY_LIMIT_S = 20.0
SPAWN = '"$@" > /dev/null 2>&1 & echo $!'
WANTED = {"same": ("rejected", "indecisive", "void"), "slower": ("rejected",), "faster": ("accepted",)}


def untold(event: MeasureEvent | JudgeStep) -> None:
    """Nobody watches."""


class Bench:
    """The sides, and one gate after the other with what is known of the noise by then."""

    def __init__(self, lab: Laboratory, folder: Path, tree: str) -> None:
        self._lab = lab
        self._folder = folder
        self._step = STEPS[tree]
        seed = lab.target.file(lab.target.spec.seed)
        self._tree = seed if tree == "seed" else lab.honest
        self._champion = self._commit(self._tree, "champion")
        self._backend = load_backend("cpu")
        self._device = self._backend.detect()[0]
        self._evidence: list[Evidence] = []
        self._windows: dict[str, WindowPlan] = {}

    def _commit(self, folder: Path, name: str) -> str:
        return self._lab.testbed.store.snapshot(
            folder, ref=f"attempts/{name}", parent=None, message=name, when=int(time.time())
        ).sha

    def candidate(self, kind: str) -> str:
        if kind == "same":
            return self._champion
        tree = self._folder / kind
        if kind == "faster":
            tree_of(FASTER, self._tree, tree)
        else:
            shutil.copytree(self._tree, tree)
            with (tree / "server" / "engine.py").open("a") as file:
                file.write(SLOWER.format(step=self._step))
        self._tree = tree
        return self._commit(tree, kind)

    def _side(self, label: str, commit: str, *, prove: bool = False) -> LiveSide:
        reference = self._lab.reference if prove else None
        return LiveSide(label, commit, self._lab.testbed, self._lab.workload, self._windows, reference)

    async def noise(self, kept: Path | None) -> None:
        """The champion against itself; taken from the file `kept` if an earlier call has left it there."""
        evidence = read(kept) or await self._measured_noise()
        write(kept, evidence)
        self._evidence.append(evidence)
        figures = comparison_of(evidence).figures
        speeds = {figure.spec.level: figure.b for figure in figures if "throughput" in figure.spec.name}
        tokens, window_s = mean_output_tokens(self._lab.workload), GateConfig.quick().window_s
        self._windows = {
            level.id: WindowPlan.of(level, speeds.get(level.id), tokens, window_s)
            for level in self._lab.target.spec.levels
        }

    async def judge(self, seed: int) -> dict[str, object]:
        """The candidate before the court, on questions of its own."""
        began = time.perf_counter()
        verdict = await judge(self._lab.exam(self._tree, seed), untold)
        return {"verdict": verdict.outcome, "judge_s": round(time.perf_counter() - began, 1)}

    async def _measured_noise(self) -> Evidence:
        with watching(self._backend, self._device) as sentinels:
            plan = self._plan(sentinels.ready, sentinels.trusted)
            # One pair a block, as a run's baseline: how fast the champion is cannot be known yet.
            plan = replace(plan, config=plan.config.model_copy(update={"pairs": 1}))
            return (await measure.noise(self._side("A", self._champion), 4, plan, untold)).evidence

    async def gate(self, candidate: str) -> dict[str, object]:
        champion, other = self._side("A", self._champion), self._side("B", candidate, prove=True)
        began = time.perf_counter()
        with watching(self._backend, self._device) as sentinels:
            plan = self._plan(sentinels.ready, sentinels.trusted)
            done = await measure.measure(champion, other, plan, untold)
        self._evidence.append(done.evidence)
        found = done.comparison
        by_block = [round(math.exp(block.d), 3) for block in done.evidence.readings() if block.d is not None]
        return {
            "outcome": found.outcome.value, "reason": found.reason, "blocks": by_block, "ratio": found.ratio,
            "basis": found.basis.value, "noise": found.floor, "took_s": round(time.perf_counter() - began, 1),
        }  # fmt: skip

    def _plan(self, ready: measure.Sentinel, trusted: measure.Sentinel) -> MeasurePlan:
        spec = self._lab.target.spec
        decisive = [
            self._windows[m.level] for m in spec.metric_specs if m.role is Role.HEADLINE and m.level in self._windows
        ]
        window_s = min((window.seconds for window in decisive), default=0.0)
        plan = MeasurePlan(
            metrics=spec.metric_specs,
            config=GateConfig.quick().for_windows_of(window_s) if window_s else GateConfig.quick(),
            workload_sha256=self._lab.workload.sha256,
            device_fingerprint=self._device.fingerprint,
            mechanism_declared=True,
            cpu_proxy=True,
            ready=ready,
            ready_limit_s=READY_LIMIT_S,
            trusted=trusted,
        )
        return replace(plan, noise=noise_of(self._evidence)) if self._evidence else plan


async def run(options: argparse.Namespace) -> int:
    launcher = Launcher.start(f"gate-{uuid.uuid4().hex}")
    right = 0
    with tempfile.TemporaryDirectory(prefix="vibeserve-gate-") as name, hog(busy=options.hog):
        async with laboratory(launcher, Path(name)) as lab:
            bench = Bench(lab, Path(name), options.tree)
            candidate = bench.candidate(options.kind)
            await bench.noise(options.noise)
            for number in range(1, options.runs + 1):
                judged = await bench.judge(number) if options.judge else {}
                row = {"run": number, "kind": options.kind, "hog": options.hog, **judged, **await bench.gate(candidate)}
                right += row["outcome"] in WANTED[options.kind]
                show(row, options.out)
    await launcher.close()
    show({"kind": options.kind, "hog": options.hog, "runs": options.runs, "right": right}, options.out)
    return 0 if right == options.runs else 1


@contextmanager
def hog(*, busy: bool) -> Iterator[None]:
    """A stranger to this process: what we start ourselves would count as ours. Its parent has gone already."""
    if not busy:
        yield
        return
    spawn = ["/bin/sh", "-c", SPAWN, "sh", sys.executable, "-c", HOG, str(os.getpid())]
    # Its output goes nowhere, or the pipe would stay open and be waited for.
    with subprocess.Popen(spawn, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)


def read(kept: Path | None) -> Evidence | None:
    return Evidence.model_validate_json(kept.read_bytes()) if kept is not None and kept.exists() else None


def write(kept: Path | None, evidence: Evidence) -> None:
    if kept is not None:
        kept.write_text(evidence.model_dump_json())


def show(row: dict[str, object], out: Path | None) -> None:
    line = json.dumps(row)
    print(line, flush=True)
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(WANTED))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument(
        "--tree", choices=["seed", "fast"], default="seed", help="what is measured; fast starts in 0.3 s"
    )
    parser.add_argument("--hog", action="store_true", help="another process keeps one core busy")
    parser.add_argument("--judge", action="store_true", help="judge the candidate before each gate")
    parser.add_argument("--noise", type=Path, default=None, help="keep the A/A measurement there, or use it again")
    parser.add_argument("--out", type=Path, default=None, help="append each row there as a line of JSON")
    given = parser.parse_args()
    if given.tree == "fast" and given.kind == "faster":
        parser.error("--tree fast goes with same and slower: faster is the seed with recipes")
    sys.exit(asyncio.run(run(given)))
