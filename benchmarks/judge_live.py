"""Judge one server many times with one seed: where the time goes, and whether the verdict is the same to the byte.

    python benchmarks/judge_live.py [--runs 20] [--tree {seed,fast,native}] [--out FILE]

Prints the steps' times of each run, then their medians, and in how many runs the verdict without its times equals the
first one's. The seed imports transformers, `native` is the C++ kernel behind continuous batching, `fast` is numpy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cheats.laboratory import Laboratory, laboratory, tree_of
from vibeserve_tui.evaluation.battery import judge
from vibeserve_tui.events import JudgeStep, Verdict
from vibeserve_tui.execution.launcher import Launcher

NATIVE = ("native-cpu-kernel", "continuous-batching", "http-path")


def untold(step: JudgeStep) -> None:
    """Nobody watches."""


def without_times(verdict: Verdict) -> str:
    steps = tuple(step.model_copy(update={"took_ms": 0.0}) for step in verdict.steps)
    return verdict.model_copy(update={"steps": steps}).model_dump_json()


def tree(lab: Laboratory, kind: str, folder: Path) -> Path:
    seed = lab.target.file(lab.target.spec.seed)
    if kind == "fast":
        return lab.honest
    return tree_of(NATIVE if kind == "native" else (), seed, folder / kind)


async def run(options: argparse.Namespace) -> int:
    launcher = Launcher.start(f"judge-{uuid.uuid4().hex}")
    verdicts: list[Verdict] = []
    took: list[float] = []
    with tempfile.TemporaryDirectory(prefix="vibeserve-judge-") as name:
        async with laboratory(launcher, Path(name)) as lab:
            exam = lab.exam(tree(lab, options.tree, Path(name)), options.seed)
            for _ in range(options.runs):
                began = time.perf_counter()
                verdicts.append(await judge(exam, untold))
                took.append(time.perf_counter() - began)
                steps = {f"{step.id} {step.title}": round(step.took_ms / 1000, 2) for step in verdicts[-1].steps}
                show({"outcome": verdicts[-1].outcome, "took_s": round(took[-1], 1), "steps_s": steps}, options.out)
    await launcher.close()
    same = sum(without_times(verdict) == without_times(verdicts[0]) for verdict in verdicts)
    summary = {"tree": options.tree, "runs": options.runs, "same": same, "median_s": round(statistics.median(took), 1)}
    show(summary | {"least_s": round(min(took), 1), "most_s": round(max(took), 1)}, options.out)
    return 0 if same == options.runs and all(verdict.passed for verdict in verdicts) else 1


def show(row: dict[str, object], out: Path | None) -> None:
    line = json.dumps(row)
    print(line, flush=True)
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the private questions")
    parser.add_argument("--tree", choices=["seed", "fast", "native"], default="fast")
    parser.add_argument("--out", type=Path, default=None, help="append each row there as a line of JSON")
    sys.exit(asyncio.run(run(parser.parse_args())))
