"""Starts the load generator as the program that it is and takes its report."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.load_plan import LoadPlan
from vibeserve_tui.evaluation.load_report import LoadReport

IMPORT_ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "vibeserve_tui.evaluation.load")
GRACE_S = 30.0
"""To start, connect, parse and print, beside the plan's own deadline."""


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
    return LoadReport.from_bytes(stdout)
