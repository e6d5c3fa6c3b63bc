"""A whole run planned and written by a model behind real HTTP: engine process, judge, gate and confirmation as ever."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.test_default_run import COMMAND, WHOLE_RUN_S, environment, short_target
from tests.fakes.llm import Brain, FakeLLM, Turn
from tests.roles.players import Call, Player, brain, honest
from vibeserve_tui.client import open_state
from vibeserve_tui.events import ToolCall, ToolUsed
from vibeserve_tui.state.journal import read_journal
from vibeserve_tui.state.run_dir import RunDir

CONFIG = '[providers]\nlab = {{ kind = "openai", api = "chat", base_url = "{url}/v1", api_key_env = "LAB_KEY" }}\n'
KEY = "sk-canary-0b7e4d1c9a35"
SHOW_ENVIRONMENT = "cat /proc/*/environ | tr '\\0' '\\n'; "
BASE = "kv-cache-preallocate"
RECIPE = {
    "action": "task", "title": "Own the loop", "family": "kv", "recipe": {"id": BASE},
    "hypothesis": {
        "claim": "own layers are faster", "falsifier": "below ×1.02", "expected_low": 1.1, "expected_high": 4.0,
        "evidence": ["m:output_throughput@c16"],
    },
}  # fmt: skip


def planner(role: str, prompt: str, results: Sequence[str]) -> list[Call]:
    """A recipe first, then code of its own, then an end."""
    if role != "orchestrator":
        return honest(role, prompt, results)
    if "Count the steps" in prompt:
        return [("submit", {"action": "stop", "stop_reason": "the script is over"})]
    return honest(role, prompt, results) if f"tree: {BASE}" in prompt else [("submit", RECIPE)]


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


@pytest.mark.slow
@pytest.mark.serial
def test_a_model_plans_writes_and_is_measured_like_anybody(tmp_path: Path) -> None:
    runs, target = tmp_path / "runs", short_target(tmp_path)
    (tmp_path / "config" / "vibeserve").mkdir(parents=True)
    env = environment(tmp_path) | {"XDG_CONFIG_HOME": str(tmp_path / "config"), "LAB_KEY": KEY}
    with FakeLLM(overloaded_at_first(brain(curious(planner))), key=KEY) as server:
        (tmp_path / "config" / "vibeserve" / "config.toml").write_text(CONFIG.format(url=server.url))
        order = [
            *COMMAND, "run", str(target), "--headless", "--agent", "lab", "--model-name", "script", "--runs-dir",
            str(runs), "--no-experience", "--max-rounds", "3", "--max-minutes", "30",
        ]  # fmt: skip
        foreign = subprocess.run(order, capture_output=True, text=True, env=env, check=False, timeout=60)
        trust = re.findall(r"--trust (\S+)", foreign.stderr)[0].rstrip(")")
        done = subprocess.run(
            [*order, "--trust", trust], capture_output=True, text=True, env=env, check=False, timeout=WHOLE_RUN_S
        )
    assert done.returncode == 0, done.stderr
    assert re.search(r"orchestrator waits \d+ s: 529", done.stderr)
    (run,) = (RunDir(path.parent) for path in runs.glob("*/journal.jsonl"))
    state = open_state(run)
    assert state.rounds[1].task.skill == BASE and state.rounds[1].outcome == "kept"
    written = state.rounds[2]
    assert (written.task.kind, written.task.parent) == ("agent", 1)
    assert written.verdict.passed and written.verdict.steps[-1].id == "review"
    assert written.measured is not None and written.hypothesis_outcome
    assert state.status_reason == "the script is over" or state.max_rounds == 3
    assert state.champion and state.confirmed
    assert state.tokens == sum(server.billed.values()) - server.billed["reasoning"]
    assert any("/proc/*/environ" in call.arguments and call.ok for call in tool_calls(run))
    assert KEY not in done.stdout + done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []
    assert json.loads(subprocess.run(
        [*COMMAND, "report", str(run.path), "--json"], capture_output=True, text=True, env=env, check=True, timeout=60
    ).stdout)["confirmation_holds"]  # fmt: skip


def tool_calls(run: RunDir) -> list[ToolCall]:
    return [record.event.call for record in read_journal(run.journal) if isinstance(record.event, ToolUsed)]
