"""A whole run planned and written by a model behind real HTTP, and that run played again where it is measured anew.

Engine process, sandbox, judge, gate, profile and confirmation are as ever; only what they work on is small: a seed that
starts at once and waits in every step, and a model whose script takes the waiting out.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cheats.laboratory import fast_tree
from tests.e2e.test_default_run import COMMAND, environment, short_target, wait_for
from tests.fakes.llm import Brain, FakeLLM, Turn
from tests.roles.players import COUNTER, FILE, WAIT, Call, Player, brain, honest
from tests.roles.stage import waiting
from vibeserve_tui.client import open_state
from vibeserve_tui.events import AgentSaid, ToolCall, ToolUsed
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state.journal import read_journal
from vibeserve_tui.state.run_dir import RunDir, lock_holder
from vibeserve_tui.state.workspace import Store

pytestmark = [pytest.mark.slow, pytest.mark.serial]
CONFIG = '[providers]\nlab = {{ kind = "openai", api = "chat", base_url = "{url}/v1", api_key_env = "LAB_KEY" }}\n'
PROFILE = """
schema = 1
title = "As few questions and rounds as a run can have"
max_rounds = 2
max_minutes = 15.0
attempts = 1
judge = { contract = 4, held_out = 4, held_out_tokens = 12, perturb = 3, sampling = 24, batch_invariance = 3, weight_swap = 3, repeats = 2 }
confirmation = { blocks = 3 }
"""
KEY = "sk-canary-0b7e4d1c9a35"
SHOW_ENVIRONMENT = "cat /proc/*/environ | tr '\\0' '\\n'; "
LENGTHS = "[32, 48, 64]"
"""Of the answers that the target's clients ask for."""
THE_END = "the script is over"
RUN_S = 600


def planner(role: str, prompt: str, results: Sequence[str]) -> list[Call]:
    """One change, then an end."""
    if role == "orchestrator" and "Count the steps" in prompt:
        return [("submit", {"action": "stop", "stop_reason": THE_END})]
    return honest(role, prompt, results)


def curious(player: Player) -> Player:
    """Looks for the key wherever it runs a command."""

    def play(role: str, prompt: str, results: Sequence[str]) -> list[Call]:
        calls = player(role, prompt, results)
        return [
            (name, {"command": SHOW_ENVIRONMENT + str(given["command"])} if name == "bash" else given)
            for name, given in calls
        ]

    return play


def overloaded_at_first(think: Brain) -> Brain:
    return lambda request: Turn(status=529) if request.n == 0 else think(request)


@dataclass(frozen=True)
class Home:
    """A person's folders, with a target of their own that they trust."""

    folder: Path
    target: Path
    trust: str

    @property
    def env(self) -> dict[str, str]:
        return environment(self.folder) | {"XDG_CONFIG_HOME": str(self.folder / "config")}

    def order(self, runs: str) -> list[str]:
        """The command for a run of the target, as far as all runs here are alike."""
        return [
            "run", str(self.target), "--trust", self.trust, "--no-experience", "--profile", str(self.folder / "short.toml"),
            "--runs-dir", str(self.folder / runs),
        ]  # fmt: skip


def vibeserve(env: dict[str, str], *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=env, check=False, timeout=timeout)


@dataclass(frozen=True)
class Recorded:
    home: Home
    run: RunDir
    done: subprocess.CompletedProcess[str]
    billed: int
    """Tokens, as the server counts."""

    @property
    def state(self) -> RunState:
        return open_state(self.run)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With the default target, but for its seed, which is the fast tree and waits, and half of its load."""
    folder = tmp_path_factory.mktemp("home")
    target = short_target(folder)
    usual = (target / "seed").rename(folder / "usual")
    waiting(fast_tree(usual, target / "seed"))
    lines = (target / "target.toml").read_text("utf-8").splitlines(keepends=True)
    text = "".join(line for line in lines if '"c1"' not in line)
    assert LENGTHS in text
    (target / "target.toml").write_text(text.replace(LENGTHS, "[16, 24, 32]"), "utf-8")
    (folder / "short.toml").write_text(PROFILE, "utf-8")
    (folder / "config" / "vibeserve").mkdir(parents=True)
    untrusted = vibeserve(environment(folder), "run", str(target), "--headless")
    return Home(folder, target, re.findall(r"--trust (\S+)", untrusted.stderr)[0].rstrip(")"))


@pytest.fixture(scope="module")
def recorded(home: Home) -> Recorded:
    with FakeLLM(overloaded_at_first(brain(curious(planner))), key=KEY) as server:
        (home.folder / "config" / "vibeserve" / "config.toml").write_text(CONFIG.format(url=server.url))
        agent = ("--headless", "--agent", "lab", "--model-name", "script")
        done = vibeserve(home.env | {"LAB_KEY": KEY}, *home.order("runs"), *agent, timeout=RUN_S)
    assert done.returncode == 0, done.stderr
    (run,) = (RunDir(path.parent) for path in (home.folder / "runs").glob("*/journal.jsonl"))
    return Recorded(home, run, done, sum(server.billed.values()) - server.billed["reasoning"])


def test_a_model_plans_writes_and_is_measured_like_anybody(recorded: Recorded) -> None:
    assert re.search(r"orchestrator waits \d+ s: 529", recorded.done.stderr)
    state = recorded.state
    written = state.rounds[1]
    assert (written.task.kind, written.outcome) == ("agent", "kept")
    assert written.hypothesis_outcome
    assert written.verdict.passed and written.verdict.steps[-1].id == "review"
    assert state.status_reason == THE_END
    assert state.champion == 1
    assert state.confirmed[-1].figures[0].ci_low > 1
    assert state.tokens == recorded.billed
    decoder = Store(recorded.run.store).read_file(written.commit, FILE)
    assert f'counters.add("{COUNTER}"' in decoder and WAIT not in decoder
    report = vibeserve(recorded.home.env, "report", str(recorded.run.path), "--json")
    assert json.loads(report.stdout)["confirmation_holds"]


def test_its_key_gets_nowhere(recorded: Recorded) -> None:
    assert any("/proc/*/environ" in call.arguments and call.ok for call in tool_calls(recorded.run))
    assert KEY not in recorded.done.stdout + recorded.done.stderr
    files = [path for path in recorded.home.folder.rglob("*") if path.is_file()]
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_played_again_it_writes_the_same_and_is_measured_anew(recorded: Recorded) -> None:
    home = recorded.home
    agent = ("--agent", "replay-loose", "--model-name", str(recorded.run.path))
    begun = vibeserve(home.env, *home.order("again"), "--detach", *agent)
    assert begun.returncode == 0, begun.stderr
    run = RunDir(home.folder / "again" / begun.stdout.strip())
    wait_for("the end of round 1", lambda: 1 in open_state(run).rounds, RUN_S)
    vibeserve(home.env, "stop", run.name, "--now", "--runs-dir", str(home.folder / "again"))
    wait_for("the engine's end", lambda: lock_holder(run) is None, 60)

    state, first = open_state(run), recorded.state.rounds[1]
    again = state.rounds[1]
    assert (again.outcome, again.tree) == (first.outcome, first.tree)
    assert again.measured.figures != first.measured.figures
    said = [record.event.text for record in read_journal(run.journal) if isinstance(record.event, AgentSaid)]
    assert [text for text in said if re.match(r"\(recorded for another request: this one has '.*' instead of '", text)]
    assert state.usd == 0


def tool_calls(run: RunDir) -> list[ToolCall]:
    return [record.event.call for record in read_journal(run.journal) if isinstance(record.event, ToolUsed)]
