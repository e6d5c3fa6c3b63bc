"""The start screen's plan of a run: what may be chosen, who plays, what it will take, and the command line equal to it.

What is started is exactly what that command line says: the person's own choices, and nothing that was merely shown.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from vibeserve_tui import events as ev
from vibeserve_tui.client import Liveness, RunSummary
from vibeserve_tui.errors import InputError, VibeServeError
from vibeserve_tui.inputs.config import Config, load_config
from vibeserve_tui.resources import shipped_profiles
from vibeserve_tui.state.run_dir import runs_root
from vibeserve_tui.tui.services import Choice, PlanForm, Player

if TYPE_CHECKING:
    from vibeserve_tui.starting import Wanted

DISK_MIB = 120
"""What a default run leaves behind, measured with du."""
POLICIES = {
    "agent": "issue board",
    "evolve": "a population, one child a round",
    "plain": "the board, worked off in order",
}
OFFLINE = "offline, no key, $0"
FLAGS = {"rounds": "max-rounds", "minutes": "max-minutes", "model": "model-name", "usd": "max-usd"}


def plan_form(target: str, changes: Mapping[str, str], past: Sequence[RunSummary], root: Path) -> PlanForm:
    """The plan of a target with these choices changed; one that cannot start says why."""
    config = load_config(os.environ, project=Path.cwd())
    agents = _agents(config)
    try:
        plan = plan_of(target, changes)
    except VibeServeError as error:
        other = _without_agents(target, changes)
        players = _players(_as_chosen(other.voices, changes) if other else {}, changes)
        choices = _choices(_values(other) if other else changes, players, agents)
        return PlanForm(target, choices, dict(changes), players, agents, blocked=str(error))
    players = _players(plan.voices, changes)
    return PlanForm(
        target,
        _choices(_values(plan), players, agents),
        dict(changes),
        players,
        agents,
        estimate=estimate(plan, past),
        command=" ".join(["vibeserve run", target, *_flags(changes, root)]),
        ready="ready, ⏎ starts",
    )


def _without_agents(target: str, changes: Mapping[str, str]) -> ev.RunPlan | None:
    """The plan of all other choices, while it is an agent that keeps this one from starting."""
    others = {name: value for name, value in changes.items() if name.partition(".")[0] not in {"agent", "model", "usd"}}
    try:
        return plan_of(target, others)
    except VibeServeError:
        return None


def _values(plan: ev.RunPlan) -> dict[str, str]:
    values = {
        "backend": plan.backend,
        "profile": plan.profile,
        "policy": plan.policy,
        "approve": plan.approval,
        "rounds": str(plan.max_rounds),
        "minutes": f"{plan.max_minutes:g}",
    }
    return values if plan.allowance.usd is None else values | {"usd": f"{plan.allowance.usd:g}"}


def plan_of(target: str, changes: Mapping[str, str]) -> ev.RunPlan:
    """All settings of the run that these choices mean. Raises what keeps it from starting."""
    from vibeserve_tui.starting import plan_run

    return plan_run(_wanted(target, changes))


def _wanted(target: str, changes: Mapping[str, str]) -> Wanted:
    from vibeserve_tui.starting import Wanted

    try:
        return Wanted(
            target=target,
            profile=changes.get("profile", ""),
            backend=changes.get("backend", ""),
            policy=changes.get("policy", ""),
            agent=changes.get("agent", ""),
            model_name=changes.get("model", ""),
            roles=_own_players(changes),
            approval=changes.get("approve", ""),
            max_rounds=int(changes["rounds"]) if changes.get("rounds") else None,
            max_minutes=float(changes["minutes"]) if changes.get("minutes") else None,
            max_usd=float(changes["usd"]) if changes.get("usd") else None,
            asks=True,
            config=load_config(os.environ, project=Path.cwd()),
        )
    except ValueError as error:
        raise InputError(f"rounds, minutes and USD are numbers: {error}") from error


def _agents(config: Config) -> tuple[str, ...]:
    from vibeserve_tui.agents.protocol import names

    return (*names(), *config.providers)


def _own_players(changes: Mapping[str, str]) -> dict[str, str]:
    """Per role, as `--role` takes it: `agent`, `agent:model` or `:model`."""
    roles = {name.partition(".")[2] for name in changes if "." in name}
    own = {role: (changes.get(f"agent.{role}", ""), changes.get(f"model.{role}", "")) for role in sorted(roles)}
    return {role: f"{agent}:{model}" if model else agent for role, (agent, model) in own.items()}


def _as_chosen(voices: Mapping[str, ev.VoiceSettings], changes: Mapping[str, str]) -> dict[str, ev.VoiceSettings]:
    """These voices with every choice in place, one that cannot be had here included."""

    def chosen(role: str, voice: ev.VoiceSettings) -> ev.VoiceSettings:
        own = changes.get(f"agent.{role}", "")
        agent = own or changes.get("agent", "")
        # As in the plan: a model that is named for all roles is not meant for one that somebody else plays.
        model = changes.get(f"model.{role}", "") or ("" if own else changes.get("model", ""))
        if not agent and not model:
            return voice
        return ev.VoiceSettings(provider=agent or voice.name or voice.provider, model=model)

    return {role: chosen(role, voice) for role, voice in voices.items()}


def _players(voices: Mapping[str, ev.VoiceSettings], changes: Mapping[str, str]) -> tuple[Player, ...]:
    """Who plays all roles, then who plays each; without a plan only what was chosen is known."""
    from vibeserve_tui.starting import ROLES

    own = _own_players(changes)
    known = {role: (voice.name or voice.provider, voice.model) for role, voice in voices.items()}
    shared = [pair for role, pair in known.items() if role not in own] or list(known.values())
    most = Counter(shared).most_common(1)[0][0] if shared else (changes.get("agent", ""), changes.get("model", ""))
    chosen = {role: (changes.get(f"agent.{role}", ""), changes.get(f"model.{role}", "")) for role in own}
    return (
        Player("", *most),
        *(Player(role, *known.get(role, chosen.get(role, most)), own=role in own) for role in ROLES),
    )


def _choices(values: Mapping[str, str], players: Sequence[Player], agents: tuple[str, ...]) -> tuple[Choice, ...]:
    from vibeserve_tui.backend import discover
    from vibeserve_tui.policies import policy_names

    everybody, *each = players
    differ = [player for player in each if (player.agent, player.model) != (everybody.agent, everybody.model)]
    others = ", ".join(f"{player.role} {player.agent} {player.model}".rstrip() for player in differ)
    offline = OFFLINE if everybody.agent == "playbook" else ""
    options: dict[str, tuple[str, ...]] = {
        "backend": tuple(sorted(discover())),
        "profile": tuple(shipped_profiles()),
        "agent": agents,
        "policy": policy_names(),
        "approve": ("each-round", "on-regression", "auto"),
        "rounds": ("4", "8", "12", "24"),
        "minutes": ("5", "15", "60"),
        "usd": ("1", "5", "10", "25", "100"),
    }
    notes = {
        "agent": " · ".join(filter(None, (everybody.model or offline, others))),
        "policy": POLICIES.get(values.get("policy", ""), ""),
    }
    shown = {**values, "agent": everybody.agent}
    # Money is a limit only where somebody takes some.
    names = [name for name in options if name != "usd" or shown.get("usd")]
    return tuple(Choice(name, shown.get(name, ""), options[name], notes.get(name, "")) for name in names)


def _flags(changes: Mapping[str, str], root: Path) -> list[str]:
    plain = {name: value for name, value in changes.items() if "." not in name}
    flags = [f"--{FLAGS.get(name, name)} {shlex.quote(value)}" for name, value in plain.items()]
    flags += [f"--role {shlex.quote(f'{role}={player}')}" for role, player in _own_players(changes).items()]
    return [*flags, *([f"--runs-dir {shlex.quote(str(root))}"] if root != runs_root() else [])]


def estimate(plan: ev.RunPlan, past: Sequence[RunSummary]) -> str:
    """Time from earlier runs of the same target on this machine, else only its limit; then disk and money."""
    alike = [run for run in past if run.target == plan.target and run.rounds and run.liveness is Liveness.FINISHED]
    time = f"at most {plan.max_minutes:g} min"
    if alike:
        minutes = fmean(run.active_s / run.rounds for run in alike) * plan.max_rounds / 60
        time = f"≈ {min(minutes, plan.max_minutes):.0f} of {plan.max_minutes:g} min"
    if set(plan.agents.values()) == {"playbook"}:
        money = "no key, $0"
    elif plan.allowance.usd is not None:
        money = f"at most ${plan.allowance.usd:.2f}"
    else:
        money = "no limit in money"
    return f"{time}, {DISK_MIB} MiB, {money}"
