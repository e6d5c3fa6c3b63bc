from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.policies.searching import full_briefing, with_recipes
from vibeserve_tui.roles.briefing import Briefing


@pytest.fixture(scope="session")
def ground() -> Iterator[Callable[[], Path]]:
    """New folders, in memory where there is such a place: a search writes many small files and syncs each."""
    memory = Path("/dev/shm")  # noqa: S108
    made = Path(tempfile.mkdtemp(prefix="vibeserve-policies-", dir=memory if memory.is_dir() else None))
    yield lambda: Path(tempfile.mkdtemp(dir=made))
    shutil.rmtree(made)


@pytest.fixture
def folder(ground: Callable[[], Path]) -> Path:
    return ground()


@pytest.fixture(scope="session")
def full() -> Briefing:
    """Everything that is shipped."""
    return full_briefing()


@pytest.fixture(scope="session")
def briefing(full: Briefing) -> Briefing:
    """A handful of recipes, so that a search comes to its end."""
    return with_recipes(full)
