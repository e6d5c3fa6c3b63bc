"""Real backends with a real, tiny model: what it says is poor, but every action has the right form.

Needs llama-cpp-python and gguf, or mlx-lm and xgrammar; whatever is not installed is skipped.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from vibeserve_tui.agents.local.probe import Skill, probe
from vibeserve_tui.agents.local.process import working
from vibeserve_tui.agents.local_model import Agent, completed
from vibeserve_tui.agents.protocol import AgentRequest, Brief, Limits, PerfFacts, Result, Role, Said, Tool, Used
from vibeserve_tui.agents.replies import ImplReport
from vibeserve_tui.events import ProfileTaken, VoiceSettings
from vibeserve_tui.inputs.target import load_target
from vibeserve_tui.resources import shipped_targets

pytestmark = pytest.mark.slow


class Look(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: str = Field(max_length=20)


@pytest.fixture(scope="session")
def weights() -> Path:
    return load_target(shipped_targets()["tiny-llama-chat"]).model_dir


@pytest.fixture(scope="session", params=["llama_cpp", "mlx"])
def settings(request: pytest.FixtureRequest, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> VoiceSettings:
    path = weights
    if request.param == "llama_cpp":
        pytest.importorskip("llama_cpp")
        pytest.importorskip("gguf")
        from tests.agents.local.gguf_file import write_gguf

        path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
        write_gguf(weights, path)
    else:
        pytest.importorskip("mlx_lm")
        pytest.importorskip("xgrammar")
    return completed(VoiceSettings(provider="local_model", model=str(path), api=request.param))


def request_for(folder: Path, schema: type[BaseModel], looked: list[str]) -> AgentRequest:
    async def look(argument: Look) -> str:
        looked.append(argument.path)
        return "speed = 1"

    brief = Brief(
        system="You help.", stable="", volatile="Look at the file, then submit.", workspace=folder, writable=True,
        tools=(Tool("look", "Shows a file.", Look, look),),
    )  # fmt: skip
    facts = PerfFacts(ProfileTaken(round=1, tool="t", quality="usable"))
    limits = Limits(wall_s=120.0, output_tokens=600, bad_arguments=20, turns=20)
    return AgentRequest(Role.IMPLEMENTER, facts, schema, brief, limits)


async def test_the_probe_gives_a_verdict(settings: VoiceSettings) -> None:
    async with working(settings.api, Path(settings.model), 0) as worker:
        assert worker.ready.constrained
        assert worker.ready.context == 2048
        probed = await probe(worker, "tiny")
    assert probed.skill is not Skill.NONE
    assert "tiny" in probed.verdict


async def test_a_tiny_model_calls_a_tool_and_submits(settings: VoiceSettings, tmp_path: Path) -> None:
    """Which of the two tools a poor model takes is chance; a few conversations show both."""
    looked: list[str] = []
    agent, results, calls = Agent(settings), list[Result](), list[Used]()
    for turn in range(6):
        request = request_for(tmp_path, ImplReport, looked)
        brief = replace(request.brief, volatile=f"{request.brief.volatile} ({turn})") if request.brief else None
        async for event in agent.run(replace(request, brief=brief)):
            if isinstance(event, Result):
                results.append(event)
            elif isinstance(event, Used):
                calls.append(event)
            else:
                assert isinstance(event, Said)
        if looked and any(result.status == "ok" for result in results):
            break
    assert looked
    good = [result.value for result in results if result.status == "ok"]
    assert good
    assert all(isinstance(value, ImplReport) for value in good)
    assert all(call.call.name in ("look", "submit") for call in calls)
