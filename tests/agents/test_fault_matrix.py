"""Every fault on every wire, with the real SDKs over real HTTP: how it ends, what was done, and what was paid."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.agents.scene import QUICK, SUBMIT, WIRES, Scene, play, read, write
from tests.fakes.llm import Call, FakeLLM, Turn
from vibeserve_tui.agents.loop.connection import Patience
from vibeserve_tui.agents.protocol import Limits, Tokens

OVERLOADED = {"type": "overloaded_error", "message": "Overloaded"}
TWO_CALLS = Turn(text="working", calls=[write("a"), write("b")])
CUT_OFF = '{"path": "a", "content": "x'


@dataclass(frozen=True)
class Case:
    """A script, how the conversation must end, and what else must be true then."""

    turns: Sequence[Turn]
    status: str = "ok"
    files: tuple[str, ...] = ()
    waits: int = 0
    requests: int | None = None
    halts: bool = False
    check: Callable[[Scene, FakeLLM], object] = lambda scene, server: True
    settings: dict[str, Any] = field(default_factory=dict)
    patience: Patience = QUICK


CASES = {
    "two calls in one turn": Case([TWO_CALLS, SUBMIT], files=("a", "b")),
    "429 that says when": Case(
        [Turn(status=429, headers={"retry-after": "0.15"}), SUBMIT],
        waits=1,
        check=lambda scene, server: scene.waits[0].wait_s == 0.15,
    ),
    "429 that says when, in milliseconds": Case(
        [Turn(status=429, headers={"retry-after-ms": "20"}), SUBMIT],
        waits=1,
        check=lambda scene, server: scene.waits[0].wait_s == 0.02,
    ),
    "429 without a time": Case([Turn(status=429), SUBMIT], waits=1),
    "429 for hours": Case([Turn(status=429, headers={"retry-after": "7200"})], "rate_limited", requests=1, halts=True),
    "529, then 503, then 500": Case([Turn(status=529), Turn(status=503), Turn(status=500), SUBMIT], waits=3),
    "500 for ever": Case([Turn(status=500)] * 9, "error", waits=4, requests=5, halts=True),
    "401": Case([Turn(status=401)], "error", requests=1, halts=True),
    "404 for the model": Case([Turn(status=404)], "error", requests=1, halts=True),
    "400": Case([Turn(status=400, error={"type": "invalid_request_error", "message": "bad"})], "error", requests=1),
    "a model that cannot call tools": Case(
        [Turn(status=400, error={"message": "registry/gemma:2b does not support tools"})],
        "error",
        requests=1,
        halts=True,
        check=lambda scene, server: scene.result.reason.startswith("this model cannot call tools"),
    ),
    "no quota": Case(
        [Turn(status=429, error={"type": "insufficient_quota", "code": "insufficient_quota"})],
        "error",
        requests=1,
        halts=True,
    ),
    "reset in mid-stream": Case([replace(TWO_CALLS, drop_after=5), SUBMIT], waits=1),
    "stream ends too early": Case([replace(TWO_CALLS, ends_after=4), SUBMIT], waits=1),
    "silence in mid-stream": Case(
        [replace(TWO_CALLS, stall_after=4), SUBMIT], waits=1, patience=replace(QUICK, silence_s=1.0)
    ),
    "slow drip": Case([replace(TWO_CALLS, drip_s=0.02), SUBMIT], files=("a", "b")),
    "garbage in the stream": Case([replace(TWO_CALLS, garbage_after=4), SUBMIT], waits=1),
    "nonsense in the stream": Case([replace(TWO_CALLS, nonsense_after=4), SUBMIT], waits=1),
    "error in mid-stream": Case([replace(TWO_CALLS, error_after=4, error=OVERLOADED), SUBMIT], waits=1),
    "arguments that break off": Case([Turn(calls=[Call("write", CUT_OFF)]), SUBMIT]),
    "arguments that are garbage, again and again": Case(
        [Turn(calls=[Call("write", "{nope}")])] * 5, "bad_arguments", requests=3
    ),
    "arguments nested without end": Case(
        [Turn(calls=[Call("write", '{"path":' + "[" * 5_000)]), Turn(text="[" * 5_000), SUBMIT]
    ),
    "arguments that do not fit": Case([Turn(calls=[Call("write", {"path": 1})]), SUBMIT]),
    "the limit of output inside a call": Case(
        [Turn(calls=[write("good"), Call("write", CUT_OFF)], stop="length"), SUBMIT],
        check=lambda scene, server: "smaller pieces" in scene.used[0].output,
    ),
    "a tool that does not exist": Case(
        [Turn(calls=[Call("rm", {})]), SUBMIT], check=lambda scene, server: "write, read" in scene.used[0].output
    ),
    "a refusal": Case([Turn(text="no", stop="refusal")], "refused", requests=1),
    "a refusal with another model at hand": Case(
        [Turn(text="no", stop="refusal"), SUBMIT],
        waits=1,
        settings={"fallback_models": ("fake-2",)},
        check=lambda scene, server: [request.model for request in server.requests] == ["fake-1", "fake-2"],
    ),
    "a conversation that does not fit": Case(
        [Turn(status=400, error={"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"})] * 3,
        "context",
    ),
    "an empty answer": Case([Turn()] * 4, "no_submit", requests=3),
    "an empty answer, then a right one": Case([Turn(), SUBMIT]),
    "words and no answer": Case([Turn(text="done!")] * 4, "no_submit", requests=3),
    "an answer that does not fit": Case(
        [Turn(calls=[Call("submit", {"verdict": "maybe"})]), SUBMIT],
        check=lambda scene, server: "score: Field required" in scene.used[0].output,
    ),
    "an answer beside a call that fails": Case(
        [Turn(calls=[*SUBMIT.calls, read("missing")]), Turn(calls=[write()]), SUBMIT], files=("a",)
    ),
    "no end": Case([TWO_CALLS] * 20, "turns", files=("a", "b"), requests=8),
    "thirty calls": Case(
        [Turn(calls=[write()]), Turn(calls=[read()] * 30), SUBMIT],
        files=("a",),
        check=lambda scene, server: scene.most_at_once == 8 and len(server.requests[2].results[1]) == 30,
    ),
    "thoughts": Case([replace(TWO_CALLS, thinking="hm"), SUBMIT], files=("a", "b")),
    "a server that does not count": Case(
        [replace(TWO_CALLS, counts=False), replace(SUBMIT, counts=False)],
        files=("a", "b"),
        check=lambda scene, server: len(scene.ledger.guessed) == 2 and scene.result.tokens > 0,
    ),
}


@pytest.mark.parametrize(
    ("name", "wire"), list(itertools.product(CASES, WIRES)), ids=lambda value: value.replace(" ", "-")
)
async def test_fault(name: str, wire: str) -> None:
    case = CASES[name]
    limits = Limits(turns=8, retries=4)
    scene, server = await play(case.turns, wire, limits=limits, patience=case.patience, **case.settings)
    assert (scene.result.status, scene.result.halts) == (case.status, case.halts), scene.result
    assert tuple(scene.files) == case.files
    assert len(scene.waits) == case.waits
    assert case.requests in (None, len(server.requests))
    assert case.check(scene, server)
    assert_the_books_agree(scene, server)


def assert_the_books_agree(scene: Scene, server: FakeLLM) -> None:
    """What we believe to have paid is what the server billed, nothing was done twice, and no turn was left open."""
    billed = Tokens(**server.billed) if all(turn.counts for _, turn in server.delivered) else Tokens()
    # Messages names no reasoning of its own.
    assert replace(scene.ledger.total, reasoning=0) == replace(billed, reasoning=0)
    uncounted = sum(not turn.counts for _, turn in server.delivered)
    assert len(scene.ledger.guessed) == len(server.broken) + uncounted
    assert len(scene.ledger.opened) == len(server.requests) == len(scene.ledger.exact) + len(scene.ledger.guessed)
    assert server.paid_twice == []


@pytest.mark.parametrize("wire", WIRES)
async def test_buckets_do_not_overlap_whatever_the_wire_calls_them(wire: str) -> None:
    usage = {"input": 50, "cache_read": 900, "cache_write": 40, "output": 30}
    scene, server = await play([replace(TWO_CALLS, usage=usage), SUBMIT], wire)
    assert scene.ledger.exact[0] == Tokens(input=50, cache_read=900, cache_write=40, output=30)
    assert_the_books_agree(scene, server)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_server_that_is_not_there_is_tried_and_then_said(wire: str) -> None:
    scene, server = await play([], wire, limits=Limits(retries=1), base_url="http://127.0.0.1:9/v1")
    assert (scene.result.status, scene.result.halts, len(scene.waits)) == ("error", True, 1)
    assert scene.ledger.total == Tokens() and not scene.ledger.guessed, "nobody can bill what never arrived"
    assert server.requests == []
