"""The real services, for those who have a key and say so: one tool, one answer, at most five cents."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.agents.scene import Scene, request_of
from tests.fakes import open_run
from vibeserve_tui.agents.protocol import Limits, Used, load_voice, named, prepared
from vibeserve_tui.roles.purse import RunPurse

KEYS = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
TASK = "Write the text `hello` into the file `greeting`, read it back, then submit the verdict `pass` with the score 7."

pytestmark = pytest.mark.skipif(
    os.environ.get("VIBESERVE_LIVE") != "1", reason="costs money; VIBESERVE_LIVE=1 wants it"
)


@pytest.mark.parametrize("name", KEYS)
async def test_a_real_model_writes_a_file_and_submits(name: str, tmp_path: Path) -> None:
    if not os.environ.get(KEYS[name]):
        pytest.skip(f"{KEYS[name]} is not set")
    settings = prepared(named(name)).model_copy(update={"usd": 0.05})
    scene, run = Scene(""), open_run(tmp_path, allowance={"usd": 0.05})
    request = request_of(scene, Limits(turns=8, output_tokens=1000, wall_s=120))
    assert request.brief is not None
    asked = replace(request, brief=replace(request.brief, volatile=TASK), purse=RunPurse(run, "analyst", settings))
    events = [event async for event in load_voice(settings).agent.run(asked)]
    assert [event.call.name for event in events if isinstance(event, Used)][:1] == ["write"]
    assert scene.files == {"greeting": "hello"}
    assert str(events[-1]).startswith("Result(status='ok'")
    assert run.state.usd is not None and 0 < run.state.usd <= 0.05
