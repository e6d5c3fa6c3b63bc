"""Whole rounds played in words, plan → edit → judge → decision, with real boxes, a real judge and a scripted model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio

from tests.agents.one_call import settings_for
from tests.agents.scene import KEY, KEY_NAME, WIRES
from tests.cheats.zoo import BY_PROMPT, STORE
from tests.fakes import FakeEvaluator, measured
from tests.fakes.llm import FakeLLM
from tests.roles.players import COUNTER, FILE, Player, babbling, brain, cheating, giving_up, honest, spoiling, vetoing
from tests.roles.scripted import scripted
from tests.roles.stage import Stage, real_evaluator, slow_champion, staged
from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import Voice, load_voice

pytestmark = [pytest.mark.asyncio(loop_scope="module")]
ROLES = ("orchestrator", "implementer", "judge", "evaluator")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("stage")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def as_it_was(stage: Stage) -> None:
    stage.evaluator, stage.lenient = FakeEvaluator(measured(ratio=1.2)), False


def cast(**players) -> dict[str, Voice]:
    """One voice for each role; those not named are honest."""
    return {role: scripted(players.get(role, honest)) for role in ROLES}


async def test_an_honest_model_plans_reads_edits_passes_the_judge_and_is_kept(stage: Stage) -> None:
    voices = cast()
    record = await stage.play(voices)
    assert (record.outcome, record.reason, record.attempts) == ("kept", "bound", 1)
    assert record.task.kind == "agent" and record.task.hypothesis and record.task.hypothesis.activation == COUNTER
    assert f'counters.add("{COUNTER}"' in stage.run.store.read_file(record.commit, FILE)
    assert [(step.id, step.passed) for step in record.verdict.steps][-1] == ("review", True)
    assert record.files_changed == 1, "py_compile left a cache behind, which is nobody's change"
    issue = stage.run.state.issues[record.task.issue]
    assert (issue.status, issue.title) == ("done", "Count the steps of the decoder")
    assert "steps are not counted yet" in stage.run.state.memory.split("## Ideas")[1]
    _sees_only_what_its_role_may(voices)


def _sees_only_what_its_role_may(voices: dict[str, Voice]) -> None:
    briefs = {role: voices[role].agent.requests[0].brief for role in ROLES[:3]}
    tools = {role: {tool.name for tool in brief.tools} for role, brief in briefs.items()}
    assert {"write", "edit", "bash", "apply_recipe", "run_check", "run_bench", "skill"} <= tools["implementer"]
    assert not tools["orchestrator"] & {"write", "edit", "bash", "apply_recipe", "run_check"}
    assert not tools["judge"] & {"write", "edit", "apply_patch", "apply_recipe", "memory", "list_recipes"}
    assert [brief.writable for brief in briefs.values()] == [False, True, False]
    review = briefs["judge"].volatile
    assert f'+        counters.add("{COUNTER}"' in review and "J3 held-out prompts: passed" in review
    assert "counts steps in" not in review, "the implementer's own words"


async def test_a_cheating_implementer_is_rejected_by_tests_in_every_attempt(stage: Stage) -> None:
    record = await stage.play(cast(implementer=cheating))
    assert (record.outcome, record.attempts, record.verdict.first_failure) == ("failed", 2, "J0")
    assert "target.toml: this is the target's" in record.reason
    assert stage.evaluator.compared == []
    first = [
        f
        for f in stage.run.state.feed
        if "replaces time.perf_counter" in f.text or "replaces time.perf_counter" in f.detail
    ]
    assert first
    assert stage.run.state.issues[record.task.issue].status == "abandoned"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "addition", "steps"),
    [
        ("server/engine.py", STORE.format(key=BY_PROMPT, before="pass"), {"J2", "J5", "J8"}),
        ("server/config.py", "\n\nraise SystemExit(3)\n", {"J1"}),
    ],
    ids=["keeps answers by prompt", "does not start"],
)
async def test_an_implementer_that_spoils_the_server_is_stopped_by_the_step_that_is_there_for_it(
    stage: Stage, path: str, addition: str, steps: set[str]
) -> None:
    record = await stage.play(cast(implementer=spoiling(path, addition)), attempts=1)
    assert record.outcome == "failed"
    assert record.verdict.first_failure in steps


@pytest.mark.slow
async def test_a_veto_with_its_place_in_the_diff_ends_the_attempt(stage: Stage) -> None:
    record = await stage.play(cast(judge=vetoing), attempts=1)
    assert (record.outcome, record.verdict.first_failure) == ("failed", "review")
    assert record.reason.startswith("veto (frozen_counter): server/decode.py:")


async def test_what_the_gate_turns_down_is_reverted_whoever_wrote_it(stage: Stage) -> None:
    stage.lenient = True
    stage.evaluator = FakeEvaluator(measured("rejected", ratio=0.9))
    record = await stage.play(cast())
    assert record.outcome == "reverted"
    assert stage.run.state.issues[record.task.issue].mechanism.startswith("×0.90")


async def test_an_implementer_that_gives_up_or_babbles_costs_attempts_and_commits_nothing(stage: Stage) -> None:
    stage.lenient = True
    commits = len(stage.run.state.attempts)
    record = await stage.play(cast(implementer=giving_up))
    assert (record.outcome, record.reason) == ("failed", "the implementer gave up: it cannot be done")
    record = await stage.play(cast(implementer=babbling))
    assert record.outcome == "failed"
    assert len(stage.run.state.attempts) == commits


async def test_an_implementers_own_checks_are_run_in_a_box_before_the_judge_is_troubled(stage: Stage) -> None:
    script = "import server.counters, os; open('x', 'w')"

    def checking(role, prompt, results):
        calls = honest(role, prompt, results)
        if role == "implementer" and calls[0][0] == "submit":
            calls[0][1]["local_checks"] = [{"name": "it can write", "argv": ["{python}", "-c", script]}]
        return calls

    stage.lenient = True
    record = await stage.play(cast(implementer=checking), attempts=1)
    assert (record.outcome, record.commit) == ("failed", "")
    assert "its own check 'it can write' fails: " in record.reason
    assert "Read-only file system" in record.reason or "Permission denied" in record.reason


@pytest.mark.slow
async def test_a_rehearsal_tells_what_the_judge_would_say_and_how_fast_it_is(stage: Stage) -> None:
    stage.run.store.checkout(stage.run.state.champion_commit, stage.run.dir.workspace)
    rehearsal = stage.workplace.rehearsal(stage.run.dir.workspace, "test")
    said = await rehearsal.check()
    assert "passed J0" in said and "passed J4" in said and "2 left" in said
    with (stage.run.dir.workspace / FILE).open("a") as out:
        out.write("\nimport time\n\ntime.sleep = None\n")
    assert "FAILED J0" in await rehearsal.check()
    bench = await rehearsal.bench(quick=True)
    assert "output_throughput at c16:" in bench and "not a measurement" in bench


async def test_the_playbook_applies_the_recipe_that_a_model_names(stage: Stage) -> None:
    def naming(role, prompt, results):
        if role != "orchestrator":
            return honest(role, prompt, results)
        claim = {"claim": "faster", "falsifier": "not", "expected_low": 1.0, "expected_high": 1.5}
        use = {"id": "tokenizer-cache-and-parallel"}
        return [
            (
                "submit",
                {"action": "task", "title": "Cache encodings", "family": "http", "hypothesis": claim, "recipe": use},
            )
        ]

    stage.lenient = True
    voices = cast(orchestrator=naming)
    record = await stage.play(voices)
    assert record.task.skill == "tokenizer-cache-and-parallel"
    assert "tokenizer-cache-and-parallel" in record.skills
    assert voices["implementer"].agent.requests == []


@contextmanager
def over(wire: str, player: Player) -> Iterator[tuple[FakeLLM, dict[str, Voice]]]:
    """The player behind a server, all roles asked over one wire by the provider's own SDK."""
    with FakeLLM(brain(player)) as server:
        voice = load_voice(settings_for(server.url, wire))
        yield server, dict.fromkeys(ROLES, voice)


def billed(stage: Stage) -> int:
    return stage.run.state.spend.tokens


@pytest.mark.parametrize("wire", WIRES)
async def test_a_cheating_implementer_is_rejected_over_every_wire(
    stage: Stage, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)
    before = billed(stage)
    with over(wire, cheating) as (server, voices):
        record = await stage.play(voices)
    assert (record.outcome, record.attempts, record.verdict.first_failure) == ("failed", 2, "J0")
    assert server.paid_twice == []
    assert billed(stage) - before == sum(server.billed.values()) - server.billed["reasoning"]


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
async def test_an_honest_round_is_kept_over_every_wire(
    stage: Stage, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)
    with over(wire, honest) as (server, voices):
        record = await stage.play(voices)
    assert (record.outcome, record.verdict.steps[-1].id) == ("kept", "review")
    assert f'counters.add("{COUNTER}"' in stage.run.store.read_file(record.commit, FILE)
    assert server.paid_twice == []


@pytest.mark.slow
@pytest.mark.parametrize(("peak_mib", "turns"), [(200.0, False), (1e9, True)], ids=["both fit", "only one fits"])
async def test_servers_that_memory_does_not_hold_side_by_side_take_turns(
    stage: Stage, peak_mib: float, turns: bool
) -> None:
    state = stage.run.state
    before = state.rounds[state.champion]
    peak = ev.Figure(metric="peak_rss_mib", level="", unit="MiB", direction="min", b=peak_mib)
    figures = (*before.measured.figures, peak)
    state.rounds[state.champion] = before.model_copy(
        update={"measured": before.measured.model_copy(update={"figures": figures})}
    )
    try:
        quiet = SimpleNamespace(ready=None, trusted=None)
        assert real_evaluator(stage)._plan(quiet).one_at_a_time is turns
    finally:
        state.rounds[state.champion] = before


@pytest.mark.slow
@pytest.mark.serial
async def test_what_a_model_made_faster_is_kept_by_the_gate_itself(stage: Stage, tmp_path: Path) -> None:
    before = (stage.run.state.champion, stage.run.state.champion_commit)
    slow_champion(stage, tmp_path / "slow")
    stage.evaluator = real_evaluator(stage)
    try:
        record = await stage.play(cast())
    finally:
        stage.run.emit(ev.ChampionMoved(round=before[0], commit=before[1]))
    assert (record.outcome, record.hypothesis_outcome) == ("kept", "proven")
    assert record.measured.headline.ci_low > 1.3
