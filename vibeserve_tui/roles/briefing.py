"""What agents are told: the run's state, the target and the machine, as the facts that plans are made from.

Everything here is read from the journal's state, so a resumed engine briefs exactly as its predecessor would have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from vibeserve_tui import events as ev
from vibeserve_tui.backend import Device
from vibeserve_tui.inputs.model_folder import ModelShape
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.recipes.facts import (
    DeviceFacts,
    Facts,
    HardwareFacts,
    ModelFacts,
    ProfileFacts,
    TargetFacts,
    WorkloadFacts,
)
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Composition, Situation
from vibeserve_tui.recipes.tree_record import RECORD_PATH, TreeRecord, parse_record
from vibeserve_tui.recipes.trials import Step, Trial
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state.workspace import Store

MIB = 1 << 20


class Recorded(Protocol):
    """A run as far as it is recorded: an engine's own, or one that a client reads."""

    @property
    def state(self) -> RunState: ...
    @property
    def store(self) -> Store: ...


@dataclass(frozen=True, slots=True)
class Briefing:
    """The part that does not change during a run."""

    target: LoadedTarget
    device: Device
    backend: str
    shape: ModelShape
    book: RecipeBook
    tools: frozenset[str]
    forbids: frozenset[str]
    p50_prompt_len: int
    """Of the declared workload, in tokens."""
    experience: tuple[Trial, ...] = ()

    def facts(self, state: RunState) -> Facts:
        return replace(self._constant(), profile=_profile(state), metrics=_metrics(state))

    def situation(self, run: Recorded, *, rounds_left: int, seconds_left: float) -> Situation:
        """What the planner plans on."""
        state, spared = run.state, _spared(run.state)
        return Situation(
            facts=self.facts(state),
            champion=composition(run.store, state.champion_commit, state.champion),
            seed_capabilities=composition(run.store, state.rounds[0].commit, 0).capabilities,
            prerequisite=None if spared is None else composition(run.store, spared.commit, spared.number),
            trials=tuple(trials(state)),
            experience=self.experience,
            rounds_left=rounds_left,
            seconds_left=seconds_left,
            minimum_effect=1.02,
            long_shots=_long_shots(state),
            seed=state.plan.seed if state.plan else 0,
        )

    def _constant(self) -> Facts:
        spec, shape, device = self.target.spec, self.shape, self.device
        return Facts(
            model=ModelFacts(
                architecture=shape.architecture,
                attention=shape.attention,
                layers=shape.layers,
                recurrent_layers=0 if shape.attention == "full" else None,
                hidden=shape.hidden,
                ffn=shape.ffn,
                heads=shape.heads,
                kv_heads=shape.kv_heads,
                head_dim=shape.head_dim,
                vocab=shape.vocab,
                max_context=spec.model.max_context,
                parameters=shape.parameters,
                weights_mib=shape.weight_bytes / MIB,
                tied_embeddings=shape.tied,
                format=spec.model.format,
                dtype=spec.model.dtype,
                exact_in=spec.model.exact_in,
            ),
            workload=_workload(self.target, self.p50_prompt_len),
            hw=HardwareFacts(
                cores=device.compute_units,
                memory_mib=device.memory_usable // MIB,
                llc_mib=None if device.last_level_cache is None else device.last_level_cache / MIB,
            ),
            device=DeviceFacts(
                name=device.name,
                vendor=device.vendor,
                memory_mib=device.memory_total // MIB,
                compute_units=device.compute_units,
                unified=device.unified,
                capabilities=frozenset(device.capabilities),
            ),
            backend=self.backend,
            target=TargetFacts(
                name=spec.name,
                modality=spec.modality.value,
                accuracy=spec.accuracy.tolerance_class,
                headline=spec.headlines[0].name,
                forbids=self.forbids,
            ),
            tools=self.tools,
        )


def _workload(target: LoadedTarget, p50_prompt_len: int) -> WorkloadFacts:
    spec = target.spec.workload
    concurrency = [getattr(level, "concurrency", None) or 1 for level in target.spec.levels]
    prompt = spec.prompt_tokens.most if spec.prompt_tokens else None
    output = spec.output_tokens.most if spec.output_tokens else None
    prefix = spec.options.prefix_tokens or 0
    total = None if prompt is None or output is None else prefix + prompt + output
    return WorkloadFacts(
        kind=spec.kind.value,
        min_concurrency=min(concurrency),
        max_concurrency=max(concurrency),
        max_prompt_len=None if prompt is None else prefix + prompt,
        p50_prompt_len=p50_prompt_len,
        max_output_len=output,
        max_total_len=total,
        p99_total_len=total,
        shared_prefix_tokens=prefix,
        has_draft=spec.kind.value == "predicted_edit",
        schemas=0,
        temperature=spec.temperature,
        ignore_eos=spec.ignore_eos,
        streams=target.spec.endpoints[0].stream == "sse",
        max_tokens_per_chunk=target.spec.endpoints[0].max_tokens_per_chunk,
    )


def _profile(state: RunState) -> ProfileFacts:
    taken = state.profiles.get(state.champion)
    if taken is None:
        return ProfileFacts()
    usable = taken.quality == "usable"
    return ProfileFacts(usable=usable, hints=taken.hints, shares=taken.phases | taken.operations if usable else {})


def _metrics(state: RunState) -> dict[str, float]:
    record = state.champion_record
    figures = record.measured.figures if record and record.measured else ()
    return {figure.metric: figure.b for figure in figures if figure.b is not None}


def composition(store: Store, commit: str, number: int) -> Composition:
    """Which recipes a checkpoint holds, read from the record that its tree carries. Raises WorkspaceError for a bad one."""
    if RECORD_PATH not in store.files(commit):
        return Composition.of(TreeRecord(), number)
    return Composition.of(parse_record(store.read_file(commit, RECORD_PATH)), number)


def made_of_recipes(state: RunState) -> bool:
    """Whether the champion can be built anew from the seed: a tree in which an agent wrote cannot."""
    return all(state.rounds[number].task.kind != "agent" for number in state.lineage(state.champion))


def _spared(state: RunState) -> ev.RoundRecord | None:
    """The last round, if its neutral tree was spared because it unlocks something."""
    last = state.rounds[max(state.rounds)] if state.rounds else None
    return last if last is not None and last.fate == "prerequisite" else None


def trials(state: RunState) -> list[Trial]:
    """The run's rounds as the planner remembers them."""
    return [trial_of(record) for number, record in sorted(state.rounds.items()) if number and record.task.skill]


def measured_beside_parent(state: RunState, record: ev.RoundRecord) -> bool:
    """Whether its ratio is that of its recipe: a tree may start from another round than it is measured against."""
    beside, parent = state.against.get(record.number), state.rounds.get(record.task.parent)
    return beside in (None, record.task.parent) or (parent is not None and parent.fate == "prerequisite")


def trial_of(record: ev.RoundRecord) -> Trial:
    figure = record.measured.headline if record.measured else None
    return Trial(
        recipe=record.task.skill,
        version=record.task.version,
        params=record.task.params,
        capabilities=frozenset(record.task.base_capabilities),
        outcome=record.outcome,
        ratio=figure.ratio if figure else None,
        ci_low=figure.ci_low if figure else None,
        ci_high=figure.ci_high if figure else None,
        reason=record.reason,
        round=record.number,
        step={"tune": Step.TUNE, "swap": Step.SWAP}.get(record.task.kind, Step.RECIPE),
        seconds=record.took_s,
    )


def _long_shots(state: RunState) -> int:
    count = 0
    for number in sorted(state.rounds, reverse=True):
        if not state.rounds[number].task.long_shot:
            break
        count += 1
    return count
