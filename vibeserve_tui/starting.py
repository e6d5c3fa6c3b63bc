"""From what a person asked for to a run on disk: everything is checked here, before any process is started.

The order that comes out is complete: the engine reads nothing else, so a run can be resumed years later with the
settings it was started with.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from vibeserve_tui import events as ev
from vibeserve_tui.agents.loop.prices import cost, own_rates
from vibeserve_tui.agents.protocol import Tokens, named, names, prepared, reach
from vibeserve_tui.backend import Backend, Device, Requirement, usable_device
from vibeserve_tui.client import start_engine
from vibeserve_tui.errors import EnvironmentFault, ProfileError, TargetError, VibeServeError, did_you_mean
from vibeserve_tui.inputs.config import Config, user_config_file
from vibeserve_tui.inputs.own_targets import own_targets, weights_of
from vibeserve_tui.inputs.profiles import AgentSettings, RoleName, RunProfile, load_profile
from vibeserve_tui.inputs.target import LoadedTarget, load_target
from vibeserve_tui.inputs.trust import require_trust
from vibeserve_tui.policies import asked_by, require_policy
from vibeserve_tui.resources import shipped_targets
from vibeserve_tui.state import durable
from vibeserve_tui.state.run_dir import RunDir

START_S = 60.0
DEFAULT_USD = 10.0
"""A run's limit where nobody set one and money is spent: a first run must not be a surprise on a bill."""
ROLES: tuple[RoleName, ...] = get_args(RoleName)
NOBODY_ELSE = frozenset({"playbook", "replay"})
"""Providers that need neither a model nor a key."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for; None and "" leave it to the profile and the target."""

    target: str = "tiny-llama-chat"
    profile: str = ""
    backend: str = ""
    policy: str = ""
    agent: str = ""
    """Who plays all roles: a provider, another name of one, or a name in [providers]."""
    model_name: str = ""
    """Of the agents; the weights that are served are `model_dir`."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Per role who plays it instead, `agent`, `agent:model` or `:model`."""
    max_usd: float | None = None
    max_tokens: int | None = None
    allow_unknown_cost: bool = False
    approval: str = ""
    max_rounds: int | None = None
    max_minutes: float | None = None
    model_dir: Path | None = None
    trust: str = ""
    seed: int | None = None
    use_experience: bool = True
    forbids: tuple[str, ...] = ()
    allow_no_sandbox: bool = False
    asks: bool = False
    changes: dict[str, object] = field(default_factory=dict)
    config: Config = field(default_factory=Config)
    """What holds where neither the person nor the profile says anything."""


def find_target(name_or_path: str) -> Path:
    """The folder of a shipped target or of one of the user's own, or the path given. Raises TargetError naming the nearest one."""
    shipped = shipped_targets()
    if name_or_path in shipped:
        return shipped[name_or_path]
    own = own_targets()
    if name_or_path in own:
        return own[name_or_path]
    path = Path(name_or_path)
    if (path / "target.toml").exists():
        return path.resolve()
    raise TargetError(
        f"no target {name_or_path!r}{did_you_mean(name_or_path, [*shipped, *own])}",
        fix="vibeserve target ls, or give the path of a folder with a target.toml",
    )


def plan_run(wanted: Wanted) -> ev.RunPlan:
    """All settings of a run, validated. Raises the first fault as an error with its exit code."""
    profile = _profile(wanted)
    folder = find_target(wanted.target)
    model_dir = wanted.model_dir or weights_of(folder)
    target = load_target(folder, model=model_dir)
    require_trust(target, wanted.trust)
    name = wanted.backend or wanted.config.run.backend or profile.backend or target.spec.backends[0]
    target = target.for_backend(name)
    place = usable_device(name)
    if shutil.which("git") is None:
        raise EnvironmentFault("git is missing", fix="install git 2.30 or newer")
    voices = plan_voices(wanted, profile)
    allowance = plan_allowance(wanted, profile, voices)
    _require_a_turn(profile, voices, allowance, target, place)
    return ev.RunPlan(
        target=target.spec.name,
        target_path=str(target.root),
        target_digest=target.digest,
        title=target.spec.title,
        backend=name,
        profile=wanted.profile or wanted.config.run.profile,
        settings=profile.model_dump(mode="json", by_alias=True, exclude_none=True),
        policy=profile.policy,
        harvest=profile.harvest,
        agents={role: voices[role].name or voices[role].provider for role in players_of(profile.policy)},
        voices=voices,
        allowance=allowance,
        approval=profile.approval or ("each-round" if wanted.asks else "auto"),
        max_rounds=profile.max_rounds,
        max_minutes=profile.max_minutes,
        seed=secrets.randbits(31) if wanted.seed is None else wanted.seed,
        metrics=_metrics(target),
        use_experience=wanted.use_experience,
        model_dir=str(model_dir or ""),
        forbids=wanted.forbids,
        allow_no_sandbox=wanted.allow_no_sandbox,
        asks=wanted.asks,
    )


def players_of(policy: str) -> tuple[str, ...]:
    """The roles without which there is no round; what they are played by is shown to people."""
    return (asked_by(policy), "implementer", "judge", "evaluator")


def require_answers(plan: ev.RunPlan) -> list[str]:
    """See that whoever plays the roles will answer: the first one is asked after minutes of measuring.

    Returns what is doubtful. Raises what is against it: a key that is refused, a server that is gone, a model that cannot
    call tools.
    """
    voices = list[ev.VoiceSettings]()
    for voice in plan.voices.values():
        if voice not in voices:
            voices.append(voice)
    doubts = [doubt for voice in voices if (doubt := reach(voice))]
    unpriced = sorted(model for model, rates in _priced(plan.voices) if rates is None)
    if unpriced and plan.allowance.tokens is None:
        doubts.append(
            f"the price of {', '.join(unpriced)} is not known, so no limit in USD holds; --max-tokens N would"
        )
    return doubts


def create_run(plan: ev.RunPlan, root: Path) -> RunDir:
    """A new run directory with its order; nothing runs yet. Raises EnvironmentFault when it cannot be written."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    run = RunDir(root / f"{stamp}-{plan.target}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        while run.path.exists():
            run = RunDir(root / f"{stamp}-{plan.target}-{secrets.token_hex(2)}")
        run.create()
        durable.write_atomic(run.order, plan.model_dump_json(indent=1).encode())
    except OSError as error:
        raise EnvironmentFault(
            f"the run directory cannot be written: {error.strerror}", where=str(run.path), fix="--runs-dir DIR"
        ) from error
    return run


def launch(run: RunDir) -> subprocess.Popen[bytes]:
    """Start the run's engine and wait until its journal is there. Raises what the engine said when it gave up."""
    engine = start_engine(run)
    deadline = time.monotonic() + START_S
    while not run.journal.exists():
        if engine.poll() is not None:
            raise gave_up(run, engine.returncode)
        if time.monotonic() > deadline:
            engine.kill()
            raise EnvironmentFault("the engine did not start within a minute", where=str(run.log))
        time.sleep(0.02)
    return engine


def gave_up(run: RunDir, code: int) -> VibeServeError:
    """The last line of an engine that ended before it said anything in the journal."""
    lines = run.log.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"]
    error = VibeServeError(lines[-1].removeprefix("vibeserve: "))
    error.exit_code = code if code > 0 else 1
    return error


def _profile(wanted: Wanted) -> RunProfile:
    changes: dict[str, object] = dict(wanted.changes)
    if wanted.max_rounds is not None:
        changes["max_rounds"] = wanted.max_rounds
    if wanted.max_minutes is not None:
        changes["max_minutes"] = wanted.max_minutes
    if wanted.policy:
        changes["policy"] = wanted.policy
    if approval := wanted.approval or wanted.config.run.approval:
        changes["approval"] = approval
    profile = load_profile(wanted.profile or wanted.config.run.profile)
    profile = profile.changed(changes) if changes else profile
    require_policy(profile.policy)
    return profile


def _metrics(target: LoadedTarget) -> tuple[ev.MetricRef, ...]:
    return tuple(
        ev.MetricRef(name=m.name, level=m.level or "", unit=m.unit, direction=m.direction.value, headline=m.headline)
        for m in target.spec.metrics
    )


# ---- agents -------------------------------------------------------------------------------------------------------


def plan_voices(wanted: Wanted, profile: RunProfile) -> dict[str, ev.VoiceSettings]:
    """Who answers for each role, with all settings. Raises what is missing for it: a key, a package, a model's name."""
    made: dict[AgentSettings, ev.VoiceSettings] = {}
    voices = {}
    for name in wanted.roles:
        if name not in ROLES:
            raise ProfileError(f"no role {name!r}{did_you_mean(name, ROLES)}", fix=f"pick one of: {', '.join(ROLES)}")
    for role in ROLES:
        settings = _agent_settings(wanted, profile, role)
        if settings not in made:
            made[settings] = voice_of(settings, wanted.config)
        voices[str(role)] = made[settings]
    return voices


def _agent_settings(wanted: Wanted, profile: RunProfile, role: RoleName) -> AgentSettings:
    """The profile's, but for what the command line says of the role or of all, or else the configuration for a profile that is silent."""
    settings = profile.agent_of(role)
    silent = "provider" not in settings.model_fields_set
    own, _, own_model = wanted.roles.get(role, "").partition(":")
    agent = own or wanted.agent
    provider = agent or (wanted.config.run.agent if silent else None) or settings.provider
    # A model that is named for all roles is not meant for one that somebody else plays.
    model = own_model or (wanted.model_name if agent == wanted.agent else "")
    model = model or ((wanted.config.run.model or "") if silent and not agent else "")
    changes: dict[str, object] = {"provider": provider}
    if model:
        changes["model"] = model
    elif provider != settings.provider:
        changes |= {"model": "", "fallback_models": ()}  # they are another provider's
    return settings.model_copy(update=changes)


def voice_of(settings: AgentSettings, config: Config) -> ev.VoiceSettings:
    """The whole settings of an agent, a server of the operator's own included. Raises what is missing for it."""
    own = config.providers.get(settings.provider)
    if own is None:
        meant = named(settings.provider, config.providers)
    else:
        meant = ev.VoiceSettings(
            provider=named(own.kind).provider,
            name=settings.provider,
            api=own.api,
            base_url=own.base_url,
            api_key_env=own.api_key_env or "",
            auth=own.auth,
            context=own.context,
        )
    known = settings.model_dump(include=set(ev.VoiceSettings.model_fields) - {"provider"})
    voice = prepared(meant.model_copy(update=known))
    own_prices = {model: own_rates(price) for model, price in config.prices.items()}
    prices = {model: own_prices[model] for model in (voice.model, *voice.fallback_models) if model in own_prices}
    return voice.model_copy(update={"prices": voice.prices | prices})


def agents_here(config: Config) -> Iterator[Requirement]:
    """Who could play the roles here beside the playbook, which always can; nobody is asked over a network."""
    for name in (*names(), *config.providers):
        if name not in config.providers and named(name).provider in NOBODY_ELSE:
            continue
        try:
            voice = voice_of(AgentSettings(provider=name), config)
        except VibeServeError as error:
            seen, fix = error.what, error.fix
        else:
            seen, fix = _in_words(voice), ""
        expected = "a model, its key and its package"
        yield Requirement(id=f"agent {name}", ok=not fix, severity="info", observed=seen, expected=expected, fix=fix)


def _in_words(voice: ev.VoiceSettings) -> str:
    rates = voice.prices.get(voice.model)
    price = f"${rates.input:g} and ${rates.output:g} per million tokens" if rates else "its price is not known"
    key = f"key in {voice.api_key_env}" if voice.api_key_env else "without a key"
    return f"{voice.model or 'its own choice of model'}, {key}, {price}"


def plan_allowance(wanted: Wanted, profile: RunProfile, voices: Mapping[str, ev.VoiceSettings]) -> ev.Allowance:
    """What all agents together may take. Raises ProfileError for a limit in USD that an unknown price would make void."""
    budget = profile.budget
    usd = wanted.max_usd if wanted.max_usd is not None else budget.usd
    tokens = wanted.max_tokens if wanted.max_tokens is not None else budget.tokens
    models = _priced(voices)
    unpriced = sorted(model for model, rates in models if rates is None)
    if unpriced and not wanted.allow_unknown_cost and (usd is not None or budget.round_usd is not None):
        raise ProfileError(
            f"the price of {', '.join(unpriced)} is not known, so a limit in USD cannot be kept",
            fix=f"write [prices.{unpriced[0]!r}] into {user_config_file()}, or give --allow-unknown-cost",
        )
    costs = any(rates and (rates.input or rates.output) for _, rates in models)
    return ev.Allowance(
        usd=DEFAULT_USD if usd is None and costs else usd,
        tokens=tokens,
        round_usd=budget.round_usd,
        round_tokens=budget.round_tokens,
    )


def _priced(voices: Mapping[str, ev.VoiceSettings]) -> set[tuple[str, ev.Rates | None]]:
    """All models that may be asked, each with its price as far as it is known."""
    return {
        (model or voice.name, voice.prices.get(model))
        for voice in voices.values()
        for model in (voice.model, *voice.fallback_models)
    }


def _require_a_turn(
    profile: RunProfile,
    voices: Mapping[str, ev.VoiceSettings],
    allowance: ev.Allowance,
    target: LoadedTarget,
    place: tuple[Backend, Device],
) -> None:
    """See that whoever plans may take a turn at all: it is asked for its first after minutes of measuring."""
    if all(voice.provider == "playbook" for voice in voices.values()):
        return
    from vibeserve_tui.roles.first_turn import least_first_turn  # the playbook's runs do without templates

    role = asked_by(profile.policy)
    if voices[role].provider != "playbook":
        require_first_turn(voices[role], allowance, least_first_turn(role, target, *place))


def require_first_turn(voice: ev.VoiceSettings, allowance: ev.Allowance, least: Tokens) -> None:
    """Raises ProfileError for a limit that the first turn, which takes at least so much, would go beyond."""
    usd, name = cost(voice.prices, voice.model, least), voice.model or voice.name
    limits = (
        ("the run", allowance.usd, allowance.tokens, "a larger --max-usd or --max-tokens"),
        ("a round", allowance.round_usd, allowance.round_tokens, "raise it in [budget] of the profile"),
        ("a call", voice.usd, None, "raise usd in [agent] of the profile, or in the role's table"),
    )
    for of, most_usd, most_tokens, fix in limits:
        if most_usd is not None and usd is not None and usd > most_usd:
            raise ProfileError(
                f"${most_usd:g} for {of} pays for no turn of {name}: it takes ${usd:.3f} or more", fix=fix
            )
        if most_tokens is not None and least.total > most_tokens:
            raise ProfileError(
                f"{most_tokens:,} tokens for {of} are too few for a turn of {name}: it takes {least.total:,} or more",
                fix=fix,
            )
