"""One child bred by a scripted model, with a real workplace, real boxes and the real judge; only the gate is told."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from tests.fakes import measured
from tests.policies.searching import Search, ToldGate
from tests.roles.players import COUNTER, FILE, Call, honest
from tests.roles.scripted import scripted
from tests.roles.stage import SIZES, Stage, staged
from vibeserve_tui.agents.protocol import load_voice
from vibeserve_tui.policies import load_policy
from vibeserve_tui.roles.implementer import Implementer
from vibeserve_tui.roles.judge import Judge
from vibeserve_tui.roles.mutator import Mutator

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]
PARENT = re.compile(r"^# The parent: round (\d+)", re.MULTILINE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("stage")) as opened:
        yield opened


def breeding(role: str, prompt: str, results: Sequence[str]) -> list[Call]:
    """Works as an honest implementer does, and reports as a mutator has to."""
    assert role == "mutator"
    calls = honest("implementer", prompt, results)
    if calls[0][0] != "submit":
        return calls
    found = PARENT.search(prompt)
    assert found
    hypothesis = {
        "claim": "counting shows how full the steps are", "activation": COUNTER, "falsifier": f"{COUNTER} stays 0",
        "expected_low": 0.99, "expected_high": 1.3,
    }  # fmt: skip
    report = {"summary": "counts steps", "kind": "add", "parent": int(found[1]), "hypothesis": hypothesis}
    return [("submit", report | {"changes": [{"path": FILE, "why": "the counter"}]})]


async def test_a_models_child_is_edited_in_its_box_judged_measured_and_kept(stage: Stage) -> None:
    run, lab, briefing = stage.run, stage.lab, stage.workplace.briefing
    voice = scripted(breeding)
    implementer = Implementer(run, load_voice("playbook"), briefing)
    mutator = Mutator(run, voice, briefing, implementer, stage.workplace)
    judge = Judge(run, lab.testbed, lab.workload, lab.reference, SIZES)
    gate = ToldGate(lambda _: measured(ratio=1.2))
    search = Search(run, load_policy("evolve", run, mutator), mutator, judge, gate)
    record = await search.play(await search.plan())
    assert (record.outcome, record.task.kind, record.attempts) == ("kept", "agent", 1), record.reason
    assert record.verdict is not None and len(record.verdict.steps) > 5
    assert record.task.hypothesis is not None and record.task.hypothesis.activation == COUNTER
    assert f'counters.add("{COUNTER}"' in run.store.read_file(record.commit, FILE)
    brief = voice.agent.requests[0].brief
    assert {"write", "edit", "bash", "apply_recipe", "run_check", "run_bench", "skill"} <= {t.name for t in brief.tools}
    assert brief.writable
    assert brief.system.startswith("You are the mutator of VibeServe")
