"""A run's workshop put together from its order, and taken down again.

Everything that lives as long as an engine process is opened here, in one place and in order: target, device, reference,
launcher's boxes; then who answers behind each role, and what each of them is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from vibeserve_tui import __version__
from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import Role, Voice, load_voice
from vibeserve_tui.backend import Backend, Device, usable_device
from vibeserve_tui.comparison import Fetcher, fetch
from vibeserve_tui.errors import TargetError
from vibeserve_tui.evaluation.reference import ReferenceService, reference_command, spawn_boxed
from vibeserve_tui.evaluation.testbed import Testbed
from vibeserve_tui.evaluation.versions import versions
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.inputs.model_folder import ModelShape, read_model_shape
from vibeserve_tui.inputs.own_skills import skills_folders
from vibeserve_tui.inputs.profiles import RunProfile
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.inputs.target import LoadedTarget, load_target
from vibeserve_tui.policies import asked_by
from vibeserve_tui.recipes.experience import Circumstances, ExperienceStore, usable_trials
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.trials import Trial
from vibeserve_tui.roles.briefing import Briefing
from vibeserve_tui.roles.evaluator import Evaluator
from vibeserve_tui.roles.implementer import Implementer
from vibeserve_tui.roles.judge import Judge
from vibeserve_tui.roles.mutator import Mutator
from vibeserve_tui.roles.orchestrator import Orchestrator
from vibeserve_tui.roles.reading import ProfileReader
from vibeserve_tui.roles.review import Reviewer
from vibeserve_tui.roles.workplace import Workplace, needs_words
from vibeserve_tui.run_state import Status
from vibeserve_tui.state.run import Run
from vibeserve_tui.workshop import Workshop, gate_of

CREW = (Role.IMPLEMENTER, Role.JUDGE, Role.EVALUATOR)
"""Who plays a part in every run, beside the role that its policy asks."""


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
        skills = SkillLibrary.load(skills_folders())
        site = _Site(run, order, profile, target, backend, device, testbed, workload, reference, skills, tools)
        yield _staffed(site)


# ---- from the site to the workshop ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Site:
    """What stands before anybody works: every role is given a part of it."""

    run: Run
    order: ev.RunPlan
    profile: RunProfile
    target: LoadedTarget
    backend: Backend
    device: Device
    testbed: Testbed
    workload: Workload
    reference: ReferenceService
    skills: SkillLibrary
    tools: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Cast:
    """Who answers behind each role, and the workplace of those who read words."""

    run: Run
    briefing: Briefing
    asked: Role
    """The role that the run's policy asks."""
    voices: dict[Role, Voice]
    workplace: Workplace | None

    def words(self, role: Role) -> Workplace | None:
        return self.workplace if needs_words(self.voices[role]) else None

    def reviewer(self) -> Reviewer | None:
        desk = self.words(Role.JUDGE)
        return Reviewer(self.run, self.voices[Role.JUDGE], desk) if desk else None

    def reader(self) -> ProfileReader:
        return ProfileReader(self.run, self.voices[Role.EVALUATOR], self.words(Role.EVALUATOR))

    def planner_and_implementer(self) -> tuple[Orchestrator | Mutator, Implementer | Mutator]:
        """A mutator is both: it makes the child that it has thought of, by the implementer's hands."""
        voice, desk = self.voices[self.asked], self.words(self.asked)
        hands = Implementer(self.run, self.voices[Role.IMPLEMENTER], self.briefing, self.words(Role.IMPLEMENTER))
        if self.asked is Role.MUTATOR:
            mutator = Mutator(self.run, voice, self.briefing, hands, desk)
            return mutator, mutator
        return Orchestrator(self.run, voice, self.briefing, desk), hands


def _staffed(site: _Site) -> Workshop:
    run, testbed, workload, reference = site.run, site.testbed, site.workload, site.reference
    shape = read_model_shape(site.target.model_dir)
    circumstances = _circumstances(site, shape)
    experience = ExperienceStore.of_this_user() if site.order.use_experience else None
    briefing = _briefing(site, shape, _recalled(run, experience, circumstances))
    cast = _cast(site, briefing)
    judge = Judge(run, testbed, workload, reference, site.profile.judge, cast.reviewer())
    evaluator = Evaluator(
        run, testbed, workload, reference, briefing, site.backend, cast.reader(), gate_of(site.profile), judge.judge
    )
    planner, implementer = cast.planner_and_implementer()
    compares = site.order.compares
    return Workshop(
        run=run,
        profile=site.profile,
        target=site.target,
        device=site.device,
        book=briefing.book,
        briefing=briefing,
        judge=judge,
        evaluator=evaluator,
        implementer=Fetcher(run, compares[1]) if compares else implementer,
        planner=planner,
        seed=_first_tree(site),
        experience=experience,
        circumstances=circumstances,
    )


def _first_tree(site: _Site) -> Path:
    """The target's seed; in a comparison the first of its trees."""
    if not site.order.compares:
        return site.target.file(site.target.spec.seed)
    return fetch(site.order.compares[0], site.run.dir.checkouts / "first")


def _circumstances(site: _Site, shape: ModelShape) -> Circumstances:
    return Circumstances(
        fingerprint=site.device.fingerprint,
        backend=site.order.backend,
        device_class=site.device.vendor,
        target_digest=site.target.digest,
        model_shape=f"{shape.architecture} {shape.layers}x{shape.hidden}",
        workload_digest=site.workload.sha256,
    )


def _briefing(site: _Site, shape: ModelShape, experience: tuple[Trial, ...]) -> Briefing:
    forbids = frozenset(site.target.spec.forbids) | frozenset(site.order.forbids)
    return Briefing(
        target=site.target,
        device=site.device,
        backend=site.order.backend,
        shape=shape,
        book=RecipeBook.load(site.skills),
        tools=site.tools if "compiler" not in forbids else frozenset(),
        forbids=forbids,
        p50_prompt_len=round(median(len(request.prompt_ids) for request in site.workload.draw(1, 64))),
        experience=experience,
    )


def _cast(site: _Site, briefing: Briefing) -> _Cast:
    asked = asked_by(site.order.policy)
    voices = {role: load_voice(_settings(site.order, role), site.testbed.launcher) for role in (asked, *CREW)}
    spoken = {role for role, voice in voices.items() if needs_words(voice)}
    workplace = None
    if spoken:
        workplace = Workplace.open(
            site.run,
            briefing,
            site.skills,
            site.backend,
            site.testbed,
            site.workload,
            site.reference,
            writes=Role.IMPLEMENTER in spoken,
        )
    return _Cast(site.run, briefing, asked, voices, workplace)


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
        versions=versions(),
    )


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
