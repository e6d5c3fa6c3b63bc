"""Whole rounds through coding CLIs: plan, edit, judge, decision, with a real judge; the model is a script.

The fakes belong to every suite, the real ones to `pytest -m cli_real`.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.agents.cli.conftest import ALL, FAKE
from tests.agents.cli.real_clis import endpoint, is_for_a_role, shell, tool_names
from tests.fakes.llm import Call, FakeLLM, Request, Turn
from tests.roles.players import COUNTER, FILE, ROLE, Player, brain, cheating, honest
from tests.roles.stage import Stage, staged
from tests.thoroughly import thoroughly
from vibeserve_tui.agents.protocol import Voice, load_voice
from vibeserve_tui.events import Rates, VoiceSettings
from vibeserve_tui.execution.launcher import Launcher

pytest.importorskip("mcp")
pytestmark = [pytest.mark.asyncio(loop_scope="module")]
ROLES = ("orchestrator", "implementer", "judge", "evaluator")
CHEAP = Rates(input=0.1, output=0.5, cache_read=0.01, cache_write=0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("stage")) as opened:
        yield opened


@pytest.fixture(scope="module")
def own_launcher(stage: Stage) -> Launcher:
    return stage.lab.testbed.launcher


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TEST_KEY", f"sk-canary-{uuid.uuid4().hex}")
    return "TEST_KEY"


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALL:
        program = tmp_path / name
        program.write_text(f"#!{sys.executable} -I\n{FAKE.read_text('utf-8')}", "utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def voices(cli: str, url: str, key: str, launcher: Launcher) -> dict[str, Voice]:
    settings = VoiceSettings(
        provider="coding_cli", api=cli, model="fake-1", base_url=url, api_key_env=key, prices={"fake-1": CHEAP}
    )
    return dict.fromkeys(ROLES, load_voice(settings, launcher))


@pytest.mark.slow
@pytest.mark.parametrize("cli", [ALL[0], *map(thoroughly, ALL[1:])])
async def test_an_honest_round_is_kept_through_a_cli(
    stage: Stage, own_launcher: Launcher, fakes: None, key: str, cli: str
) -> None:
    with FakeLLM(brain(honest)) as server:
        record = await stage.play(voices(cli, server.url, key, own_launcher))
    was_kept(stage, record)
    assert stage.run.state.usd is not None
    assert stage.run.state.usd > 0


@pytest.mark.slow
@pytest.mark.parametrize("cli", [ALL[0], *map(thoroughly, ALL[1:])])
async def test_a_cheating_implementer_is_rejected_through_a_cli(
    stage: Stage, own_launcher: Launcher, fakes: None, key: str, cli: str
) -> None:
    with FakeLLM(brain(cheating)) as server:
        record = await stage.play(voices(cli, server.url, key, own_launcher))
    assert (record.outcome, record.attempts, record.verdict.first_failure) == ("failed", 2, "J0")


def was_kept(stage: Stage, record: object) -> None:
    assert (record.outcome, record.reason, record.attempts) == ("kept", "bound", 1)
    assert f'counters.add("{COUNTER}"' in stage.run.store.read_file(record.commit, FILE)
    assert [step.id for step in record.verdict.steps][-1] == "review"


# ---- the real ones ------------------------------------------------------------------------------------------------


@pytest.mark.cli_real
@pytest.mark.parametrize("cli", ALL)
async def test_an_honest_round_is_kept_through_a_real_cli(
    stage: Stage, own_launcher: Launcher, key: str, cli: str
) -> None:
    with endpoint(cli, spoken_to(cli, honest)) as url:
        record = await stage.play(voices(cli, url, key, own_launcher))
    was_kept(stage, record)


@pytest.mark.cli_real
@pytest.mark.parametrize("cli", ALL)
async def test_a_cheating_implementer_is_rejected_through_a_real_cli(
    stage: Stage, own_launcher: Launcher, key: str, cli: str
) -> None:
    with endpoint(cli, spoken_to(cli, cheating)) as url:
        record = await stage.play(voices(cli, url, key, own_launcher))
    assert (record.outcome, record.attempts, record.verdict.first_failure) == ("failed", 2, "J0")


def spoken_to(cli: str, player: Player) -> Callable[[Request], Turn]:
    """The player in the words of a CLI: its own shell for writing and running, our tools under their longer names."""

    def think(request: Request) -> Turn:
        if not is_for_a_role(request):
            return Turn(text="A title")
        names = tool_names(request)
        results = [said_by_tool(text) for text in (request.results[-1] if request.results else ())]
        if any("Accepted" in text for text in results):
            return Turn(text="All done.")
        role = ROLE.search(json.dumps(request.body))
        calls = player(role[1] if role else "", request.prompt, results)
        return Turn(calls=[translated(name, arguments, names, cli) for name, arguments in calls])

    return think


def translated(name: str, arguments: dict[str, object], names: list[str], cli: str) -> Call:
    if name == "write":
        path, text = str(arguments["path"]), base64.b64encode(str(arguments["text"]).encode()).decode()
        command = f"test -e {path} && word=changed || word=new; echo {text} | base64 -d > {path}; echo $word {path}"
        return shell(command, names, cli)
    if name == "bash":
        return shell(str(arguments["command"]), names, cli)
    return Call(next(known for known in names if re.search(rf"vibeserve(__|_|::){name}$", known)), arguments)


def said_by_tool(text: str) -> str:
    """Without what CLIs put around a tool's own words."""
    try:
        answer = json.loads(text)
    except ValueError:
        answer = text
    if isinstance(answer, dict):
        text = re.sub(r"</?untrusted_context>\n?", "", str(answer.get("output", text)))
    return re.sub(r"\A.*?^(?:Output|output):[^\S\n]*\n?", "", text, flags=re.DOTALL | re.MULTILINE)
