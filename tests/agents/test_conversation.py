"""What the loop does beyond faults: prefixes that stay, room that is made, calls that are salvaged, clean cancelling."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.agents.scene import (
    KEY,
    KEY_NAME,
    QUICK,
    SUBMIT,
    WIRES,
    Scene,
    connect_of,
    play,
    read,
    request_of,
    voice,
    write,
)
from tests.agents.test_fault_matrix import CASES, assert_the_books_agree
from tests.fakes.llm import Call, FakeLLM, Request, Turn
from vibeserve_tui.agents.loop.api import converse
from vibeserve_tui.agents.protocol import Limits, Result
from vibeserve_tui.errors import BudgetSpent

pytestmark = pytest.mark.parametrize("wire", WIRES)


def sent(request: Request) -> str:
    """The parts of a request that servers cache, in their order."""
    head = [request.body[name] for name in ("tools", "system", "instructions") if name in request.body]
    return json.dumps([*head, *request.entries])[:-1]


async def test_each_request_begins_with_the_one_before_it(wire: str) -> None:
    turns = [
        Turn(text="first", thinking="hm", calls=[write(), read("nothing")]),
        Turn(text="words only"),
        Turn(calls=[Call("write", '{"path": "cut')]),
        Turn(calls=[read()] * 20),
        SUBMIT,
    ]
    scene, server = await play(turns, wire)
    assert scene.result.status == "ok"
    requests = [sent(request) for request in server.requests]
    assert len(requests) == 5
    for earlier, later in itertools.pairwise(requests):
        assert later.startswith(earlier)
    stable = {json.dumps({k: v for k, v in r.body.items() if k not in ("messages", "input")}) for r in server.requests}
    assert len(stable) == 1, "tools, system and settings are the same in every request"


async def test_a_call_that_was_printed_is_carried_out_and_answered_in_words(wire: str) -> None:
    printed = '<think>I could delete everything</think>\n<tool_call>{"name": "write", "arguments": {"path": "p", "content": "x"}}</tool_call>'
    scene, server = await play([Turn(text=printed), SUBMIT], wire)
    assert (scene.result.status, scene.files) == ("ok", {"p": "x"})
    assert "Result of write" in server.requests[1].prompt
    assert not any("delete everything" in text for text in scene.said)


@pytest.mark.parametrize("text", ['```json\n{"verdict": "pass", "score": 3}\n```', '{"verdict": "pass", "score": 3}'])
async def test_an_answer_that_was_printed_is_taken(wire: str, text: str) -> None:
    scene, _ = await play([Turn(text=text)], wire)
    assert scene.result.status == "ok" and scene.result.value is not None


@pytest.mark.parametrize(
    "text",
    ['{"name": "rm", "arguments": {"path": "/"}}', 'Use {"name": "write"} like this.', '{"path": "a", "content": "x"}'],
)
async def test_what_only_looks_like_a_call_is_not_one(wire: str, text: str) -> None:
    scene, _ = await play([Turn(text=text), SUBMIT], wire)
    assert (scene.result.status, scene.files) == ("ok", {})


async def test_tool_calls_with_finish_stop_are_carried_out(wire: str) -> None:
    scene, _ = await play([Turn(calls=[write()], finish="stop"), SUBMIT], wire)
    assert scene.files == {"a": "hi"}


async def test_a_huge_and_broken_tool_output_reaches_the_model_cut_and_as_valid_text(wire: str) -> None:
    def prepare(scene: Scene) -> None:
        scene.files["big"] = "\udcff" + "x" * 1_000_000 + "END"

    scene, server = await play([Turn(calls=[read("big")]), SUBMIT], wire, prepare=prepare)
    shown = server.requests[1].results[0][0]
    assert len(shown) < 70_000 and shown.endswith("END") and "characters are left out" in shown
    assert scene.result.status == "ok"


async def test_old_results_and_then_a_summary_make_room(wire: str) -> None:
    """The server counts a token for every four characters, as our gauge expects, and takes no more than 8,000."""

    def brain(request: Request) -> Turn:
        size = len(sent(request)) // 4
        if size > 8000:
            return Turn(status=400, error={"type": "invalid_request_error", "message": "maximum context length"})
        usage = {"input": size, "output": 20}
        if "Write a summary" in request.prompt:
            return Turn(text="SUMMARY: a is written", usage=usage)
        if "SUMMARY" in request.prompt:
            return replace(SUBMIT, usage=usage)
        return Turn(calls=[read(), write("log", "y" * 400)], usage=usage)

    def prepare(scene: Scene) -> None:
        scene.files["a"] = "x" * 1200

    scene, server = await play(brain, wire, limits=Limits(turns=40), context=8000, prepare=prepare)
    assert scene.result.status == "ok"
    rooms = [call for call in scene.used if call.name == "make_room"]
    assert len(rooms) >= 2 and all("became" in room.output for room in rooms)
    assert all(turn.status == 200 for _, turn in server.delivered), "room is made before the server has to refuse"
    assert "Begin." in server.requests[-1].prompt, "what was asked stays"
    assert_the_books_agree(scene, server)


async def test_an_overflow_that_the_server_notices_first_makes_room(wire: str) -> None:
    def brain(request: Request) -> Turn:
        if len(request.results) > 12 and len(sent(request)) > 34_000:
            return Turn(status=400, error={"type": "invalid_request_error", "message": "prompt is too long"})
        return SUBMIT if len(request.results) > 12 else Turn(calls=[read()])

    def prepare(scene: Scene) -> None:
        scene.files["a"] = "x" * 2600

    scene, _ = await play(brain, wire, limits=Limits(turns=20), prepare=prepare)
    assert scene.result.status == "ok"
    assert [call.name for call in scene.used].count("make_room") == 1


async def test_a_spent_budget_ends_the_call_before_the_turn_and_not_after_it(wire: str) -> None:
    def prepare(scene: Scene) -> None:
        allow = scene.ledger.allow

        def at_most_two(model: str, estimate: object) -> str:
            if len(scene.ledger.opened) == 2:
                raise BudgetSpent("the call's budget is spent")
            return allow(model, estimate)  # type: ignore[arg-type]

        scene.ledger.allow = at_most_two  # type: ignore[method-assign]

    scene, server = await play([Turn(calls=[write()])] * 5, wire, prepare=prepare)
    assert (scene.result.status, scene.result.reason) == ("budget", "the call's budget is spent")
    assert len(server.requests) == 2 and scene.files == {"a": "hi"}


async def test_cancelling_hangs_up_at_once_and_settles_the_turn(wire: str) -> None:
    scene = Scene(wire)
    with FakeLLM([Turn(text="a long story " * 50, drip_s=1.0)]) as server:  # which would go on for a minute
        asked = voice(server, wire)

        async def talk() -> None:
            async for event in converse(asked, request_of(scene), connect_of(wire), QUICK):
                scene.events.append(event)

        talking = asyncio.create_task(talk())
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        started = asyncio.get_running_loop().time()
        talking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await talking
        assert asyncio.get_running_loop().time() - started < 5.0
    assert len(scene.ledger.guessed) == 1, "a turn that was cancelled may be billed"


async def test_a_turn_and_a_call_have_their_time(wire: str) -> None:
    story = Turn(text="a long story " * 50, drip_s=0.05)
    slow = replace(QUICK, turn_s=0.2)
    scene, _ = await play(lambda request: SUBMIT if request.n else story, wire, patience=slow)
    assert scene.result.status == "ok" and "no end after" in scene.waits[0].why
    scene, _ = await play([story, SUBMIT], wire, limits=Limits(wall_s=0.2))
    assert scene.result.status == "timeout"


async def test_a_refused_key_is_quoted_nowhere(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)
    error = {
        "type": "authentication_error",
        "message": f"Incorrect API key provided: {KEY}, as in {KEY[:8]}***{KEY[-4:]}",
    }
    scene, server = await play([Turn(status=401, error=error)], wire, api_key_env=KEY_NAME)
    assert KEY in server.requests[0].headers["authorization"]
    assert "Incorrect API key" in scene.result.reason
    assert KEY not in str(scene.events) and KEY[:8] not in str(scene.events)


@pytest.mark.parametrize(("auth", "header"), [("x-api-key", "x-api-key"), ("bearer", "authorization"), ("none", "")])
async def test_the_key_goes_where_the_server_wants_it(
    wire: str, auth: str, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)
    _, server = await play([SUBMIT], wire, api_key_env=KEY_NAME, auth=auth)
    carrying = [name for name, value in server.requests[0].headers.items() if KEY in value]
    assert carrying == ([header] if header else [])
    assert auth != "none" or "authorization" not in server.requests[0].headers


async def test_a_missing_key_is_said_without_a_request(
    wire: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(KEY_NAME, raising=False)
    monkeypatch.chdir(tmp_path)
    scene, server = await play([SUBMIT], wire, api_key_env=KEY_NAME)
    assert isinstance(scene.result, Result) and scene.result.halts
    assert scene.result.reason.startswith(f"{KEY_NAME} is not set") and server.requests == []


async def test_a_package_that_is_gone_is_said_without_a_request(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anthropic" if wire == "messages" else "openai", None)
    scene, server = await play([SUBMIT], wire)
    assert scene.result.halts and ("anthropic" if wire == "messages" else "openai") in scene.result.reason
    assert server.requests == []


async def test_effort_and_the_limit_of_output_reach_the_server(wire: str) -> None:
    _, server = await play([SUBMIT], wire, effort="high", limits=Limits(output_tokens=777))
    body = server.requests[0].body
    effort = {"messages": ("output_config", "effort"), "responses": ("reasoning", "effort")}.get(wire)
    assert (body[effort[0]][effort[1]] if effort else body["reasoning_effort"]) == "high"
    assert 777 in (body.get("max_tokens"), body.get("max_output_tokens"))


async def test_caching_is_asked_for(wire: str) -> None:
    _, server = await play(CASES["thirty calls"].turns, wire)
    body = json.dumps(server.requests[-1].body)
    if wire == "messages":
        assert 3 <= body.count('"ephemeral"') <= 4
    if wire == "responses":
        assert server.requests[0].body["prompt_cache_key"].startswith("analyst:")
        assert server.requests[0].body["store"] is False


async def test_another_model_does_not_get_the_thoughts_of_the_first(wire: str) -> None:
    turns = [Turn(thinking="SECRET", calls=[write()]), Turn(stop="refusal"), SUBMIT]
    scene, server = await play(turns, wire, fallback_models=("fake-2",))
    assert (scene.result.status, scene.files) == ("ok", {"a": "hi"})
    assert [request.model for request in server.requests] == ["fake-1", "fake-1", "fake-2"]
    assert "SECRET" not in json.dumps(server.requests[2].body)
    assert ("SECRET" in json.dumps(server.requests[1].body)) == (wire != "chat"), "its own it does"


async def test_a_pause_is_sent_back_as_it_is_where_the_wire_has_one(wire: str) -> None:
    scene, server = await play([Turn(text="searching", stop="pause"), SUBMIT], wire)
    assert scene.result.status == "ok"
    last = server.requests[1].entries[-1]["role"]
    assert last == ("assistant" if wire == "messages" else "user")


async def test_a_full_window_that_nothing_can_be_left_out_of_is_said(wire: str) -> None:
    scene, _ = await play([Turn(text="half a th", stop="context")] * 4, wire)
    assert scene.result.status == ("context" if wire == "messages" else "no_submit")
