"""The part of every prompt that stays the same for a role during a run: target, machine, backend, skills."""

from __future__ import annotations

from vibeserve_tui.agents.protocol import Role
from vibeserve_tui.inputs.skills import Offer
from vibeserve_tui.inputs.workload_spec import Level
from vibeserve_tui.roles.briefing import Briefing
from vibeserve_tui.roles.fragments import FOR_ROLE, TITLES
from vibeserve_tui.roles.prompting import render
from vibeserve_tui.run_state import RunState

DESCRIPTION_LIMIT = 200
"""Characters of a skill's description in the index; the whole is one `skill` call away."""


def stable_prompt(role: Role, briefing: Briefing, fragments: dict[str, str], offers: tuple[Offer, ...]) -> str:
    """Target, machine, backend, skills: the same for every call of a role in a run."""
    spec = briefing.target.spec
    target = {
        "name": spec.name,
        "title": spec.title,
        "accuracy": spec.accuracy.tolerance_class,
        "constraints": spec.constraints,
        "forbids": sorted(briefing.forbids),
        "objective": briefing.target.objective.strip(),
        "figures": _figures(briefing),
    }
    skills = [
        {"name": offer.skill.name, "description": _shortened(offer.skill.description), "why": offer.why}
        for offer in sorted(offers, key=lambda offer: offer.skill.name)
        if offer.offered
    ]
    backend = {"name": briefing.backend, "fragments": [(TITLES[name], fragments[name]) for name in FOR_ROLE[role]]}
    return render("stable", target=target, facts=_facts(briefing), backend=backend, skills=skills)


def _shortened(text: str) -> str:
    return text if len(text) <= DESCRIPTION_LIMIT else text[: DESCRIPTION_LIMIT - 1].rstrip() + "…"


def _figures(briefing: Briefing) -> list[str]:
    spec = briefing.target.spec
    loads = {level.id: level for level in spec.levels}
    lines = []
    for metric in spec.metrics:
        load = loads.get(metric.level or "")
        at = f" at {metric.level} ({load.mode}, {_clients(load)}{load.requests} requests)" if load else ""
        weight = "decides: " if metric.headline else ""
        lines.append(f"{weight}{metric.name}{at}, {metric.unit}, {metric.direction.value} is better")
    for guard in spec.guards:
        bound = f"at most {guard.at_most:g} {guard.unit}" if guard.at_most is not None else "may not get worse"
        lines.append(f"guard: {guard.name}{f' at {guard.level}' if guard.level else ''}, {bound}")
    return lines


def _clients(level: Level) -> str:
    concurrency = getattr(level, "concurrency", None)
    return f"{concurrency} client{'s' if concurrency > 1 else ''}, " if concurrency else ""


def _facts(briefing: Briefing) -> list[str]:
    facts = briefing.facts(RunState())
    model, load, device = facts.model, facts.workload, briefing.device
    cores = f", {device.compute_units} cores" if device.compute_units else ""
    able = f"; it has {', '.join(device.capabilities)}" if device.capabilities else ""
    sizes = (
        f"model {model.architecture}: {model.layers} layers, width {model.hidden}, {model.heads} heads over {model.kv_heads} "
        f"key/value heads of {model.head_dim}, feed-forward {model.ffn}, {model.vocab} tokens, {model.parameters:,} parameters"
        f", truth in {model.dtype}{f', exact in {model.exact_in}' if model.exact_in else ''}, context {model.max_context}"
    )
    traffic = (
        f"traffic {load.kind}: prompts up to {load.max_prompt_len} tokens (median {load.p50_prompt_len}), answers up to "
        f"{load.max_output_len}, {load.min_concurrency} to {load.max_concurrency} clients, temperature {load.temperature:g}"
    )
    return [
        sizes,
        traffic,
        f"device {device.name}{cores}, {device.memory_usable >> 20:,} MiB usable{able}",
        f"working tools: {', '.join(sorted(briefing.tools)) or 'none'}",
    ]
