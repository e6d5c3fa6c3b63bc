"""What a candidate's box must refuse, tried from inside, on every tier and as an ordinary user."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.execution import escapes
from tests.execution.conftest import launched
from tests.execution.host import Outside, candidates_result, prepared_host
from vibeserve_tui.execution.ladder import LADDER, Tier

# What the tier's description says that it leaves open.
KNOWN_RESIDUE = {
    Tier.LANDLOCK: {
        "chmod_a_file_of_the_checkout", "listen_on_any_port_without_binding", "change_the_mode_of_a_device",
        "change_the_times_of_a_device",
    }
}  # fmt: skip
ESCAPED = ""
ROOT = Path(__file__).parents[2]
SYSTEM_PYTHON = Path("/usr/bin/python3")


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with prepared_host(tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=LADDER, ids=str)
async def allowed(request: pytest.FixtureRequest, outside: Outside) -> set[str]:
    """The attempts that a box did not refuse and that its tier does not admit to."""
    async with launched(request.param) as launcher:
        result = await candidates_result(launcher, outside)
    assert result.returncode == 0, result
    assert outside.harm() == []
    outcomes = json.loads(result.stdout)
    assert set(outcomes) == set(escapes.attempts)
    return {name for name, why in outcomes.items() if why == ESCAPED} - KNOWN_RESIDUE.get(request.param, set())


@pytest.mark.parametrize("attempt", escapes.attempts)
def test_refused(allowed: set[str], attempt: str):
    assert attempt not in allowed


def test_there_are_more_than_100_of_them(record_property):
    record_property("trials", f"{len(escapes.attempts)} attempts, {len(LADDER)} tiers, root and user")
    assert len(escapes.attempts) > 100


def test_outside_of_a_box_the_same_attempts_succeed(outside: Outside):
    argv = outside.command("harmless")
    tried = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)

    assert len(tried) > 40
    assert {name: why for name, why in tried.items() if why != ESCAPED} == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="already an ordinary user")
@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="needs an interpreter that every user may run")
@pytest.mark.parametrize("tier", LADDER, ids=str)
def test_an_ordinary_users_boxes_refuse_the_same(tier: Tier):
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    argv = [*nobody, SYSTEM_PYTHON, "-m", "tests.execution.as_user", tier]
    ran = subprocess.run(argv, stdout=subprocess.PIPE, cwd=ROOT, env={"PYTHONDONTWRITEBYTECODE": "1"}, check=True)
    answer = json.loads(ran.stdout)

    assert answer["user"] == 65534
    assert answer["harm"] == []
    assert set(answer["outcomes"]) == set(escapes.attempts)
    assert {name for name, why in answer["outcomes"].items() if why == ESCAPED} <= KNOWN_RESIDUE.get(tier, set())
