"""One conversation with each CLI: what counts as an answer, what it may touch, what it costs and how it ends."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
import tempfile
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.agents.cli.conftest import ALL, KEY, MODELS, Report, Stage, carrying_a_cookie
from tests.execution.conftest import eventually
from tests.fakes.llm import Call, FakeLLM, Turn
from tests.reliability.keyrings import ASK, CANARY, FILES, desktop
from vibeserve_tui.agents.cli.claude import Claude
from vibeserve_tui.agents.cli.gateway import STAND_IN
from vibeserve_tui.agents.cli.opencode import OpenCode
from vibeserve_tui.agents.cli.process import COOKIE, sweep
from vibeserve_tui.agents.coding_cli import Agent
from vibeserve_tui.agents.protocol import Limits, Result, Said, Used
from vibeserve_tui.events import VoiceSettings

pytest.importorskip("mcp")
pytestmark = pytest.mark.asyncio(loop_scope="session")
SUBMIT = ["tool", "submit", {"summary": "done", "changed": 1}]
DONE = ["end"]


def used(events: list[object]) -> list[tuple[str, bool]]:
    return [(event.call.name, event.call.ok) for event in events if isinstance(event, Used)]


def said(events: list[object]) -> list[str]:
    return [event.text for event in events if isinstance(event, Said)]


@pytest.mark.parametrize("cli", ALL)
async def test_a_cli_edits_the_workspace_uses_our_tools_and_submits(stage: Stage, cli: str) -> None:
    events, result = await stage.ask(
        cli,
        ["say", "I will make it faster."],
        ["write", str(stage.workspace / "server.py"), "speed = 2\n"],
        ["run", "cat server.py"],
        ["tool", "note", {"text": "hello"}],
        SUBMIT,
        DONE,
    )
    assert (result.status, result.value) == ("ok", Report(summary="done", changed=1))
    assert (stage.workspace / "server.py").read_text() == "speed = 2\n"
    assert stage.notes == ["hello"]
    assert said(events) == ["I will make it faster."]
    calls = [event.call for event in events if isinstance(event, Used)]
    assert [call.ok for call in calls] == [True] * 4
    assert [call.name for call in calls][2:] == ["note", "submit"]
    assert "speed = 2" in calls[1].output
    assert "hello" in calls[2].arguments
    assert calls[2].output == "noted hello"


@pytest.mark.parametrize("cli", ALL)
async def test_every_token_is_paid_once_in_its_own_bucket(stage: Stage, cli: str) -> None:
    _, result = await stage.ask(cli, ["turn", 100, 0, 10], ["turn", 7, 100, 20], SUBMIT, DONE)
    assert result.tokens == 237
    spent = stage.ledger.spent
    assert (spent.input, spent.cache_read, spent.output) == (107, 100, 30)
    assert len(stage.ledger.asked) == len(stage.ledger.settled)
    assert result.usd == 237.0


@pytest.mark.parametrize("cli", ["codex", "opencode"])
async def test_a_role_that_may_not_write_cannot(stage: Stage, cli: str) -> None:
    events, result = await stage.ask(
        cli,
        ["write", str(stage.workspace / "server.py"), "speed = 9\n"],
        ["run", "touch new; rm server.py"],
        SUBMIT,
        DONE,
        writable=False,
    )
    assert result.status == "ok"
    assert [ok for _, ok in used(events)] == [False, False, True]
    assert [path.name for path in stage.workspace.iterdir()] == ["server.py"]
    assert (stage.workspace / "server.py").read_text() == "speed = 1\n"


async def test_public_files_can_be_read_and_nothing_else_of_the_machine(stage: Stage, tmp_path: Path) -> None:
    public, private = tmp_path / "public", tmp_path / "private"
    for folder in (public, private):
        folder.mkdir()
        (folder / "text").write_text(folder.name)
    events, _ = await stage.ask(
        "codex",
        ["run", f"cat {public}/text"],
        ["run", f"echo x > {public}/text"],
        ["run", f"cat {private}/text"],
        SUBMIT,
        DONE,
        readable=(public,),
    )
    assert [ok for _, ok in used(events)] == [True, False, False, True]


@pytest.mark.parametrize("cli", ["claude", "gemini"])
async def test_an_answer_that_does_not_fit_is_told_why_and_may_be_mended(stage: Stage, cli: str) -> None:
    events, result = await stage.ask(cli, ["tool", "submit", {"changed": "many"}], SUBMIT, DONE)
    assert result.status == "ok"
    refused = next(event.call for event in events if isinstance(event, Used))
    assert not refused.ok
    assert "summary: Field required" in refused.output
    assert "many" not in refused.output


async def test_answers_that_never_fit_end_the_call(stage: Stage) -> None:
    wrong = ["tool", "submit", {"sumary": "typo"}]
    _, result = await stage.ask("claude", wrong, wrong, wrong, ["sleep", 60])
    assert result.status == "bad_arguments"
    assert "sumary" in result.reason


@pytest.mark.parametrize("cli", ["claude", "opencode"])
async def test_what_is_done_after_the_answer_was_accepted_does_not_count(stage: Stage, cli: str) -> None:
    write = ["write", str(stage.workspace / "server.py"), "speed = 2\n"]
    sneak = ["run", "echo 'speed = 9' > server.py; touch more"]
    (stage.workspace / "link").symlink_to("server.py")
    _, result = await stage.ask(cli, write, SUBMIT, sneak, ["sleep", 60], ["say", "never said"])
    assert result.status == "ok"
    assert (stage.workspace / "server.py").read_text() == "speed = 2\n"
    assert sorted(path.name for path in stage.workspace.iterdir()) == ["link", "server.py"]
    assert (stage.workspace / "link").is_symlink()


@pytest.mark.parametrize("cli", ["codex", "gemini"])
async def test_an_answer_in_the_last_words_counts_when_it_fits(stage: Stage, cli: str) -> None:
    _, result = await stage.ask(cli, ["say", 'Here it is:\n```json\n{"summary": "in words"}\n```'], DONE)
    assert (result.status, result.value) == ("ok", Report(summary="in words"))


@pytest.mark.parametrize("cli", ALL)
async def test_one_that_stops_without_an_answer_is_reminded_in_the_same_session(stage: Stage, cli: str) -> None:
    events, result = await stage.ask(cli, ["say", "All done!"], DONE, then=[["say", "Sorry."], SUBMIT, DONE])
    assert result.status == "ok"
    assert said(events) == ["All done!", "Sorry."]


@pytest.mark.parametrize("cli", ALL)
async def test_one_that_never_ends_is_ended_once_its_turns_are_used_up(stage: Stage, cli: str) -> None:
    stage.limits = replace(stage.limits, turns=4)
    steps = [step for number in range(30) for step in (["turn", 1, 0, 1], ["tool", "note", {"text": str(number)}])]
    _, result = await stage.ask(cli, *steps, SUBMIT, DONE)
    assert (result.status, result.reason) == ("turns", f"{cli}: all 4 turns are used up")
    assert 4 <= len(stage.notes) < 30


@pytest.mark.parametrize("put", ["ln -sf {victim} {file}", "rm {file}; mkfifo {file}", "rm {file}; mkdir {file}"])
async def test_what_a_cli_puts_in_its_settings_place_is_not_written_through(
    stage: Stage, tmp_path: Path, put: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("the user's own")
    stop = ["run", put.format(victim=victim, file="$CLAUDE_CONFIG_DIR/system.md")], ["say", "done"], DONE
    _, result = await stage.ask("claude", *stop, then=[SUBMIT, DONE])
    assert victim.read_text() == "the user's own"
    assert (result.status, result.halts) == (("error", False) if "mkdir" in put else ("ok", False))


async def test_a_folder_of_settings_that_became_a_link_is_not_written_into(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    put = f"rm -r $GEMINI_CLI_HOME/.gemini; ln -s {tmp_path}/elsewhere $GEMINI_CLI_HOME/.gemini"
    _, result = await stage.ask("gemini", ["run", put], ["say", "done"], DONE, then=[SUBMIT, DONE])
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (result.status, result.halts) == ("error", False)
    assert "cannot be set up again" in result.reason


async def test_a_home_that_cannot_be_walked_through_is_removed_all_the_same(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    code = "import os; os.chdir(os.environ['CODEX_HOME']); [(os.mkdir('d'), os.chdir('d')) for _ in range(1500)]"
    events, result = await stage.ask("codex", ["run", f"{sys.executable} -c {shlex.quote(code)}"], SUBMIT, DONE)
    assert result.status == "ok"
    assert next(event.call.ok for event in events if isinstance(event, Used))
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_claims_of_success_and_exit_codes_are_no_answer(stage: Stage) -> None:
    stage.limits = replace(stage.limits, nudges=1)
    stop = [["say", "success"], ["end"], ["leave", 0]]
    _, result = await stage.ask("claude", *stop, then=stop)
    assert result.status == "no_submit"
    _, result = await stage.ask("codex", ["say", "x"], SUBMIT, ["leave", 3])
    assert result.status == "ok"


@pytest.mark.parametrize(
    ("cli", "message", "status", "halts"),
    [
        ("claude", "API Error: 429 rate limit reached", "rate_limited", False),
        ("codex", "401 invalid api key", "error", True),
        ("gemini", "prompt is too long: 210000 tokens", "context", False),
        ("opencode", "something broke", "error", False),
    ],
)
async def test_a_failure_in_words_has_its_status(
    stage: Stage, cli: str, message: str, status: str, halts: bool
) -> None:
    _, result = await stage.ask(cli, ["say", "hm"], ["end", message])
    assert (result.status, result.halts) == (status, halts)
    assert message in result.reason


async def test_what_is_not_known_of_the_output_is_ignored(stage: Stage) -> None:
    _, result = await stage.ask("gemini", ["noise"], SUBMIT, ["noise"], DONE)
    assert result.status == "ok"


async def test_one_that_dies_at_once_is_quoted(stage: Stage, home: Path) -> None:
    (home / "bin" / "codex").write_text("#!/bin/sh\necho 'error: unexpected argument' >&2\nexit 2\n")
    _, result = await stage.ask("codex", SUBMIT)
    assert result.status == "error"
    assert "unexpected argument" in result.reason


# ---- time ---------------------------------------------------------------------------------------------------------


async def test_silence_while_no_tool_runs_is_a_stall(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Claude, "silence_s", 0.4)
    _, result = await stage.ask("claude", ["say", "hm"], ["sleep", 60])
    assert result.status == "timeout"
    assert "no sign of life" in result.reason


async def test_silence_while_a_tool_runs_is_none(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Claude, "silence_s", 2.0)
    _, result = await stage.ask("claude", ["say", "hm"], ["slow_tool", 3.0], SUBMIT, DONE)
    assert result.status == "ok"


async def test_a_cli_that_reports_tools_only_afterwards_may_be_silent_for_longer() -> None:
    assert OpenCode.silence_s > 600


async def test_the_wall_time_of_a_call_is_kept(stage: Stage, short_grace: None) -> None:
    stage.limits = replace(stage.limits, wall_s=1.0)
    _, result = await stage.ask("codex", ["ignore_interrupts"], ["chatter", 60])
    assert result.status == "timeout"
    assert "1 s" in result.reason


@pytest.mark.parametrize("cli", ["claude", "opencode"])
async def test_a_cancelled_call_leaves_no_process_and_no_folder(
    stage: Stage, cli: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_grace: None
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    settings = VoiceSettings(provider="coding_cli", api=cli, model=MODELS.get(cli, ""), api_key_env="TEST_KEY")
    request = stage.request(["leave_child", 60], ["ignore_interrupts"], ["tool", "note", {"text": "on"}], ["sleep", 60])

    async def listen() -> None:
        async with aclosing(Agent(settings).run(request)) as events:
            async for _ in events:
                pass

    listening = asyncio.create_task(listen())
    while not stage.notes:
        await asyncio.sleep(0.02)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert eventually(lambda: not carrying_a_cookie(stage.launcher), 2.0)
    assert list(private.iterdir()) == []


async def test_whoever_stops_listening_ends_the_program(stage: Stage) -> None:
    settings = VoiceSettings(provider="coding_cli", api="codex", api_key_env="TEST_KEY")
    async with aclosing(Agent(settings).run(stage.request(["say", "hello"], ["sleep", 60]))) as events:
        async for _ in events:
            assert carrying_a_cookie(stage.launcher) != []
            break
    assert carrying_a_cookie(stage.launcher) == []


async def test_the_sweep_finds_whoever_carries_the_cookie_and_nobody_else() -> None:
    code = ("-c", "import time; time.sleep(60)")
    marked = await asyncio.create_subprocess_exec("python3", *code, env={COOKIE: "a", "PATH": "/usr/bin:/bin"})
    other = await asyncio.create_subprocess_exec("python3", *code, env={COOKIE: "b", "PATH": "/usr/bin:/bin"})
    assert eventually(lambda: sweep("a") == [marked.pid], 2.0)  # its environment appears a moment after its exec
    assert await marked.wait() == -9
    assert other.returncode is None
    other.kill()
    await other.wait()


# ---- secrets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cli", ALL)
async def test_the_key_reaches_the_server_and_never_the_program(stage: Stage, cli: str) -> None:
    with FakeLLM([Turn(calls=[Call("bash", {"command": "env; cat /proc/*/environ $HOME/* 2>&1"})]), Turn()]) as server:
        stage.settings = {"base_url": server.url}
        stage.limits = replace(stage.limits, nudges=0)
        events, result = await stage.ask(cli, thinks=True)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert STAND_IN in repr(events)
    assert KEY not in repr(events)
    assert "[key]" not in repr(events)
    assert result.status == "no_submit"


async def test_where_no_server_is_known_nothing_is_started(stage: Stage) -> None:
    stage.settings = {"model": "somebody/m"}
    events, result = await stage.ask("opencode", ["tell_start"], SUBMIT, DONE)
    assert (events, result.status, result.halts) == ([], "error", True)
    assert "not known where opencode finds the model 'somebody/m'" in result.reason


@pytest.mark.parametrize("cli", ["claude", "opencode"])
async def test_nothing_of_our_environment_reaches_a_cli(
    stage: Stage, cli: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@127.0.0.1:1")
    stage.settings = {"model": "anthropic/m"}
    events, _ = await stage.ask(cli, ["tell_start"], SUBMIT, DONE)
    environment = json.loads(said(events)[0])["environment"]
    assert environment["VIBESERVE_RUN"]
    assert "password" not in repr(environment)
    assert "canary-of-the-environment" not in environment.values()


async def test_a_login_is_lent_as_a_copy_and_taken_back_when_renewed(stage: Stage, home: Path) -> None:
    stage.settings = {"api_key_env": ""}
    login = home / ".codex" / "auth.json"
    login.parent.mkdir()
    login.write_text("old")
    renew = ["run", "cat $CODEX_HOME/auth.json; echo new > $CODEX_HOME/auth.json; ls -A $CODEX_HOME ~"]
    events, result = await stage.ask("codex", renew, SUBMIT, DONE)
    assert result.status == "ok"
    assert next(e.call.output for e in events if isinstance(e, Used)).startswith("old")
    assert login.read_text() == "new\n"
    assert [path.name for path in login.parent.iterdir()] == ["auth.json"]


async def test_a_login_that_became_a_link_is_not_taken_back(stage: Stage, home: Path) -> None:
    stage.settings = {"api_key_env": ""}
    login = home / ".codex" / "auth.json"
    login.parent.mkdir()
    login.write_text("old")
    await stage.ask("codex", ["run", "ln -sf /etc/passwd $CODEX_HOME/auth.json"], SUBMIT, DONE)
    assert login.read_text() == "old"


async def test_a_login_in_a_folder_that_became_a_link_is_not_taken_back(stage: Stage, home: Path) -> None:
    """Another program's keys would be lent with the next call."""
    stage.settings = {"api_key_env": "", "model": "anthropic/m"}
    for folder in (".local/share/opencode", ".elsewhere"):
        (home / folder).mkdir(parents=True)
        (home / folder / "auth.json").write_text(folder)
    put = f"cd $XDG_DATA_HOME; rm -r opencode; ln -s {home}/.elsewhere opencode; ls -l"
    events, _ = await stage.ask("opencode", ["run", put], SUBMIT, DONE)
    assert ".elsewhere" in next(event.call.output for event in events if isinstance(event, Used))
    assert (home / ".local" / "share" / "opencode" / "auth.json").read_text() == ".local/share/opencode"


async def test_a_keyring_of_the_desktop_is_out_of_a_clis_reach(stage: Stage, home: Path) -> None:
    with desktop(home) as services:
        look = "for file in glob.glob(sys.argv[1] + '/.*/*'): print(file)\nfor address in sys.argv[2:]:\n"
        look += "    try: print(handed_out(address))\n    except OSError as error: print('out of reach', error)\n"
        (stage.workspace / "look.py").write_text(f"import glob, sys\n{ASK}{look}")
        words = [sys.executable, "-I", str(stage.workspace / "look.py"), str(home), *services]
        events, _ = await stage.ask("codex", ["run", f"env; {shlex.join(words)}; cat {home}/{FILES[0]}"], SUBMIT, DONE)
    (output,) = [
        event.call.output for event in events if isinstance(event, Used) and "out of reach" in event.call.output
    ]
    assert output.count("out of reach") == len(services)
    assert CANARY not in repr(events)


# ---- money --------------------------------------------------------------------------------------------------------


async def test_a_budget_that_is_spent_already_starts_nothing(stage: Stage) -> None:
    stage.ledger.limit = 0
    events, result = await stage.ask("claude", ["say", "hello"], SUBMIT, DONE)
    assert (events, result.status) == ([], "budget")


@pytest.mark.parametrize("cli", ["claude", "opencode"])
async def test_the_next_turn_is_not_begun_once_the_budget_is_spent(stage: Stage, cli: str) -> None:
    stage.ledger.limit = 250
    _, result = await stage.ask(
        cli, ["turn", 100, 0, 10], ["turn", 7, 100, 40], ["turn", 5, 120, 1], ["sleep", 60], SUBMIT, DONE
    )
    assert result.status == "budget"
    assert result.tokens == 257


async def test_a_turn_that_was_never_accounted_for_counts_as_expected(stage: Stage) -> None:
    _, result = await stage.ask("codex", ["say", "x"], SUBMIT, ["leave", 9])
    assert result.status == "ok"
    assert [exact for _, exact in stage.ledger.settled] == [False]
    assert result.tokens > 0


async def test_a_calls_own_limit_in_usd_ends_it(stage: Stage) -> None:
    stage.limits = Limits(usd=100.0, wall_s=30.0)
    _, result = await stage.ask("opencode", ["turn", 100, 0, 10], ["turn", 1, 0, 1], ["sleep", 60])
    assert (result.status, result.usd) == ("budget", 110.0)


async def test_a_request_without_a_box_is_refused(stage: Stage) -> None:
    request = replace(stage.request(SUBMIT), launcher=None)
    events = [
        event
        async for event in Agent(VoiceSettings(provider="coding_cli", api="claude", api_key_env="TEST_KEY")).run(
            request
        )
    ]
    assert isinstance(events[-1], Result)
    assert events[-1].status == "error"
    assert "a box to run in" in events[-1].reason
