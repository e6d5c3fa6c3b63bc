"""Who answers for each role: command line over profile over configuration, complete and checked before a run starts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vibeserve_tui.agents.protocol import Tokens, load_voice, named, providers
from vibeserve_tui.cli import main
from vibeserve_tui.errors import InputError, ProfileError
from vibeserve_tui.events import Allowance, Rates, RunPlan, VoiceSettings
from vibeserve_tui.inputs.config import Config
from vibeserve_tui.inputs.profiles import RunProfile
from vibeserve_tui.inputs.toml_files import validate
from vibeserve_tui.starting import (
    DEFAULT_USD,
    ROLES,
    Wanted,
    agents_here,
    plan_allowance,
    plan_voices,
    require_answers,
    require_first_turn,
)

LAB = {
    "providers": {"lab": {"kind": "openai", "api": "chat", "base_url": "http://127.0.0.1:9/v1", "context": 32768}},
    "prices": {"qwen": {"input": 0.1, "output": 0.2}},
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key in the environment and none in the folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def profile(**table: object) -> RunProfile:
    value, faults = validate({"schema": 1, "title": "a test's", **table}, RunProfile)
    assert value is not None, faults
    return value


def config(**table: object) -> Config:
    value, faults = validate(table, Config)
    assert value is not None, faults
    return value


def voices(wanted: Wanted | None = None, **table: object) -> dict[str, VoiceSettings]:
    return plan_voices(wanted or Wanted(), profile(**table))


def test_by_default_the_playbook_plays_every_role_for_nothing() -> None:
    made = voices()
    assert {voice.provider for voice in made.values()} == {"playbook"} and set(made) == set(ROLES)
    assert plan_allowance(Wanted(), profile(), made) == Allowance()


def test_one_key_is_all_that_a_first_run_with_a_model_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-x")
    wanted = Wanted(agent="anthropic")
    made = voices(wanted)
    for voice in made.values():
        assert (voice.provider, voice.name, voice.api_key_env) == ("anthropic_api", "anthropic", "ANTHROPIC_API_KEY")
        assert voice.model in voice.prices and voice.context
        assert "sk-x" not in voice.model_dump_json()
    assert plan_allowance(wanted, profile(), made).usd == DEFAULT_USD


@pytest.mark.parametrize("agent", ["anthropic", "openai"])
def test_a_missing_key_is_said_before_anything_starts(agent: str) -> None:
    with pytest.raises(InputError, match=rf"^{agent.upper()}_API_KEY is not set \(fix: "):
        voices(Wanted(agent=agent))


def test_a_key_in_dot_env_is_enough(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-x\n")
    (tmp_path / ".env").chmod(0o600)
    made = voices(Wanted(agent="openai", model_name="gpt-5.6-sol"))
    assert made["judge"].model == "gpt-5.6-sol" and made["judge"].api == "responses"


def test_roles_may_differ_and_the_command_line_wins_over_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-x")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-y")
    judge = {"model": "claude-haiku-5-5", "effort": "low", "fallback_models": ["claude-sonnet-5-5"], "usd": 0.5}
    table = {"agent": {"provider": "anthropic", "turns": 9}, "roles": {"judge": judge}}
    made = voices(None, **table)
    assert (made["judge"].model, made["judge"].effort, made["judge"].usd, made["judge"].turns) == (
        "claude-haiku-5-5",
        "low",
        0.5,
        9,
    )
    assert set(made["judge"].prices) == {"claude-haiku-5-5", "claude-sonnet-5-5"}
    assert made["implementer"].model == "claude-sonnet-5-5"
    all_openai = voices(Wanted(agent="openai"), **table)
    assert {(voice.provider, voice.model) for voice in all_openai.values()} == {("openai_api", "gpt-5.5")}
    assert all_openai["judge"].fallback_models == () and all_openai["judge"].effort == "low"


def test_the_configuration_speaks_where_the_profile_is_silent() -> None:
    wanted = Wanted(config=config(run={"agent": "lab", "model": "qwen"}, **LAB))
    made = voices(wanted)
    assert {(v.provider, v.name, v.model, v.context) for v in made.values()} == {("openai_api", "lab", "qwen", 32768)}
    assert {v.provider for v in voices(wanted, agent={"provider": "playbook"}).values()} == {"playbook"}


def test_an_own_server_needs_no_key_but_a_models_name() -> None:
    with pytest.raises(InputError, match=r"which model of lab is not said \(fix: --model-name NAME\)"):
        voices(Wanted(agent="lab", config=config(**LAB)))
    made = voices(Wanted(agent="lab", model_name="qwen", config=config(**LAB)))
    assert made["judge"].api_key_env == "" and made["judge"].prices["qwen"].output == 0.2


def test_a_limit_in_usd_demands_a_known_price() -> None:
    lab = config(providers=LAB["providers"])
    wanted = Wanted(agent="lab", model_name="qwen", max_usd=5.0, config=lab)
    made = voices(wanted)
    with pytest.raises(ProfileError, match="the price of qwen is not known"):
        plan_allowance(wanted, profile(), made)
    accepting = Wanted(agent="lab", model_name="qwen", max_usd=5.0, allow_unknown_cost=True, config=lab)
    assert plan_allowance(accepting, profile(), made).usd == 5.0
    unlimited = Wanted(agent="lab", model_name="qwen", config=lab)
    assert plan_allowance(unlimited, profile(), made).usd is None
    priced = Wanted(agent="lab", model_name="qwen", max_usd=5.0, config=config(**LAB))
    assert plan_allowance(priced, profile(), voices(priced)).usd == 5.0


def test_limits_come_from_the_command_line_or_else_from_the_profile() -> None:
    table = profile(budget={"usd": 4.0, "tokens": 1000, "round_usd": 1.0, "round_tokens": 300})
    assert plan_allowance(Wanted(), table, voices()) == Allowance(usd=4.0, tokens=1000, round_usd=1.0, round_tokens=300)
    assert plan_allowance(Wanted(max_usd=2.0, max_tokens=5), table, voices()).usd == 2.0


def test_an_unknown_agent_names_the_nearest_one() -> None:
    with pytest.raises(ProfileError, match="did you mean 'anthropic'"):
        named("antropic")
    with pytest.raises(ProfileError, match="did you mean 'lab'"):
        voices(Wanted(agent="lbb", config=config(**LAB)))
    for provider in providers():
        assert named(provider).provider == provider
    assert named("replay-loose").api == "replay-loose"


@pytest.mark.parametrize("provider", ["anthropic_api", "openai_api", "playbook", "replay"])
def test_an_agent_is_made_without_a_key_so_that_a_run_can_pause_for_it(provider: str) -> None:
    assert load_voice(VoiceSettings(provider=provider, model="m")).provider == provider


def test_doctor_tells_who_could_play_and_what_the_others_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary-4c1e")
    monkeypatch.setenv("PATH", "/nowhere")
    own = {**LAB["providers"], "far": {"kind": "anthropic", "base_url": "http://127.0.0.1:9", "api_key_env": "FAR_KEY"}}
    found = {line.id: line for line in agents_here(config(providers=own))}
    ready = found["agent anthropic"]
    assert ready.ok and re.fullmatch(
        r"claude-\S+, key in ANTHROPIC_API_KEY, \$\d+ and \$\d+ per million tokens", ready.observed
    )
    assert {name for name, line in found.items() if line.ok} == {"agent anthropic"}
    assert (found["agent openai"].observed, found["agent lab"].observed) == (
        "OPENAI_API_KEY is not set", "which model of lab is not said",
    )  # fmt: skip
    assert "claude" in found["agent claude"].observed and "npm install" in found["agent claude"].fix
    assert all(line.fix and line.severity == "info" for line in found.values() if not line.ok)
    assert not {"agent playbook", "agent replay-loose"} & set(found)


# ---- the command line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--agent", "anthropic"), "ANTHROPIC_API_KEY is not set (fix: export ANTHROPIC_API_KEY=…"),
        (("--agent", "anthropi"), "no agent provider is called 'anthropi'; did you mean 'anthropic'?"),
        (("--agent", "replay"), "which recorded run is to be played is not said (fix: --model-name RUN)"),
    ],
)
def test_what_is_missing_is_one_line_and_no_run_is_made(
    tmp_path: Path,
    options: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    runs = tmp_path / "runs"
    code = main(["run", "tiny-llama-chat", "--headless", "--runs-dir", str(runs), *options])
    complaint = capsys.readouterr().err
    assert code == 2 and complaint.startswith(f"vibeserve: {said}") and complaint.count("\n") == 1
    assert not runs.exists()


FIRST_TURN = Tokens(input=5000, output=500)
"""$0.02 at the prices below."""
DEAR = VoiceSettings(
    provider="anthropic_api", model="m", prices={"m": Rates(input=3.0, output=10.0, cache_read=1.0, cache_write=1.0)}
)


@pytest.mark.parametrize(
    ("limits", "call", "said"),
    [
        (
            {"usd": 0.019},
            3.0,
            r"\$0.019 for the run pays for no turn of m: it takes \$0.020 or more \(fix: a larger --max-usd",
        ),
        ({"round_usd": 0.01}, 3.0, r"\$0.01 for a round pays for no turn"),
        ({"usd": 5.0}, 0.01, r"\$0.01 for a call pays for no turn"),
        ({"tokens": 5499}, 3.0, "5,499 tokens for the run are too few for a turn of m: it takes 5,500 or more"),
    ],
)
def test_a_limit_that_pays_for_no_turn_is_said_before_there_is_a_run(
    limits: dict[str, float], call: float, said: str
) -> None:
    with pytest.raises(ProfileError, match=said):
        require_first_turn(DEAR.model_copy(update={"usd": call}), Allowance.model_validate(limits), FIRST_TURN)


def test_that_nothing_limits_an_unknown_price_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vibeserve_tui.starting.reach", lambda voice: "")
    plan = RunPlan(target="t", target_path="", target_digest="", voices={"judge": DEAR})
    assert require_answers(plan) == []
    unknown = plan.model_copy(update={"voices": {"judge": DEAR.model_copy(update={"prices": {}})}})
    assert require_answers(unknown) == ["the price of m is not known, so no limit in USD holds; --max-tokens N would"]
    assert require_answers(unknown.model_copy(update={"allowance": Allowance(tokens=9)})) == []


def test_a_limit_of_just_a_turn_or_of_an_unknown_price_is_none_of_its_business() -> None:
    require_first_turn(DEAR, Allowance(usd=0.02, tokens=5500), FIRST_TURN)
    require_first_turn(DEAR.model_copy(update={"prices": {}}), Allowance(usd=0.01), FIRST_TURN)
