"""The real CLIs against a scripted model: each edits the workspace, uses our tools and submits, boxed as in a run.

Not part of any other suite: `pytest -m cli_real` with claude, codex, opencode and gemini of npm on the PATH.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.agents.cli.conftest import ALL, Report, Stage, carrying_a_cookie
from tests.agents.cli.real_clis import endpoint, is_for_a_role, shell, tool_names
from tests.fakes.llm import Call, Request, Turn
from vibeserve_tui.agents.cli.gateway import STAND_IN
from vibeserve_tui.agents.protocol import Limits, Said, Used
from vibeserve_tui.execution.launcher import Launcher

pytest.importorskip("mcp")
pytestmark = [pytest.mark.cli_real, pytest.mark.asyncio(loop_scope="session")]

Step = Callable[["Player"], Turn]


@dataclass
class Player:
    """A model that plays steps, one a turn, in words that each CLI understands."""

    cli: str
    workspace: Path
    steps: list[Step]
    seen: list[Request] = field(default_factory=list)
    played: int = 0
    tools: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> Turn:
        self.seen.append(request)
        if not is_for_a_role(request):
            return Turn(text="A title")
        self.tools = tool_names(request)
        step, self.played = self.steps[min(self.played, len(self.steps) - 1)], self.played + 1
        return step(self)

    def ours(self, name: str) -> str:
        return next(tool for tool in self.tools if tool.endswith(name))


def run(command: str) -> Step:
    return lambda player: Turn(text="I run it.", calls=[shell(command, player.tools, player.cli)])


def call(name: str, **arguments: object) -> Step:
    return lambda player: Turn(calls=[Call(player.ours(name), arguments)])


def say(text: str) -> Step:
    return lambda _: Turn(text=text)


ROUND = [
    run("echo 'speed = 2' > server.py && cat server.py && cat /proc/*/environ | tr '\\0' '\\n'"),
    call("note", text="hello"),
    call("submit", changed="many"),
    call("submit", summary="done", changed=1),
    say("All done."),
]


@pytest.fixture
def real(launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "server.py").write_text("speed = 1\n")
    monkeypatch.setenv("TEST_KEY", f"sk-canary-{uuid.uuid4().hex}")
    return Stage(launcher, workspace, limits=Limits(usd=None, wall_s=150.0))


@pytest.mark.parametrize("cli", ALL)
async def test_a_real_cli_plays_a_round(real: Stage, cli: str) -> None:
    player = Player(cli, real.workspace, list(ROUND))
    with endpoint(cli, player) as url:
        real.settings = {"base_url": url, "model": "fake-1"}
        events, result = await real.ask(cli)
    assert (result.status, result.value) == ("ok", Report(summary="done", changed=1)), (result, events)
    assert (real.workspace / "server.py").read_text() == "speed = 2\n"
    assert real.notes == ["hello"]
    calls = [event.call for event in events if isinstance(event, Used)]
    assert [call.name for call in calls][-3:] == ["note", "submit", "submit"]
    assert [call.ok for call in calls][-4:] == [True, True, False, True]
    assert "speed = 2" in calls[0].output
    assert any(isinstance(event, Said) for event in events)
    answered = [request for request in player.seen if is_for_a_role(request)]
    assert real.ledger.spent.total >= 120 * (len(answered) - 1)
    assert "You are a role." in str(answered[0].body)
    # The key reaches the server and never the program, which prints its whole environment.
    key = os.environ["TEST_KEY"]
    assert key in str(answered[0].headers)
    assert STAND_IN in calls[0].output
    assert key not in repr(events)
    assert "[key]" not in repr(events)


@pytest.mark.parametrize("cli", ALL)
async def test_a_real_cli_cannot_write_for_a_role_that_may_not(real: Stage, cli: str) -> None:
    player = Player(cli, real.workspace, [run("echo 'speed = 9' > server.py"), *ROUND[3:]])
    with endpoint(cli, player) as url:
        real.settings = {"base_url": url, "model": "fake-1"}
        _, result = await real.ask(cli, writable=False)
    assert result.status == "ok", result
    assert (real.workspace / "server.py").read_text() == "speed = 1\n"


@pytest.mark.parametrize("cli", ALL)
async def test_a_real_cli_that_stops_too_early_is_reminded_in_its_session(real: Stage, cli: str) -> None:
    player = Player(cli, real.workspace, [say("I am done, trust me."), *ROUND[3:]])
    with endpoint(cli, player) as url:
        real.settings = {"base_url": url, "model": "fake-1"}
        events, result = await real.ask(cli)
    assert result.status == "ok", (result, events)
    last = player.seen[-1]
    assert "trust me" in str(last.body)


@pytest.mark.parametrize("cli", ALL)
async def test_a_real_cli_is_ended_with_all_that_it_started(real: Stage, cli: str) -> None:
    player = Player(cli, real.workspace, [run("touch began; setsid sleep 300 & sleep 300")])
    with endpoint(cli, player) as url:
        real.settings = {"base_url": url, "model": "fake-1"}
        asking = asyncio.create_task(real.ask(cli))
        while not (real.workspace / "began").exists():
            assert not asking.done(), asking.result()
            await asyncio.sleep(0.1)
        assert len(carrying_a_cookie(real.launcher)) > 1
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert carrying_a_cookie(real.launcher) == []
