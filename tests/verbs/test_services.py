"""What the app's questions are answered with, on real targets, runs and stores."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.recorded_run import SEED, Played, record_run
from vibeserve_tui import cli
from vibeserve_tui import events as ev
from vibeserve_tui.client import Liveness
from vibeserve_tui.errors import InputError, TargetError, VibeServeError
from vibeserve_tui.recipes.experience import Circumstances, Experience
from vibeserve_tui.resources import shipped_targets
from vibeserve_tui.starting import Wanted, plan_run
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.tui.services import NewTarget
from vibeserve_tui.verbs.plan_form import estimate, plan_of
from vibeserve_tui.verbs.services import AppServices, CheckProcess, _history

MODEL = shipped_targets()["tiny-llama-chat"] / "reference" / "model"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "runs"


def a_run(root: Path, name: str, line: str) -> RunDir:
    tree = Path(shutil.copytree(SEED, root.parent / f"tree-{name}"))
    (tree / "note.py").write_text(line)
    root.mkdir(exist_ok=True)
    return record_run(root / name, [Played(tree, skill=name)])


def test_a_model_is_described_before_anything_is_made(root: Path) -> None:
    facts = AppServices(root).look_at_model(MODEL)
    assert facts.startswith("llama · 2.2 M parameters · ")
    assert "chat template" in facts
    with pytest.raises(TargetError, match="config"):
        AppServices(root).look_at_model(root.parent)


def test_a_new_target_is_listed_and_can_be_planned_by_its_name(root: Path) -> None:
    services = AppServices(root)
    made = services.new_target(NewTarget("mine", MODEL, clients=4, longest_prompt=64, answers=(8,)))
    assert made.blocked == ""
    assert [target.name for target in services.targets() if target.path == made.path] == ["mine"]
    form = services.plan("mine", {})
    assert form.blocked == ""
    assert form.command == f"vibeserve run mine --runs-dir {root}"
    assert "no key, $0" in form.estimate


def test_every_agent_may_be_chosen_and_one_that_cannot_play_here_says_why(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "")
    (tmp_path / "vibeserve").mkdir()
    lab = '[providers.lab]\nkind = "openai"\napi = "chat"\nbase_url = "http://127.0.0.1:9/v1"\n'
    (tmp_path / "vibeserve" / "config.toml").write_text(lab)
    services = AppServices(root)
    form = services.plan("tiny-llama-chat", {})
    known = next(choice.options for choice in form.choices if choice.name == "agent")
    assert {"playbook", "anthropic", "openai", "claude", "codex", "gemini", "opencode", "lab"} <= set(known)
    blocked = services.plan("tiny-llama-chat", {"agent": "openai", "rounds": "4"})
    assert blocked.blocked.startswith("OPENAI_API_KEY is not set")
    shown = {choice.name: choice.value for choice in blocked.choices}
    assert (shown["agent"], shown["rounds"], shown["policy"]) == ("openai", "4", "agent")
    assert {player.agent for player in blocked.players} == {"openai"}
    blocked = services.plan("tiny-llama-chat", {"agent.judge": "openai", "model.judge": "gpt-5.5"})
    players = {player.role: (player.agent, player.model) for player in blocked.players}
    assert players.pop("judge") == ("openai", "gpt-5.5")
    assert set(players.values()) == {("playbook", "")}
    assert services.plan("tiny-llama-chat", {"agent": "lab"}).blocked.startswith("which model of lab is not said")


def test_roles_may_have_players_and_models_of_their_own_and_the_command_says_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(root.parent))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-b")
    changes = {
        "agent": "openai", "model": "gpt-5.5", "agent.implementer": "anthropic", "model.judge": "gpt-5.6-sol", "usd": "5",
        "agent.evaluator": "playbook",
    }  # fmt: skip
    form = AppServices(root).plan("tiny-llama-chat", changes)
    assert form.blocked == ""
    players = {player.role: (player.agent, player.model, player.own) for player in form.players}
    assert players["orchestrator"] == players["mutator"] == ("openai", "gpt-5.5", False)
    assert players["judge"] == ("openai", "gpt-5.6-sol", True)
    assert players["evaluator"] == ("playbook", "", True)
    assert players["implementer"][0] == "anthropic"
    assert form.estimate.endswith("at most $5.00")
    only_judge = AppServices(root).plan("tiny-llama-chat", {"agent.judge": "openai", "usd": "5"})
    assert only_judge.estimate.endswith("at most $5.00")
    words = shlex.split(form.command)
    options = cli.parser_of("run").parse_args(words[2:])
    as_typed = Wanted(
        target=options.target, agent=options.agent, model_name=options.model_name, roles=dict(options.role), max_usd=options.max_usd
    )  # fmt: skip
    typed, shown = plan_run(as_typed), plan_of("tiny-llama-chat", form.changes)
    assert (typed.voices, typed.allowance) == (shown.voices, shown.allowance)


def test_a_target_whose_weights_are_gone_says_so(root: Path) -> None:
    services = AppServices(root)
    weights = Path(shutil.copytree(MODEL, root.parent / "weights"))
    made = services.new_target(NewTarget("mine", weights, clients=4, longest_prompt=64, answers=(8,)))
    shutil.rmtree(weights)
    assert next(target for target in services.targets() if target.name == "mine").blocked == "its weights are not here"
    (made.path / "OBJECTIVE.md").unlink()
    assert "OBJECTIVE.md: cannot be read" in next(t for t in services.targets() if t.name == "mine").blocked


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["target", "new", str(tmp_path / "file" / "mine"), "--model", str(MODEL)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_is_deleted_but_never_under_an_engine(root: Path) -> None:
    services, run = AppServices(root), a_run(root, "one", "speed = 1\n")
    with run.owned(), pytest.raises(InputError, match="an engine works on this run"):
        services.delete("one")
    (run.path / "closed").mkdir(mode=0o000)
    services.delete("one")
    assert services.runs() == []
    assert not run.path.exists()


def test_two_runs_are_compared_champion_against_champion_across_their_stores(root: Path) -> None:
    a_run(root, "one", "speed = 1\n")
    a_run(root, "two", "speed = 2\n")
    pair = AppServices(root).compare_runs("one", "two")
    assert "-speed = 1\n+speed = 2\n" in pair.diff
    assert pair.why_no_diff == ""
    assert (pair.a.run, pair.b.run) == ("one", "two")


def test_the_estimate_takes_time_from_earlier_runs_and_names_the_limit_in_money(root: Path) -> None:
    a_run(root, "one", "speed = 1\n")
    past = AppServices(root).runs()
    plan = ev.RunPlan(target="tiny-llama-chat", target_path="", target_digest="", agents={"orchestrator": "playbook"})
    assert estimate(plan, []) == "at most 15 min, 120 MiB, no key, $0"
    timed = [replace(run, active_s=50.0, rounds=1) for run in past]
    assert timed[0].liveness is Liveness.FINISHED
    assert estimate(plan, timed).startswith("≈ 10 of 15 min, 120 MiB")
    paid = plan.model_copy(update={"agents": {"orchestrator": "x"}, "allowance": ev.Allowance(usd=5)})
    assert estimate(paid, []).endswith("at most $5.00")


def test_a_skill_s_history_tells_what_it_brought() -> None:
    where = Circumstances(
        fingerprint="f", backend="cpu", device_class="x", target_digest="d", model_shape="m", workload_digest="w"
    )
    record = Experience(
        recipe="r",
        version="1",
        circumstances=where,
        outcome="kept",
        ratio=1.5,
        ci_low=1.4,
        ci_high=1.6,
        run="run-1",
        round=3,
    )
    assert _history([]) == "never tried by you"
    assert _history([record]) == "kept 1 of 1 times\n- ×1.50 [1.40, 1.60] kept, round 3 of run-1"


def test_a_check_says_its_words_and_whether_it_passed() -> None:
    good = CheckProcess(["sh", "-c", "echo one; echo two >&2"])
    assert sorted(good.lines()) == ["one", "two"]
    assert good.passed
    bad = CheckProcess(["sh", "-c", "echo no; exit 1"])
    assert list(bad.lines()) == ["no"]
    assert not bad.passed


def test_a_check_that_is_stopped_ends_with_all_it_started() -> None:
    check = CheckProcess(["sh", "-c", "echo begun; sleep 60 & wait"])
    words = check.lines()
    assert next(words) == "begun"
    check.stop()
    assert list(words) == []
    assert not check.passed


def test_a_verb_that_fails_raises_its_own_last_line(root: Path) -> None:
    with pytest.raises(VibeServeError, match="no run"):
        AppServices(root).ask("nothing-here", "why?")


def test_a_question_may_begin_like_an_option(root: Path) -> None:
    a_run(root, "one", "speed = 1\n")
    assert "r1 kept" in AppServices(root).ask("one", "--why was round 1 kept?")
