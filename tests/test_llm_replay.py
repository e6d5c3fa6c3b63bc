"""A run of a language model played again without it: the same plans, trees, reviews and decisions, to the bit.

What a judge draws and a gate measures is new each time and stands in the prompts, so both are told here: one seed of the
judge's, and a gate whose figures are the same, or are not.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.agents.one_call import settings_for
from tests.agents.scene import KEY, KEY_NAME
from tests.cheats.laboratory import laboratory
from tests.fakes import FakeEvaluator, measured
from tests.fakes.llm import FakeLLM
from tests.roles.players import Player, brain, cheating, honest
from tests.roles.stage import Stage, open_stage
from vibeserve_tui import events as ev
from vibeserve_tui.agents.loop.transcript import Transcript
from vibeserve_tui.agents.protocol import Voice, load_voice
from vibeserve_tui.agents.replay import LOOSE
from vibeserve_tui.errors import AgentsHalted
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.state.journal import read_journal

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
ROLES = ("orchestrator", "implementer", "judge", "evaluator")
SCRIPT = (honest, cheating)
"""Who plays the rounds of the recorded run."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def launcher() -> AsyncIterator[Launcher]:
    started = Launcher.start(f"test-{uuid.uuid4().hex}")
    yield started
    await started.close()


@pytest.fixture(autouse=True)
def one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vibeserve_tui.roles.judge.secrets.randbits", lambda bits: 20)


async def play(stage: Stage, voice: Voice) -> ev.RoundRecord:
    return await stage.play(dict.fromkeys(ROLES, voice))


async def recorded(stage: Stage, wire: str, script: Sequence[Player]) -> list[ev.RoundRecord]:
    records = []
    for player in script:
        with FakeLLM(brain(player)) as server:
            records.append(await play(stage, load_voice(settings_for(server.url, wire))))
    return records


def replay_of(stage: Stage, api: str = "") -> Voice:
    return load_voice(ev.VoiceSettings(provider="replay", model=str(stage.run.dir.path), api=api))


def told(stage: Stage) -> list[dict[str, Any]]:
    """All that agents were asked, said and did, as the transcripts have it, but for who answered."""
    transcripts = [
        Transcript.parse(stage.run.dir.get_blob(record.event.transcript))
        for record in read_journal(stage.run.dir.journal)
        if isinstance(record.event, ev.AgentFinished) and record.event.transcript
    ]
    return [
        {
            "asked": one.opening.model_dump(exclude={"provider", "model"}),
            "events": one.events,
            "changes": one.changes,
            "ending": one.ending,
        }
        for one in transcripts
    ]


def decided(record: ev.RoundRecord) -> dict[str, object]:
    """The round without its clock and the hash that holds the time of its commit."""
    shown = record.model_dump(exclude={"took_s", "commit", "verdict", "task"})
    shown["task"] = record.task.model_dump()
    steps = record.verdict.steps if record.verdict else ()
    return shown | {"steps": [step.model_dump(exclude={"took_ms"}) for step in steps]}


async def test_a_whole_run_replays_offline_to_the_bit(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)
    async with laboratory(launcher, tmp_path / "first") as lab:
        first = open_stage(lab)
        original = await recorded(first, "responses", SCRIPT)
    assert [record.outcome for record in original] == ["kept", "failed"]
    monkeypatch.delenv(KEY_NAME)
    async with laboratory(launcher, tmp_path / "second") as lab:
        second = open_stage(lab)
        again = [await play(second, replay_of(first)) for _ in SCRIPT]
        assert told(second) == told(first)
        assert [decided(record) for record in again] == [decided(record) for record in original]
        assert second.run.state.usd == 0


async def test_measured_otherwise_a_strict_replay_stops_at_the_first_other_figure_and_a_loose_one_goes_on(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)
    async with laboratory(launcher, tmp_path / "first") as lab:
        first = open_stage(lab)
        first.lenient = True
        original = await recorded(first, "messages", (honest, honest))
    async with laboratory(launcher, tmp_path / "second") as lab:
        second = open_stage(lab)
        second.lenient, second.evaluator = True, FakeEvaluator(measured(ratio=1.4))
        again = [await play(second, replay_of(first))]
        with pytest.raises(
            AgentsHalted, match=r"call 2 of the orchestrator is not .* '.*×1\.40.*' instead of '.*×1\.20"
        ):
            await play(second, replay_of(first))
        again.append(await play(second, replay_of(first, LOOSE)))
        assert [record.tree for record in again] == [record.tree for record in original]
        assert [record.measured.headline.ratio for record in again] == [1.4, 1.4]
        assert [line for line in second.run.state.feed if line.text.startswith("(recorded for another request: ")]
