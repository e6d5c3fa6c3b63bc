from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.cheats.laboratory import Laboratory, laboratory
from vibeserve_tui.execution.launcher import Launcher


@pytest.fixture(scope="session")
def launcher() -> Launcher:
    return Launcher.start(f"test-{uuid.uuid4().hex}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lab(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Laboratory]:
    try:
        async with laboratory(launcher, tmp_path_factory.mktemp("zoo")) as opened:
            yield opened
    finally:
        await launcher.close()
