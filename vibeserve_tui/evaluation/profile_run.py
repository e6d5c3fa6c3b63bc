"""A server under load with a profiler beside it: where its time goes, and how much the looking cost.

It is a run of its own and no measurement: what it says of speed is compared with an unprofiled figure, to tell how far
the profile can be trusted, and goes nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from vibeserve_tui.backend import ProfilePlan, Profiler
from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.load_plan import LoadPlan, Mode
from vibeserve_tui.evaluation.load_summary import figures, summarise
from vibeserve_tui.evaluation.testbed import LiveServer, Testbed
from vibeserve_tui.evaluation.workload import Workload, calls_of
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.profile_report import ProfileReport, Quality

SEED = 11
"""Any will do: a profile is not a measurement."""
SECONDS = 3.0
REQUESTS = 4000
DEADLINE_S = 60.0
OBSERVER_LIMIT = 0.10


async def profiled(
    testbed: Testbed, workload: Workload, commit: str, profiler: Profiler, control: float | None
) -> ProfileReport:
    """Of a fresh start of the commit; `control` is what it gave unprofiled, in tok/s."""
    out = testbed.directory.path / "profiles"
    await asyncio.to_thread(_empty, out)
    async with testbed.serve(commit) as server:
        load = asyncio.create_task(server.run(_plan(server, testbed.target, workload)))
        try:
            await _run(profiler.plan(server.served.process.pid, out, SECONDS))
            throughput = figures(summarise(await load)).get("output_throughput")
        finally:
            load.cancel()
    report = await asyncio.to_thread(profiler.parse, out)
    return calibrated(report, throughput, control)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)


def _plan(server: LiveServer, target: LoadedTarget, workload: Workload) -> LoadPlan:
    """The most crowded level, for as long as the profiler looks."""
    return LoadPlan(
        host=server.served.host,
        port=server.served.port,
        mode=Mode.CLOSED,
        calls=calls_of(workload.draw(SEED, REQUESTS), target.spec.endpoints[0].path),
        concurrency=max(getattr(level, "concurrency", None) or 1 for level in target.spec.levels),
        deadline_s=DEADLINE_S,
        send_for_s=SECONDS + 1.0,
    )


async def _run(plan: ProfilePlan) -> None:
    process = await asyncio.create_subprocess_exec(
        *plan.argv, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, env={"PATH": os.defpath}
    )
    try:
        async with asyncio.timeout(plan.timeout_s):
            _, stderr = await process.communicate()
    except TimeoutError as error:
        raise MeasurementError("the profiler did not end in time") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        raise MeasurementError(f"the profiler failed: {lines[-1]}")


def calibrated(report: ProfileReport, throughput: float | None, control: float | None) -> ProfileReport:
    """With its observer effect: a server that the profiler slowed down by more than 10 % only orders suspects."""
    if not throughput or not control:
        return report
    effect = abs(throughput - control) / control
    quality = Quality.USABLE if effect <= OBSERVER_LIMIT else Quality.PERTURBED
    return report.model_copy(update={"observer_effect": round(effect, 4), "quality": quality})
