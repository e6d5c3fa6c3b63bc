"""A local model as an agent: found out about, asked action by action, and never in the engine's way."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from vibeserve_tui.agents.local import process
from vibeserve_tui.agents.local_model import MAX_TOOLS, Agent, completed, few, missing
from vibeserve_tui.agents.protocol import (
    AgentEvent,
    AgentRequest,
    Brief,
    Limits,
    PerfFacts,
    Result,
    Role,
    Said,
    Tool,
    Used,
    reach,
)
from vibeserve_tui.errors import AgentError, EnvironmentFault, InputError
from vibeserve_tui.events import ProfileTaken, VoiceSettings

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
PROBED = {"thought": "", "tool": "repeat", "args": {"word": "seven"}}
OFF = {"thought": "", "tool": "repeat", "args": {"word": "banana"}}
SUBMIT = {"thought": "that is it", "tool": "submit", "args": {"summary": "done"}}


class Report(BaseModel):
    summary: str = Field(max_length=40)


class Word(BaseModel):
    word: str


@dataclass
class Stage:
    """Plays scripts; `heard` is what the worker was asked."""

    folder: Path

    def request(self, **changes: object) -> AgentRequest:
        async def echo(argument: Word) -> str:
            return f"you said {argument.word}"

        brief = Brief(
            system="You are a role.", stable="Objective.", volatile="Now act.", tools=(Tool("echo", "Echoes.", Word, echo),),
            workspace=self.folder, writable=True,
        )  # fmt: skip
        facts = PerfFacts(ProfileTaken(round=1, tool="t", quality="usable"))
        return replace(AgentRequest(Role.EVALUATOR, facts, Report, brief), **changes)

    def agent(self, *answers: object, **script: object) -> Agent:
        path = self.folder / "model.gguf"
        path.write_text(json.dumps({"answers": answers, "heard": str(self.folder / "heard"), **script}))
        return Agent(completed(VoiceSettings(provider="local_model", model=str(path))))

    @property
    def heard(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / "heard").read_text().splitlines()]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(process, "COMMAND", (sys.executable, str(FAKE_WORKER)))
    monkeypatch.setattr("vibeserve_tui.agents.local_model.importlib.util.find_spec", lambda name: name)
    return Stage(tmp_path)


async def play(agent: Agent, request: AgentRequest) -> tuple[list[AgentEvent], Result]:
    events = [event async for event in agent.run(request)]
    assert isinstance(events[-1], Result)
    return events[:-1], events[-1]


async def test_actions_are_carried_out_one_by_one_until_a_valid_submit(stage: Stage) -> None:
    agent = stage.agent(PROBED, {"thought": "first", "tool": "echo", "args": {"word": "hi"}}, SUBMIT)
    events, result = await play(agent, stage.request())
    assert (result.status, result.value) == ("ok", Report(summary="done"))
    calls = [event.call for event in events if isinstance(event, Used)]
    assert [(call.name, call.output) for call in calls] == [("echo", "you said hi"), ("submit", "accepted")]
    assert "first" in [event.text for event in events if isinstance(event, Said)]
    roles = [message["role"] for message in stage.heard[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert "you said hi" in stage.heard[-1]["messages"][-1]["content"]


async def test_the_grammar_allows_the_offered_tools_and_submit_only(stage: Stage) -> None:
    await play(stage.agent(PROBED, SUBMIT), stage.request())
    variants = stage.heard[-1]["grammar"]["anyOf"]
    assert [variant["properties"]["tool"]["const"] for variant in variants] == ["echo", "submit"]
    assert all(list(variant["properties"]) == ["thought", "tool", "args"] for variant in variants)


async def test_arguments_that_do_not_fit_are_told_and_end_the_call_when_they_never_do(stage: Stage) -> None:
    wrong = {"thought": "", "tool": "submit", "args": {"summary": "x" * 50}}
    _, result = await play(stage.agent(PROBED, wrong, SUBMIT), stage.request())
    assert result.status == "ok"
    assert "at most 40 characters" in stage.heard[-1]["messages"][-1]["content"]
    _, result = await play(stage.agent(PROBED, wrong, wrong, wrong), stage.request())
    assert result.status == "bad_arguments"


async def test_an_action_that_was_cut_off_is_not_carried_out(stage: Stage) -> None:
    whole = json.dumps({"thought": "", "tool": "echo", "args": {"word": "hi"}})
    events, result = await play(stage.agent(PROBED, {"cut": whole}, SUBMIT), stage.request())
    assert result.status == "ok"
    assert [event.call.name for event in events if isinstance(event, Used)] == ["submit"]


async def test_words_instead_of_actions_are_answered_with_a_reminder(stage: Stage) -> None:
    words = ["I would rather talk."] * 3
    _, result = await play(stage.agent(PROBED, *words), stage.request())
    assert result.status == "no_submit"


async def test_a_prompt_that_never_fits_ends_with_its_reason(stage: Stage) -> None:
    _, result = await play(stage.agent(PROBED, *["too long"] * 9), stage.request())
    assert result.status == "context"


# ---- the probe ----------------------------------------------------------------------------------------------------


async def test_a_model_that_calls_tools_is_said_to_and_asked_only_once(stage: Stage) -> None:
    agent = stage.agent(PROBED, SUBMIT)
    events, _ = await play(agent, stage.request())
    assert "can call tools" in events[0].text
    stage.agent(SUBMIT)
    events, result = await play(agent, stage.request())
    assert result.status == "ok"
    assert "can call tools" not in repr(events)


async def test_a_model_that_only_keeps_the_form_may_play_with_a_warning(stage: Stage) -> None:
    events, result = await play(stage.agent(OFF, OFF, OFF, SUBMIT), stage.request())
    assert result.status == "ok"
    assert "not as asked" in events[0].text


async def test_a_model_that_cannot_call_tools_is_told_apart_before_any_role_waits_for_it(stage: Stage) -> None:
    _, result = await play(stage.agent("la", "la", "la", SUBMIT), stage.request())
    assert result.status == "error"
    assert result.halts
    assert "cannot call tools" in result.reason
    assert len(stage.heard) == 3


def test_whether_it_can_is_found_out_before_a_run_begins(stage: Stage) -> None:
    settings = completed(VoiceSettings(provider="local_model", model=str(stage.folder / "model.gguf")))
    stage.agent(PROBED)
    assert reach(settings) == ""
    stage.agent(OFF, OFF, OFF)
    assert "not as asked: expect little of it" in reach(settings)
    stage.agent("la", "la", "la")
    with pytest.raises(AgentError, match=r"model.gguf cannot call tools: none of 3 tries .*\(fix: "):
        reach(settings)


# ---- the process --------------------------------------------------------------------------------------------------


async def test_a_model_that_cannot_be_loaded_or_dies_is_quoted(stage: Stage) -> None:
    _, result = await play(stage.agent(refuses_to_load="ValueError: no tensors"), stage.request())
    assert (result.status, result.reason) == ("error", "ValueError: no tensors")
    _, result = await play(stage.agent(PROBED, "die"), stage.request())
    assert result.status == "error"
    assert "out of memory" in result.reason


async def test_a_library_that_warns_without_end_does_not_hold_the_model_up(stage: Stage) -> None:
    async with asyncio.timeout(60):
        _, result = await play(stage.agent(PROBED, SUBMIT, warnings=10_000), stage.request())
    assert result.status == "ok"


async def test_the_engine_answers_while_a_model_thinks_and_a_cancelled_one_is_gone_at_once(stage: Stage) -> None:
    agent = stage.agent(PROBED, "hang")

    async def listen() -> None:
        async with aclosing(agent.run(stage.request())) as events:
            async for _ in events:
                pass

    listening = asyncio.create_task(listen())
    while not (stage.folder / "heard").exists() or len(stage.heard) < 2:
        await asyncio.sleep(0.01)
    assert _workers(stage)
    slept = time.perf_counter()
    await asyncio.sleep(0.01)
    assert time.perf_counter() - slept < 30, "it hangs for ten minutes"
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert not _workers(stage)


def _workers(stage: Stage) -> list[int]:
    """Those that were given a model of this test: others may run beside it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(stage.folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


async def test_wall_time_ends_a_model_that_never_answers(stage: Stage) -> None:
    _, result = await play(stage.agent(PROBED, "hang"), stage.request(limits=Limits(wall_s=1.0)))
    assert result.status == "timeout"


async def test_no_key_reaches_the_models_process(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary-of-the-environment")
    events, _ = await play(stage.agent(PROBED, "environment", SUBMIT), stage.request())
    told = next(event.text for event in events if isinstance(event, Said) and "PYTHONPATH" in event.text)
    assert "canary" not in told


async def test_what_runs_here_costs_nothing_and_is_counted_in_tokens(stage: Stage) -> None:
    prices = completed(VoiceSettings(provider="local_model", model="m.gguf")).prices["m.gguf"]
    assert (prices.input, prices.output) == (0, 0)
    _, result = await play(stage.agent(PROBED, SUBMIT), stage.request())
    assert result.tokens == 15


# ---- before a run starts ------------------------------------------------------------------------------------------


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    folder = VoiceSettings(provider="local_model", model=str(tmp_path))
    lacking = folder.model_copy(update={"model": str(tmp_path / "x.gguf")})
    find_spec = "vibeserve_tui.agents.local_model.importlib.util.find_spec"
    monkeypatch.setattr(find_spec, lambda name: name)
    missing(folder)
    with pytest.raises(InputError, match="no local model is named"):
        missing(VoiceSettings(provider="local_model"))
    with pytest.raises(InputError, match="is not a model file or folder"):
        missing(lacking)
    monkeypatch.setattr(find_spec, lambda _: None)
    with pytest.raises(EnvironmentFault, match="mlx_lm is not installed"):
        missing(folder)
    with pytest.raises(EnvironmentFault, match="llama_cpp is not installed"):
        missing(VoiceSettings(provider="local_model", api="llama_cpp"))


def test_a_small_model_gets_few_tools_and_none_that_quotes_files() -> None:
    async def nothing(_: BaseModel) -> str:
        return ""

    names = [
        "read",
        "grep",
        "glob",
        "edit",
        "apply_patch",
        "skill",
        "issues",
        "write",
        "bash",
        "apply_recipe",
        "run_check",
    ]
    kept = [tool.name for tool in few([Tool(name, "", Word, nothing) for name in names])]
    assert len(kept) == MAX_TOOLS
    assert kept == ["read", "skill", "write", "bash", "run_check"]
