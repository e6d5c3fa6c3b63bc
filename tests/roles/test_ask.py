"""Questions about a run: grounded answers of a model, and the plain lookup that says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents.one_call import settings_for
from tests.agents.scene import KEY, KEY_NAME, WIRES
from tests.fakes import measured, open_run
from tests.fakes.llm import FakeLLM, Turn
from tests.roles.players import brain
from tests.roles.scripted import scripted
from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import Used, Waiting, load_voice
from vibeserve_tui.cli import main
from vibeserve_tui.errors import AgentError
from vibeserve_tui.roles.asking import answer
from vibeserve_tui.roles.lookup import NO_MODEL, lookup
from vibeserve_tui.state.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = open_run(tmp_path)
    titles = {1: ("kept", "batch requests", "bound"), 2: ("failed", "int8 weights", "J3 held-out prompts: gap max 3.1")}
    for number, (outcome, title, reason) in titles.items():
        task = ev.TaskPlan(title=title, hypothesis=ev.Hypothesis(claim=f"{title} is faster"))
        figures = measured(ratio=1.5) if outcome == "kept" else None
        record = ev.RoundRecord(
            number=number, task=task, outcome=outcome, reason=reason, commit=run.state.champion_commit, measured=figures
        )
        run.emit(ev.RoundFinished(record=record))
    run.emit(ev.ChampionMoved(round=1, commit=run.state.champion_commit))
    issue = ev.Issue(id="I-1", type="perf", title="Cache encodings", priority=1)
    run.emit(
        ev.IssueChanged(issue=issue), ev.MemoryChanged(text="# Memory\n\n## Dead ends\n- threads spin\n", by="engine")
    )
    return run


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (
            "why was round 2 rejected?",
            ["r2 failed", "J3 held-out prompts: gap max 3.1", "hypothesis: int8 weights is faster"],
        ),
        ("what about r1 and r9?", ["r1 kept ×1.500", "There is no round 9; the last is 2."]),
        ("what is left to try?", ["I-1 perf open P1: Cache encodings"]),
        ("how fast is the champion?", ["The champion is round 1", "×1.50 over the seed"]),
        ("did threads help?", ["threads spin"]),
        ("why so?", ["Nothing in rounds, board or memory holds any of: so"]),
    ],
)
def test_a_lookup_finds_the_records_and_says_that_no_model_answers(run: Run, question: str, says: list[str]) -> None:
    text = lookup(run.state, question)
    assert text.startswith(NO_MODEL)
    assert all(part in text for part in says), text


async def test_a_model_looks_at_the_records_and_names_its_rounds(run: Run) -> None:
    def player(role, prompt, results):
        assert role == "analyst" and "why was round 2 rejected?" in prompt
        if not results:
            return [("rounds", {"number": 2}), ("diff", {"number": 1}), ("write", {"path": "x", "text": "y"})]
        assert "gap max 3.1" in results[0]
        assert results[2] == "there is no tool write"
        return [("submit", {"text": "Its answers were wrong; round 1 gave r:1.", "rounds": [1, 2]})]

    looks: list[Used | Waiting] = []
    before = run.dir.journal.read_bytes()
    told = await answer(run.dir, run.state, scripted(player), "why was round 2 rejected?", looks.append)
    assert told.text == "Its answers were wrong; round 1 gave ×1.500 [1.455, 1.545] (r:1)."
    assert told.rounds == (1, 2)
    assert [look.call.name for look in looks] == ["rounds", "diff", "write"]
    assert run.dir.journal.read_bytes() == before


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_over_a_wire_says_what_it_cost(run: Run, wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def player(role, prompt, results):
        if not results:
            return [("rounds", {"number": 2})]
        return [("submit", {"text": "Its answers were wrong.", "rounds": [2]})]

    monkeypatch.setenv(KEY_NAME, KEY)
    with FakeLLM(brain(player)) as server:
        voice = load_voice(settings_for(server.url, wire))
        told = await answer(run.dir, run.state, voice, "why was round 2 rejected?", lambda look: None)
    assert (told.text, told.rounds) == ("Its answers were wrong.", (2,))
    assert told.spent.tokens == sum(server.billed.values()) - server.billed["reasoning"]
    assert told.spent.usd == pytest.approx(2 * (100 * 1.0 + 20 * 10.0) / 1e6)


async def test_an_answer_that_rests_on_rounds_that_are_not_there_is_refused(run: Run) -> None:
    voice = scripted(lambda role, prompt, results: [("submit", {"text": "x", "rounds": [7]})])
    with pytest.raises(AgentError, match="there is no round 7"):
        await answer(run.dir, run.state, voice, "what?", lambda look: None)


CONFIG = """
[providers.lab]
kind = "openai"
api = "chat"
base_url = "{url}/v1"
api_key_env = "VIBESERVE_TEST_KEY"
[prices.script]
input = 1.0
output = 10.0
"""


def test_the_verb_asks_a_server_that_the_configuration_names(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def player(role, prompt, results):
        if not results:
            return [("rounds", {"number": 2})]
        return [("submit", {"text": "Its answers were wrong.", "rounds": [2]})]

    run.close()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv(KEY_NAME, KEY)
    (tmp_path / "vibeserve").mkdir()
    busy = Turn(status=529, headers={"retry-after-ms": "20"})
    with FakeLLM(lambda request: brain(player)(request) if request.n else busy, key=KEY) as server:
        (tmp_path / "vibeserve" / "config.toml").write_text(CONFIG.format(url=server.url))
        lab = ["--agent", "lab", "--model-name", "script"]
        assert main(["ask", str(run.dir.path), "why was round 2 rejected?", *lab]) == 0
        shown = capsys.readouterr()
        assert shown.out == "Its answers were wrong.\nrests on round 2\n"
        wait, *looks = shown.err.splitlines()
        assert wait.startswith("waits 0 s: 529 ") and looks == ['rounds {"number": 2}', "240 tokens, $0.0006"]
        monkeypatch.setenv(KEY_NAME, "sk-canary-another-one-3c5d")
        assert main(["ask", str(run.dir.path), "why was round 2 rejected?", *lab]) != 0
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.splitlines()) == 1
    assert "401" in shown.err and "sk-canary" not in shown.err


def test_the_verb_looks_up_without_a_model(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.close()
    assert main(["ask", str(run.dir.path), "why was round 2 rejected?"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(NO_MODEL) and "gap max 3.1" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize(
    ("arguments", "says"), [([" "], "there is no question"), (["what?", "--agent", "telepathy"], "telepathy")]
)
def test_the_verb_says_in_one_line_what_it_cannot_do(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    run.close()
    assert main(["ask", str(run.dir.path), *arguments]) == 2
    shown = capsys.readouterr().err
    assert says in shown and len(shown.splitlines()) == 1
