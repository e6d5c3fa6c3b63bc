"""The load generator where it runs in a run: in a box beside the server's, in the server's network."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from tests.evaluation import mock_server
from tests.evaluation.load_windows import calls, plan
from tests.evaluation.mock_server import Behaviour
from vibeserve_tui.errors import MeasurementError, SandboxError
from vibeserve_tui.evaluation.load_client import report_of, run_load, run_load_here
from vibeserve_tui.evaluation.load_report import Fault
from vibeserve_tui.execution.launcher import BoxSpec, Launcher, Pod

SERVER = Path(mock_server.__file__)


@pytest.fixture
def launcher() -> Launcher:
    try:
        return Launcher.start("load-client-test")
    except SandboxError as fault:
        pytest.skip(str(fault))


@asynccontextmanager
async def opened_pod(launcher: Launcher) -> AsyncIterator[Pod]:
    try:
        yield await launcher.open_pod()
    finally:
        await launcher.close()


async def until_served(pod: Pod) -> None:
    for _ in range(100):
        (call,) = (await run_load(pod, plan(*calls(1), host=pod.host, port=pod.port))).calls
        if call.ok:
            return
        assert call.error == Fault.REFUSED
    raise AssertionError("the server never answered")


async def test_client_and_server_meet_in_a_pod(launcher: Launcher, tmp_path: Path):
    async with opened_pod(launcher) as pod:
        behaviour = Behaviour(ttft_s=0.01, gap_s=0.002, port=pod.port)
        argv = (sys.executable, str(SERVER), json.dumps(asdict(behaviour)))
        await pod.start("server", BoxSpec(argv, cwd=tmp_path, read_only=(SERVER, tmp_path)))
        await until_served(pod)
        inside = await run_load(pod, plan(*calls(6), host=pod.host, port=pod.port, concurrency=3))
    assert [call.error for call in inside.calls] == [""] * 6
    assert inside.calls[0].token_ids == list(range(8))


async def test_a_plan_that_the_client_refuses_fails_by_name(launcher: Launcher):
    async with opened_pod(launcher) as pod:
        with pytest.raises(MeasurementError, match=r"the load generator failed: .*'host' must be a string"):
            await run_load(pod, plan(host=7, port=pod.port))


async def test_a_cancelled_measurement_takes_its_client_with_it():
    with mock_server.running(Behaviour(gap_s=0.05)) as (_, port):
        measuring = asyncio.create_task(run_load_here(plan(*calls(1, max_tokens=1000), port=port)))
        await asyncio.sleep(0.4)
        measuring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await measuring
    commands = [" ".join(child.cmdline()) for child in psutil.Process().children()]
    assert not any("vibeserve_tui.evaluation.load" in command for command in commands)


def test_a_client_that_fails_says_its_last_word():
    with pytest.raises(MeasurementError, match="the load generator failed: no memory"):
        report_of(1, b"", b"Traceback ...\nno memory\n")
    with pytest.raises(MeasurementError, match="the load generator failed: exit status 137"):
        report_of(137, b"", b"")


def test_half_a_report_is_no_report():
    with pytest.raises(MeasurementError, match="cannot be read"):
        report_of(0, b'{"calls": [', b"")
