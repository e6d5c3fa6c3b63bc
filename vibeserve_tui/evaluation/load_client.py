"""Starts the load generator as the program that it is and takes its report."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from vibeserve_tui.errors import InputError, MeasurementError
from vibeserve_tui.evaluation.load_plan import LoadPlan
from vibeserve_tui.evaluation.load_report import LoadReport
from vibeserve_tui.execution.launcher import BoxSpec, Limits, Pod

PACKAGE = Path(__file__).parents[1]
IMPORT_ROOT = PACKAGE.parent
COMMAND = (sys.executable, "-m", "vibeserve_tui.evaluation.load")
GRACE_S = 30.0
"""To start, connect, parse and print, beside the plan's own deadline."""


async def run_load(pod: Pod, plan: LoadPlan) -> LoadReport:
    """In a box of its own beside the server: it sees the network of the pod and its own code, nothing else."""
    spec = BoxSpec(
        argv=COMMAND,
        cwd=Path("/tmp"),  # noqa: S108  the box's own, empty
        env={"PYTHONPATH": str(IMPORT_ROOT)},
        read_only=(PACKAGE,),
        limits=Limits(memory_mib=2048, tasks=16),
        cores=pod.client_cores,
    )
    ended = await pod.run("load", spec, stdin=plan.to_bytes(), timeout_s=plan.deadline_s + GRACE_S)
    if ended.killed is not None:
        raise MeasurementError(f"the load generator was ended by the launcher: {ended.killed}")
    return report_of(ended.returncode, ended.stdout, ended.stderr)


async def run_load_here(plan: LoadPlan) -> LoadReport:
    """As an ordinary child of this process: for servers that are nobody's candidate."""
    client = await asyncio.create_subprocess_exec(
        *COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(IMPORT_ROOT)},
    )
    try:
        async with asyncio.timeout(plan.deadline_s + GRACE_S):
            stdout, stderr = await client.communicate(plan.to_bytes())
    except TimeoutError as error:
        raise MeasurementError("the load generator did not end by its deadline") from error
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    return report_of(client.returncode or 0, stdout, stderr)


def report_of(returncode: int, stdout: bytes, stderr: bytes) -> LoadReport:
    """What the program printed, or why it failed."""
    if returncode != 0:
        last = stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit status {returncode}"]
        raise MeasurementError(f"the load generator failed: {last[0]}")
    try:
        return LoadReport.from_bytes(stdout)
    except InputError as error:
        raise MeasurementError(f"the load generator's report cannot be read: {error}") from error
