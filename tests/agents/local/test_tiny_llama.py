"""Real backends with a real, tiny model: what it says is poor, but every action has the right form.

Needs llama-cpp-python and gguf, or mlx-lm and xgrammar; whatever is not installed is skipped.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vibeserve_tui.agents.local.process import working
from vibeserve_tui.agents.local.wire import LocalWire
from vibeserve_tui.agents.local_model import Agent, completed
from vibeserve_tui.agents.loop.turns import Answer, Answers, Asked, Entry, Prefix, Reply, ToolSpec
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


async def test_a_tiny_model_calls_a_tool_and_submits_a_valid_report(settings: VoiceSettings) -> None:
    """What a poor model would choose is chance; here each turn offers one tool, and every whole call must be one of it."""
    begin: list[Entry] = [Asked("Look at the file a.py.")]
    async with working(settings.api, Path(settings.model), 0) as worker:
        assert worker.ready.constrained
        assert worker.ready.context == 2048
        wire = LocalWire(worker)
        first = await valid_call(wire, "look", Look, begin)
        seen = Answers((Answer(first.calls[0], "speed = 1", ok=True),))
        last = await valid_call(wire, "submit", ImplReport, [*begin, first, seen])
    assert last.tokens is not None
    assert last.tokens.output > 0


async def valid_call(wire: LocalWire, name: str, arguments: type[BaseModel], history: list[Entry]) -> Reply:
    """A text may come out too long, and bounds of numbers are in no grammar of llama.cpp: another try is another text."""
    prefix = Prefix((ToolSpec(name, "Does it.", arguments.model_json_schema()),), "You help.", "", 500, "")
    for _ in range(8):
        reply = await wire.turn("tiny", prefix, history)
        if reply.stop == "calls":
            assert (reply.calls[0].name, reply.calls[0].is_object) == (name, True)
            with contextlib.suppress(ValidationError):
                arguments.model_validate_json(reply.calls[0].arguments)
                return reply
    raise AssertionError(f"never a whole and valid call of {name}")


async def test_a_tiny_model_is_probed_and_may_play(settings: VoiceSettings, tmp_path: Path) -> None:
    async def look(argument: Look) -> str:
        return "speed = 1"

    brief = Brief(
        system="You help.", stable="", volatile="Look, then submit.", workspace=tmp_path, writable=True,
        tools=(Tool("look", "Shows a file.", Look, look),),
    )  # fmt: skip
    facts = PerfFacts(ProfileTaken(round=1, tool="t", quality="usable"))
    limits = Limits(wall_s=240.0, output_tokens=300, turns=3)
    request = AgentRequest(Role.IMPLEMENTER, facts, ImplReport, brief, limits)
    events = [event async for event in Agent(settings).run(request)]
    assert isinstance(events[0], Said)
    assert "in the right form" in events[0].text or "can call tools" in events[0].text
    assert isinstance(events[-1], Result)
    assert events[-1].status in ("ok", "turns")
    assert all(event.call.name in ("look", "submit") for event in events if isinstance(event, Used))
