"""A question within a run: what the journal keeps of it, what a crash cannot take, what a replay plays again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.agents.one_call import PRICE, main, settings_for
from tests.agents.scene import KEY, KEY_NAME, SUBMIT, WIRES, read, write
from tests.fakes import open_run
from tests.fakes.llm import Call, FakeLLM, Request, Turn
from vibeserve_tui import events as ev
from vibeserve_tui.agents.loop.prices import cost
from vibeserve_tui.agents.protocol import Tokens
from vibeserve_tui.errors import AgentError, AgentsHalted, RunError
from vibeserve_tui.run_state import Spend
from vibeserve_tui.state.journal import read_journal
from vibeserve_tui.state.run import Run

WORK = [
    Turn(
        text="I write two files.", calls=[write("server.py", "speed = 2\n"), write("notes.txt", "hm"), read("nothing")]
    ),
    Turn(text="Now the last one.", calls=[write("binary", "\x00\u20ac")]),
    SUBMIT,
]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path, allowance={"usd": 5.0})


def events_of(run: Run, *kinds: type[ev.Event]) -> list[ev.Event]:
    return [record.event for record in read_journal(run.dir.journal) if isinstance(record.event, kinds)]


def billed(server: FakeLLM) -> Tokens:
    return Tokens(**server.billed)


@pytest.mark.parametrize("wire", WIRES)
async def test_the_journal_tells_the_whole_conversation_and_what_it_took(run: Run, wire: str) -> None:
    with FakeLLM([WORK[0], Turn(status=529), *WORK[1:]]) as server:
        answer = await main(run, settings_for(server.url, wire))
    assert answer.score == 3
    told = [event.kind for event in events_of(run, ev.Event)][3:]
    turn = ["agent_calling", "agent_spent"]
    assert told == [
        "agent_started", *turn, "agent_said", *["tool_used"] * 3, *turn, "agent_waiting", *turn, "agent_said",
        "tool_used", *turn, "tool_used", "agent_finished",
    ]  # fmt: skip
    assert run.state.spend == Spend(billed(server).total, pytest.approx(cost({"m": PRICE}, "m", billed(server))))
    assert run.state.unsettled == {} and server.paid_twice == []


async def test_a_spent_run_halts_all_agents_and_a_spent_call_only_fails(run: Run) -> None:
    endless = [Turn(calls=[write()], usage={"input": 100_000, "output": 10_000})] * 99
    with FakeLLM(endless) as server:
        settings = settings_for(server.url, "messages").model_copy(update={"usd": 0.5})
        with pytest.raises(AgentError, match=r"the call's budget of \$0.50"):
            await main(run, settings)
        assert len(server.requests) == 2
        run.emit(ev.SettingChanged(name="max_usd", value="0.9"))
        with pytest.raises(AgentsHalted, match="the run's budget") as halted:
            await main(run, settings.model_copy(update={"usd": 3.0}))
        assert len(server.requests) == 4
    assert halted.value.exit_code == 4 and "--max-usd" in halted.value.fix


@pytest.mark.parametrize("turn", [Turn(status=401), Turn(status=429, headers={"retry-after": "9999"})])
async def test_what_no_other_call_could_mend_halts_instead_of_burning_rounds(run: Run, turn: Turn) -> None:
    with FakeLLM([turn]) as server, pytest.raises(AgentsHalted, match="the analyst cannot go on"):
        await main(run, settings_for(server.url, "chat"))


async def test_long_arguments_and_outputs_are_cut_in_the_journal_and_whole_in_the_transcript(run: Run) -> None:
    text = "x" * 50_000
    with FakeLLM([Turn(calls=[write("big", text)]), Turn(calls=[read("big")]), SUBMIT]) as server:
        await main(run, settings_for(server.url, "messages"))
    calls = [event.call for event in events_of(run, ev.ToolUsed) if isinstance(event, ev.ToolUsed)]
    assert len(calls[0].arguments) < 2100 and len(calls[1].output) < 8300
    finished = events_of(run, ev.AgentFinished)[0]
    assert isinstance(finished, ev.AgentFinished)
    assert run.dir.get_blob(finished.transcript).count(text.encode()) == 2


# ---- crashes ------------------------------------------------------------------------------------------------------


def start(run: Path, url: str, wire: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.agents.one_call", str(run), url, wire]
    environment = {**os.environ, "PYTHONPATH": "backends"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


@pytest.mark.parametrize("wire", ["chat", *(pytest.param(wire, marks=pytest.mark.slow) for wire in WIRES[:2])])
def test_kill_9_amid_a_turn_forgets_no_money_and_going_on_pays_nothing_twice(tmp_path: Path, wire: str) -> None:
    run = open_run(tmp_path)
    path = run.dir.path
    run.close()
    script = iter([WORK[0], replace(WORK[1], stall_after=3), *WORK])

    with FakeLLM(lambda request: next(script)) as server:
        process = start(path, server.url, wire)
        deadline = time.monotonic() + 240  # it imports an SDK first, and machines may be busy
        while len(server.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate()

        crashed = open_run(tmp_path)
        assert len(crashed.state.unsettled) == 1
        before = crashed.state.spend
        first = WORK[0].tokens
        assert before.tokens > first["input"] + first["output"] and before.usd > 0 and not before.unpriced
        crashed.emit(ev.RunResumed(after_crash=True))
        crashed.close()

        out, err = start(path, server.url, wire).communicate(timeout=60)
    assert (out.decode().strip(), err) == ('{"verdict":"pass","score":3}', b"")
    after = open_run(tmp_path).state.spend
    later = sum((Tokens(**turn.tokens) for turn in WORK), Tokens())
    assert after.tokens == before.tokens + later.total
    assert after.usd == pytest.approx(before.usd + (cost({"m": PRICE}, "m", later) or 0))


# ---- replays ------------------------------------------------------------------------------------------------------


def what_happened(run: Run) -> list[tuple[str, dict[str, object]]]:
    """The conversation as the journal has it, without who answered and what it cost."""
    kinds = (ev.AgentSaid, ev.ToolUsed, ev.AgentWaiting, ev.AgentFinished)
    return [(event.kind, event.model_dump(exclude={"tokens", "usd", "transcript"})) for event in events_of(run, *kinds)]


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mode, path.read_bytes()) for path in sorted(folder.iterdir())}


def player(run: Run, api: str = "") -> ev.VoiceSettings:
    return ev.VoiceSettings(provider="replay", model=str(run.dir.path), api=api)


async def recorded(run: Run, *scripts: list[Turn]) -> None:
    for script in scripts:
        with FakeLLM(script) as server:
            await main(run, settings_for(server.url, "responses"))


async def test_a_replay_is_the_same_to_the_bit_and_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_run(tmp_path / "first")
    other = [Turn(calls=[Call("submit", {"verdict": "fail", "score": 0})])]
    await recorded(first, [Turn(status=503), *WORK], other)
    monkeypatch.delenv(KEY_NAME)
    second = open_run(tmp_path / "second")
    answers = [await main(second, player(first)) for _ in range(2)]
    assert [answer.verdict for answer in answers] == ["pass", "fail"]
    assert tree(second.dir.workspace) == tree(first.dir.workspace)
    assert what_happened(second) == what_happened(first)
    assert second.state.usd == 0
    third = open_run(tmp_path / "third")
    await main(third, player(second))
    assert tree(third.dir.workspace) == tree(first.dir.workspace), "a replay can be replayed"


async def test_a_replay_of_another_request_stops_and_a_loose_one_says_what_is_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_run(tmp_path / "first")
    await recorded(first, WORK)
    second = open_run(tmp_path / "second")
    monkeypatch.setattr("tests.agents.one_call.tools_for", lambda workspace: ())
    different = "call 1 of the analyst is not the one that was recorded: it has another text of its tools"
    with pytest.raises(AgentsHalted, match=f"{different}; with --agent replay-loose"):
        await main(second, player(first))
    assert (await main(second, player(first, "replay-loose"))).verdict == "pass"
    assert "(recorded for another request: this one has another text of its tools)" in [
        line.text for line in second.state.feed
    ]


async def test_a_replay_that_is_over_says_so(tmp_path: Path) -> None:
    first, second = open_run(tmp_path / "first"), open_run(tmp_path / "second")
    await recorded(first, WORK)
    await main(second, player(first))
    with pytest.raises(AgentsHalted, match="the recording has no call 2 of the analyst"):
        await main(second, player(first))


async def test_a_transcript_cannot_write_outside_of_the_workspace(tmp_path: Path) -> None:
    first, second = open_run(tmp_path / "first"), open_run(tmp_path / "second")
    await recorded(first, WORK)
    finished = events_of(first, ev.AgentFinished)[0]
    assert isinstance(finished, ev.AgentFinished)
    evil = first.dir.get_blob(finished.transcript).replace(b'"path":"server.py"', b'"path":"../../escaped"')
    first.emit(finished.model_copy(update={"transcript": first.dir.put_blob(evil)}))
    second.emit(finished)
    with pytest.raises(RunError, match="outside of the workspace"):
        await main(second, player(first))
    assert not (tmp_path / "second" / "escaped").exists()


# ---- keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
async def test_the_key_is_in_nothing_that_a_run_leaves_behind(run: Run, wire: str) -> None:
    def brain(request: Request) -> Turn:
        assert KEY in request.headers["authorization"]
        if request.n == 3:
            message = f"Incorrect API key provided: {KEY}"
            return Turn(status=401, error={"type": "authentication_error", "message": message})
        return WORK[request.n]

    with FakeLLM(brain) as server:
        await main(run, settings_for(server.url, wire))
        with pytest.raises(AgentsHalted):
            await main(run, settings_for(server.url, wire))
    run.close()
    files = [path for path in run.dir.path.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if KEY.encode() in path.read_bytes() or KEY[:12].encode() in path.read_bytes()] == []
