"""Whole rounds of a local model: plan, edit, judge, decision, with a real judge; the model is a script in a worker."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.roles.players import COUNTER, FILE
from tests.roles.stage import Stage, staged
from vibeserve_tui.agents.local import process
from vibeserve_tui.agents.local_model import completed
from vibeserve_tui.agents.protocol import Voice, load_voice
from vibeserve_tui.events import VoiceSettings

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
ROLES = ("orchestrator", "implementer", "judge", "evaluator")
WORKER = Path(__file__).with_name("player_worker.py")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("stage")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def scripted_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "COMMAND", (sys.executable, str(WORKER)))
    monkeypatch.setattr("vibeserve_tui.agents.local_model.importlib.util.find_spec", lambda name: name)


def cast(folder: Path, player: str) -> dict[str, Voice]:
    model = folder / "model.gguf"
    model.write_text(player)
    voice = load_voice(completed(VoiceSettings(provider="local_model", model=str(model))))
    return dict.fromkeys(ROLES, voice)


async def test_an_honest_round_of_a_local_model_is_kept_and_costs_nothing(stage: Stage, tmp_path: Path) -> None:
    record = await stage.play(cast(tmp_path, "honest"))
    assert (record.outcome, record.reason, record.attempts) == ("kept", "bound", 1)
    assert f'counters.add("{COUNTER}"' in stage.run.store.read_file(record.commit, FILE)
    assert record.verdict.steps[-1].id == "review"
    assert stage.run.state.usd == 0 and stage.run.state.tokens > 0


async def test_a_cheating_local_model_is_rejected_in_every_attempt(stage: Stage, tmp_path: Path) -> None:
    record = await stage.play(cast(tmp_path, "cheating"))
    assert (record.outcome, record.attempts, record.verdict.first_failure) == ("failed", 2, "J0")
