"""A run's workshop: target, device, reference, judge and laboratory put together from the order, and taken down again.

Everything that lives as long as an engine process is opened here, in one place and in order; the outer loop only uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import platform
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from vibeserve_tui import __version__
from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import Role, load_voice
from vibeserve_tui.backend import Backend, Device, usable_device
from vibeserve_tui.errors import TargetError, WorkspaceError
from vibeserve_tui.evaluation.gate_config import GateConfig
from vibeserve_tui.evaluation.reference import ReferenceService, reference_command, spawn_boxed
from vibeserve_tui.evaluation.testbed import Testbed
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.inputs.model_folder import read_model_shape
from vibeserve_tui.inputs.own_skills import skills_folders
from vibeserve_tui.inputs.profiles import RunProfile
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.inputs.target import LoadedTarget, load_target
from vibeserve_tui.policies import Policy, asked_by, load_policy
from vibeserve_tui.recipes.experience import Circumstances, Experience, ExperienceStore, usable_trials
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Situation
from vibeserve_tui.recipes.trials import Trial
from vibeserve_tui.roles.briefing import Briefing, measured_beside_parent, trial_of
from vibeserve_tui.roles.evaluator import Evaluator
from vibeserve_tui.roles.implementer import Implementer
from vibeserve_tui.roles.judge import Judge
from vibeserve_tui.roles.mutator import Mutator
from vibeserve_tui.roles.orchestrator import Orchestrator
from vibeserve_tui.roles.reading import ProfileReader
from vibeserve_tui.roles.review import Reviewer
from vibeserve_tui.roles.workplace import Workplace, needs_words
from vibeserve_tui.round import Crew, Operator
from vibeserve_tui.run_state import RoundInFlight, Status
from vibeserve_tui.state.pace import confirmation_s
from vibeserve_tui.state.run import Run

GATES = {"quick": GateConfig.quick, "thorough": GateConfig.thorough, "gpu": GateConfig.gpu}
CREW = (Role.IMPLEMENTER, Role.JUDGE, Role.EVALUATOR)
"""Who plays a part in every run, beside the role that its policy asks."""
RECORDED_VERSIONS = (
    "torch", "transformers", "numpy", "tokenizers", "safetensors", "jinja2", "fastapi", "starlette", "uvicorn",
)  # fmt: skip
"""What shipped seeds and recipes import: an export pins what the run used, not what is installed later."""


@dataclass(slots=True)
class Workshop:
    run: Run
    profile: RunProfile
    target: LoadedTarget
    device: Device
    book: RecipeBook
    briefing: Briefing
    judge: Judge
    evaluator: Evaluator
    implementer: Implementer | Mutator
    planner: Orchestrator | Mutator
    experience: ExperienceStore | None
    circumstances: Circumstances
    approval_timeout_s: float = 600.0

    @property
    def seed(self) -> Path:
        return self.target.file(self.target.spec.seed)

    def policy(self) -> Policy:
        plan = self.run.state.plan
        return load_policy(plan.policy if plan else "agent", self.run, self.planner)

    def crew(self, operator: Operator) -> Crew:
        return Crew(self.implementer, self.judge, self.evaluator, operator)

    def situation(self) -> Situation:
        return self.briefing.situation(self.run, rounds_left=self.rounds_left(), seconds_left=self.seconds_left())

    # ---- what is left -------------------------------------------------------------------------------------------

    def rounds_left(self) -> int:
        """Ablations are not counted: they are the end of the run, not a part of the search."""
        played = sum(1 for n, record in self.run.state.rounds.items() if n and record.task.kind != "ablation")
        return self.run.state.max_rounds - played

    def seconds_left(self) -> float:
        """Of the run's minutes, without what the confirmation at the end will take."""
        gate = gate_of(self.profile)
        reserved = confirmation_s(self.run.state, gate.confirmation_blocks, gate.window_s)
        return 60 * self.run.state.max_minutes - self.run.active_s - reserved

    def speedup_so_far(self) -> float:
        """Product of the lower bounds on the champion's way to the seed: what is certain before it is confirmed."""
        state, product = self.run.state, 1.0
        for number in state.measured_way(state.champion):
            record = state.rounds[number]
            figure = record.measured.headline if record.measured else None
            if record.task.kind != "ablation":
                product *= figure.ci_low if figure and figure.ci_low else 1.0
        return product

    # ---- bookkeeping --------------------------------------------------------------------------------------------

    def cancelled(self, here: RoundInFlight) -> ev.RoundRecord:
        last = here.committed
        return ev.RoundRecord(
            number=here.number,
            task=here.task,
            outcome=ev.Outcome.REVERTED,
            reason="operator",
            attempts=here.attempt,
            commit=last.commit if last else "",
            tree=last.tree if last else "",
            took_s=round(time.time() - here.started_wall, 1),
            decided_by="operator",
        )

    def ablation_event(self, record: ev.RoundRecord, skill: str) -> ev.AblationFinished:
        figure = record.measured.headline if record.measured else None
        return ev.AblationFinished(
            skill=skill,
            round=record.number,
            dropped=record.outcome is ev.Outcome.KEPT,
            reason=record.reason,
            ratio=1 / figure.ratio if figure and figure.ratio else None,
            ci_low=1 / figure.ci_high if figure and figure.ci_high else None,
            ci_high=1 / figure.ci_low if figure and figure.ci_low else None,
        )

    def remember(self, record: ev.RoundRecord) -> None:
        """Add the trial to this user's experience, once; a store that cannot be written costs a warning, not the run."""
        if self.experience is None or not record.task.skill or record.decided_by == "operator":
            return
        if not measured_beside_parent(self.run.state, record):
            return  # the ratio holds more than the recipe
        entry = Experience.of(trial_of(record), self.circumstances, run=self.run.dir.name, commit=record.commit)
        if any((known.run, known.round) == (entry.run, entry.round) for known in self.experience.read().records):
            return
        try:
            self.experience.append(entry)
        except WorkspaceError as error:
            self.run.emit(ev.Warned(text=f"the experience store was not written: {error}"))


@asynccontextmanager
async def open_workshop(run: Run, order: ev.RunPlan, launcher: Launcher) -> AsyncIterator[Workshop]:
    """Everything an engine process works with. Raises what is missing as an error with its fix."""
    target = _load_target(run, order)
    backend, device = usable_device(order.backend)
    profile = RunProfile.model_validate_json(json.dumps(order.settings))
    if run.state.status is Status.NEW:
        run.emit(_started(run, order, device, launcher))
    workload = Workload.load(target)
    place = backend.candidate_env(device)
    nodes = tuple(Path(node) for node in place.devices)
    testbed = Testbed(launcher, run.store, run.dir, target, order.backend, place.env, nodes)
    async with contextlib.AsyncExitStack() as stack:
        reference = await _start_reference(run, target, launcher)
        stack.push_async_callback(reference.close)
        tools = frozenset({"cxx"}) if await testbed.probe_compiler() else frozenset[str]()
        yield _assembled(run, order, profile, target, device, backend, testbed, workload, reference, tools)


def gate_of(profile: RunProfile) -> GateConfig:
    return GATES[profile.gate]().model_copy(update={"confirmation_blocks": profile.confirmation.blocks})


def _assembled(  # noqa: PLR0913, PLR0917 - the one place where all parts meet
    run: Run,
    order: ev.RunPlan,
    profile: RunProfile,
    target: LoadedTarget,
    device: Device,
    backend: Backend,
    testbed: Testbed,
    workload: Workload,
    reference: ReferenceService,
    tools: frozenset[str],
) -> Workshop:
    library = SkillLibrary.load(skills_folders())
    book = RecipeBook.load(library)
    shape = read_model_shape(target.model_dir)
    circumstances = Circumstances(
        fingerprint=device.fingerprint,
        backend=order.backend,
        device_class=device.vendor,
        target_digest=target.digest,
        model_shape=f"{shape.architecture} {shape.layers}x{shape.hidden}",
        workload_digest=workload.sha256,
    )
    experience = ExperienceStore.of_this_user() if order.use_experience else None
    forbids = frozenset(target.spec.forbids) | frozenset(order.forbids)
    briefing = Briefing(
        target=target,
        device=device,
        backend=order.backend,
        shape=shape,
        book=book,
        tools=tools if "compiler" not in forbids else frozenset(),
        forbids=forbids,
        p50_prompt_len=round(median(len(request.prompt_ids) for request in workload.draw(1, 64))),
        experience=_recalled(run, experience, circumstances),
    )
    asked = asked_by(order.policy)
    voices = {role: load_voice(_settings(order, role), testbed.launcher) for role in (asked, *CREW)}
    spoken = {role for role, voice in voices.items() if needs_words(voice)}
    workplace = None
    if spoken:
        workplace = Workplace.open(
            run, briefing, library, backend, testbed, workload, reference, writes=Role.IMPLEMENTER in spoken
        )

    def words(role: Role) -> Workplace | None:
        return workplace if role in spoken else None

    reviewer = Reviewer(run, voices[Role.JUDGE], workplace) if workplace and Role.JUDGE in spoken else None
    judge = Judge(run, testbed, workload, reference, profile.judge, reviewer)
    reader = ProfileReader(run, voices[Role.EVALUATOR], words(Role.EVALUATOR))
    implementer = Implementer(run, voices[Role.IMPLEMENTER], briefing, words(Role.IMPLEMENTER))
    planner: Orchestrator | Mutator
    if asked is Role.MUTATOR:
        planner = Mutator(run, voices[asked], briefing, implementer, words(asked))
    else:
        planner = Orchestrator(run, voices[asked], briefing, words(asked))
    gate = gate_of(profile)
    return Workshop(
        run=run,
        profile=profile,
        target=target,
        device=device,
        book=book,
        briefing=briefing,
        judge=judge,
        evaluator=Evaluator(run, testbed, workload, reference, briefing, backend, reader, gate, judge.judge),
        implementer=planner if isinstance(planner, Mutator) else implementer,
        planner=planner,
        experience=experience,
        circumstances=circumstances,
    )


def _settings(order: ev.RunPlan, role: Role) -> ev.VoiceSettings | str:
    """An order without settings of its own is an older one, or one for the playbook: it names providers."""
    return order.voices.get(role) or order.agents.get(role, "playbook")


def _load_target(run: Run, order: ev.RunPlan) -> LoadedTarget:
    """The run's own read-only copy of the target, made once; the original may change or vanish meanwhile."""
    copy = run.dir.path / "target"
    model = Path(order.model_dir) if order.model_dir else None
    if not (copy / order.target).exists():
        target = load_target(Path(order.target_path), model=model)
        if target.digest != order.target_digest:
            raise TargetError(
                "its files changed since the run was ordered", where=order.target_path, fix="start a new run"
            )
        shutil.rmtree(copy, ignore_errors=True)
        target.copied(copy)
    return load_target(copy / order.target, model=model).for_backend(order.backend)


def _started(run: Run, order: ev.RunPlan, device: Device, launcher: Launcher) -> ev.RunStarted:
    return ev.RunStarted(
        run=run.dir.name,
        plan=order,
        device=ev.DeviceSummary(
            id=device.id,
            name=device.name,
            backend=order.backend,
            fingerprint=device.fingerprint,
            cores=device.compute_units,
            memory_mib=device.memory_total >> 20,
            capabilities=device.capabilities,
        ),
        sandbox=launcher.report.tier.value,
        engine_version=__version__,
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in RECORDED_VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


async def _start_reference(run: Run, target: LoadedTarget, launcher: Launcher) -> ReferenceService:
    swaps, log = run.dir.path / "swaps", run.dir.path / "logs" / "reference.log"
    for folder in (swaps, log.parent):
        await asyncio.to_thread(folder.mkdir, mode=0o700, exist_ok=True)
    command = reference_command(target, swaps=swaps)
    return await ReferenceService.start(command, target.model_dir, log=log, spawn=spawn_boxed(launcher))


def _recalled(run: Run, store: ExperienceStore | None, now: Circumstances) -> tuple[Trial, ...]:
    """Trials of earlier runs that say something about this one; never those of this very run."""
    if store is None:
        return ()
    recollection = store.read()
    for warning in recollection.warnings:
        run.emit(ev.Warned(text=warning))
    return usable_trials(recollection.records, now, without_run=run.dir.name)
