from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.agents.toolbox.bench import Bench
from vibeserve_tui.agents.toolbox.outputs import Outputs
from vibeserve_tui.agents.toolbox.places import Places
from vibeserve_tui.agents.toolbox.shell import Shell
from vibeserve_tui.execution.box import Limits
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.state.run_dir import RunDir

SERVER = '"""The server."""\n\n\ndef step(batch):\n    total = 0\n    for one in batch:\n        total += one\n    return total\n'


@pytest.fixture
def places(tmp_path: Path) -> Places:
    workspace, public = tmp_path / "workspace", tmp_path / "public"
    (workspace / "server").mkdir(parents=True)
    (workspace / "server" / "engine.py").write_text(SERVER)
    (workspace / "server" / "config.json").write_text('{"max_batch": 1}\n')
    public.mkdir()
    (public / "OBJECTIVE.md").write_text("# Serve\nfaster\n")
    (tmp_path / "secret").write_text("key\n")
    run = RunDir(tmp_path / "run")
    run.create()
    return Places(workspace, public, Outputs(run.put_blob))


@pytest.fixture(scope="module")
def launcher() -> Launcher:
    return Launcher.start(f"test-{uuid.uuid4().hex}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(launcher: Launcher) -> AsyncIterator[Launcher]:
    yield launcher
    await launcher.close()


@pytest.fixture
def bench(places: Places, opened: Launcher, tmp_path: Path) -> Bench:
    """The tools of an implementer, with a real box."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    shell = Shell(opened, {"OMP_NUM_THREADS": "1"}, tmp_path / "model", Limits(memory_mib=512), writable=True)
    return Bench(places, shell)
