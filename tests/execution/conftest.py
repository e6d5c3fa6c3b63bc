"""A real launcher for each tier of the ladder, shared by all tests that do not end it."""

from __future__ import annotations

import contextlib
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from vibeserve_tui.execution.box import BoxSpec, Limits
from vibeserve_tui.execution.ladder import Tier
from vibeserve_tui.execution.launcher import Launcher


def new_run_id() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def run_id() -> str:
    """For a launcher of the test's own."""
    return new_run_id()


@contextlib.asynccontextmanager
async def launched(tier: Tier) -> AsyncIterator[Launcher]:
    """A tier that does not hold on this machine fails here: it must not pass by being skipped."""
    started = Launcher.start(new_run_id(), tiers=(tier,))
    yield started
    await started.close()
    assert marked(run_of(started)) == []


# The tier in the middle makes the same boxes as the first: its turn at everything comes in the long run.
MOST_TIERS = (Tier.BWRAP, pytest.param(Tier.UNSHARE, marks=pytest.mark.slow), Tier.LANDLOCK)


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=MOST_TIERS, ids=str)
async def launcher(request: pytest.FixtureRequest) -> AsyncIterator[Launcher]:
    async with launched(request.param) as started:
        yield started


def run_of(launcher: Launcher) -> str:
    return launcher._connection._run_id


def left_over(launcher: Launcher) -> list[int]:
    """Boxed processes: all of the run but its launcher and the forks of it that keep boxes."""
    lines = {pid: command_line(pid) for pid in marked(run_of(launcher))}
    return [pid for pid, line in lines.items() if line and b"launcher_process" not in line]


def command_line(pid: int) -> bytes:
    """Empty where it has ended since it was found."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def python(source: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", source, *map(str, arguments))


def spec(argv: tuple[str, ...], folder: Path, **changes: object) -> BoxSpec:
    """A box that may write its folder."""
    return BoxSpec(argv, cwd=folder, **{"writable": (folder,), "limits": Limits(), **changes})


def marked(run_id: str) -> list[int]:
    """Processes that carry the run's mark in their environment, the launcher among them."""
    mark = f"VIBESERVE_RUN={run_id}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def parent_of(pid: int) -> int:
    """Fails when there is no such process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def eventually(condition: Callable[[], bool], within_s: float) -> bool:
    """For things that end in processes of their own, beyond any event loop."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


# Three generations that leave their session, ignore signals and would live for a minute.
DAEMONS = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
print("ready", flush=True)
time.sleep(float(sys.argv[1]))
"""
