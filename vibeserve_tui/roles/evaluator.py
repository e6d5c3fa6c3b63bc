"""The Performance Evaluator: measures candidate and champion beside one another, and looks where the time goes.

The gate decides; this role only brings real servers to it and turns its answer into journal facts. A profile is taken in
a run of its own and never enters a figure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

from vibeserve_tui import events as ev
from vibeserve_tui.backend import Backend, Device
from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation import block_run, measure
from vibeserve_tui.evaluation.blocks import Arm
from vibeserve_tui.evaluation.evidence import Evidence, noise_of
from vibeserve_tui.evaluation.floors import DeviceFloors
from vibeserve_tui.evaluation.gate_config import GateConfig, Noise
from vibeserve_tui.evaluation.live_side import LiveSide, WindowPlan, WrongAnswers, mean_output_tokens
from vibeserve_tui.evaluation.measure import MeasurePlan
from vibeserve_tui.evaluation.profile_run import profiled
from vibeserve_tui.evaluation.reference import ReferenceService
from vibeserve_tui.evaluation.sentinels import Sentinels, watching
from vibeserve_tui.evaluation.testbed import Testbed
from vibeserve_tui.evaluation.versions import versions
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.metrics import Basis, Comparison, MetricSpec
from vibeserve_tui.recipes.ablation import still_good
from vibeserve_tui.recipes.expressions import Scope
from vibeserve_tui.recipes.recipe_spec import Layer
from vibeserve_tui.roles.briefing import Briefing
from vibeserve_tui.roles.measured import DISPROVED, as_fact, doubt_of, in_words
from vibeserve_tui.roles.reading import ProfileReader
from vibeserve_tui.round import Work
from vibeserve_tui.state.run import Run

Rejudge = Callable[[Work, str], Awaitable[ev.Verdict]]
Purpose = Literal["baseline", "round", "ablation", "confirmation", "noise", "again"]
READY_LIMIT_S = 20.0
"""A machine that does not become quiet for so long is measured by CPU time, where that says something."""
FINAL_VOIDS = ("not active",)
"""What measuring again cannot mend; any other void may be the machine's fault and gets a second chance."""


class Evaluator:
    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a laboratory
        self,
        run: Run,
        testbed: Testbed,
        workload: Workload,
        reference: ReferenceService,
        briefing: Briefing,
        backend: Backend,
        reader: ProfileReader,
        gate: GateConfig,
        judge_again: Rejudge,
    ) -> None:
        self._run = run
        self._testbed = testbed
        self._workload = workload
        self._reference = reference
        self._briefing = briefing
        self._backend = backend
        self._reader = reader
        self._gate = gate
        self._judge_again = judge_again
        self._mean_tokens = mean_output_tokens(workload)
        self._floors = DeviceFloors(backend, briefing.device, testbed.target, workload, run.dir.path / "ceilings.json")

    # ---- what the engine asks for -------------------------------------------------------------------------------

    async def baseline(self, commit: str, blocks: int = 2) -> ev.Measured:
        """The seed against itself: its figures, and the noise that any gain has to stand out from."""
        self._announce(0, "seed", "seed", "noise")
        side = self._side("seed", commit)
        with watching(self._backend, self._device) as sentinels:
            # One pair a block: how fast the seed is cannot be known yet, and its restarts are what varies.
            plan = replace(self._plan(sentinels), config=self._gate.model_copy(update={"pairs": 1}))
            done = await measure.noise(side, blocks, plan, self._told(0))
            if measure.slots_differ(done):
                self._run.emit(ev.PhaseProgress(detail="the seed differs from itself: measuring it once more"))
                done = await measure.noise(side, blocks, plan, self._told(0))
            if measure.slots_differ(done):
                self._run.emit(ev.Warned(text="the seed differs from itself twice: here one slot is the faster"))
            if (await asyncio.to_thread(sentinels.ready)).ok:  # a ceiling that is too low would void honest servers
                await self._floors.measure()
        return self._measured(done.evidence, done.comparison)

    async def evaluate(self, number: int, champion: str, candidate: str) -> ev.Measured:
        """Candidate against champion; for an ablation, whether the simpler tree is as good."""
        task = self._task
        label = f"r{self._run.state.champion}"
        self._announce(number, label, f"r{number}", "ablation" if task.kind == "ablation" else "round")
        compare = self._is_as_good if task.kind == "ablation" else self._is_faster
        try:
            measured = await compare(number, champion, candidate, label)
            if measured.outcome == "void" and not measured.reason.startswith(FINAL_VOIDS):
                self._run.emit(ev.PhaseProgress(detail=f"void ({measured.reason}): measuring once more"))
                if measured.reason == "roofline":
                    await self._floors.measure()
                measured = await compare(number, champion, candidate, label)
        except WrongAnswers as wrong:
            return ev.Measured(outcome="rejected", reason=str(wrong), blocks=0, fault=str(wrong))
        return measured

    async def confirm(self, champion: str, baseline: str, *, certain: float) -> ev.Confirmed:
        """All levels, champion against the seed, on a new seed of requests; `certain` is the least it should be."""
        number = self._run.state.champion
        self._announce(number, "seed", f"r{number}", "confirmation")
        gate = self._gate_here().for_gain_of(certain)

        def sides() -> tuple[LiveSide, LiveSide]:
            best, seed = self._side(f"r{number}", champion, prove=True), self._side("seed", baseline)
            seed.windows = best.windows = self._windows(gate.window_s)
            return best, seed

        measured = await self._confirmed(sides, Basis.BASELINE, gate)
        self._run.emit(ev.MeasurementFinished(round=number, measured=measured, purpose="confirmation"))
        return ev.Confirmed(
            champion=number,
            baseline=0,
            figures=() if measured.reason in DISPROVED else measured.figures,
            blocks=measured.blocks,
            evidence=measured.evidence,
            doubt=doubt_of(measured),
        )

    async def confirm_since(self, before: int) -> ev.MeasuredAgain:
        """The same rules for the champion beside a round that was confirmed before it: steps by luck show here."""
        state = self._run.state
        self._announce(state.champion, f"r{before}", f"r{state.champion}", "again")

        def sides() -> tuple[LiveSide, LiveSide]:
            new = self._side(f"r{state.champion}", state.champion_commit, prove=True)
            return new, self._side(f"r{before}", state.rounds[before].commit)

        measured = await self._confirmed(sides, Basis.CHAMPION, self._gate_here())
        return ev.MeasuredAgain(a=before, b=state.champion, measured=measured)

    async def again(self, a: int, b: int) -> ev.Measured:
        """Two judged rounds beside one another, for a person who wants to know; the gate's rules, but no decision.

        Both were measured before: who asks twice gets half the error probability, or asking would be a way to win.
        """
        rounds = self._run.state.rounds
        self._announce(b, f"r{a}", f"r{b}", "again")
        new = self._side(f"r{b}", rounds[b].commit, prove=True)
        try:
            old = self._side(f"r{a}", rounds[a].commit)
            done = await self._compare(old, new, self._told(b), self._gate_here().for_retest())
        except WrongAnswers as wrong:
            return ev.Measured(outcome="void", reason=str(wrong), blocks=0, fault=str(wrong))
        return self._measured(done.evidence, done.comparison)

    async def profile(self, number: int, commit: str) -> None:
        """Where the champion's time goes, under load, in a run apart from any measurement."""
        profilers = [p for p in self._backend.profilers(self._device) if p.availability().usable]
        if not profilers:
            return
        self._run.emit(ev.PhaseStarted(phase=ev.Phase.PROFILE, round=number, detail=profilers[0].title))
        try:
            control = self._throughput_of(number)
            report = await profiled(self._testbed, self._workload, commit, profilers[0], control)
        except (ValueError, MeasurementError) as error:
            self._run.emit(ev.Warned(text=f"no profile of round {number}: {error}"))
            return
        taken = ev.ProfileTaken(
            round=number,
            tool=report.tool,
            quality=report.quality.value,
            phases=report.phases,
            operations=report.operations,
            hints=report.hints,
            window_s=report.window_s,
            idle=report.device_idle,
            observer_effect=report.observer_effect,
        )
        self._run.emit(taken)
        await self._reader.read(taken, commit)

    # ---- measuring ----------------------------------------------------------------------------------------------

    async def _is_faster(self, number: int, champion: str, candidate: str, label: str) -> ev.Measured:
        new = self._side(f"r{number}", candidate, prove=True)
        gate = self._gate_here().for_retest(self._run.state.times_measured())
        done = await self._compare(self._side(label, champion), new, self._told(number), gate)
        measured = self._measured(done.evidence, done.comparison)
        if done.comparison.outcome == "accepted" and (idle := self._inactive(new)):
            return measured.model_copy(
                update={"outcome": "void", "reason": f"not active: {idle} does not hold under load"}
            )
        return (
            await self._checked_twice(number, champion, candidate, label, measured)
            if done.comparison.too_good
            else measured
        )

    async def _checked_twice(
        self, number: int, champion: str, candidate: str, label: str, first: ev.Measured
    ) -> ev.Measured:
        """A gain this large is judged and measured once more, on new seeds, before it is believed."""
        here = self._run.state.in_flight
        assert here is not None
        self._run.emit(ev.PhaseProgress(detail="the gain is large: judging and measuring it a second time"))
        verdict = await self._judge_again(Work(number, here.attempt, here.task, champion), candidate)
        if not verdict.passed:
            fault = f"the second judgement failed: {verdict.reason}"
            return first.model_copy(update={"outcome": "rejected", "reason": fault, "fault": fault})
        new = self._side(f"r{number}", candidate, prove=True)
        done = await self._compare(self._side(label, champion), new, self._told(number))
        return self._measured(done.evidence, done.comparison).model_copy(update={"checked_twice": True})

    async def _is_as_good(self, number: int, champion: str, simpler: str, label: str) -> ev.Measured:
        """The gate the other way round: does the recipe, which has won before, still win over its absence?"""
        without = self._side(f"r{number}", simpler, prove=True)
        done = await self._compare(without, self._side(label, champion), self._told(number, swap=True))
        measured, ratio = self._measured(done.evidence, done.comparison, swap=True), in_words(done.comparison)
        match done.comparison.outcome:
            case "accepted":
                update = {"outcome": "rejected", "reason": f"the recipe still pays: {ratio} with it"}
            case "rejected" | "indecisive" if _still_good(measured.headline):
                update = {"outcome": "accepted", "reason": f"not measurably faster with it: {ratio}"}
            case "rejected" | "indecisive":
                update = {"outcome": "rejected", "reason": f"slower without it: {ratio} with it"}
            case _:
                update = {}
        return measured.model_copy(update=update)

    async def _confirmed(
        self, sides: Callable[[], tuple[LiveSide, LiveSide]], basis: Basis, gate: GateConfig
    ) -> ev.Measured:
        """Once more where it comes to nothing: the machine's fault is not the champion's."""
        measured = await self._confirmed_once(*sides(), basis, gate)
        if measured.outcome != "void":
            return measured
        self._run.emit(ev.PhaseProgress(detail=f"void ({measured.reason}): measuring once more"))
        return await self._confirmed_once(*sides(), basis, gate)

    async def _confirmed_once(
        self, champion: LiveSide, against: LiveSide, basis: Basis, gate: GateConfig
    ) -> ev.Measured:
        tell = self._told(self._run.state.champion)
        try:
            with watching(self._backend, self._device) as sentinels:
                plan = replace(self._plan(sentinels), config=gate)
                done = await measure.confirm(champion, against, basis, plan, tell)
        except WrongAnswers as wrong:
            return ev.Measured(outcome="rejected", reason=str(wrong), blocks=0, fault=str(wrong))
        return self._measured(done.evidence, done.comparison)

    async def _compare(
        self, a: LiveSide, b: LiveSide, tell: block_run.OnEvent, gate: GateConfig | None = None
    ) -> measure.Measurement:
        with watching(self._backend, self._device) as sentinels:
            plan = self._plan(sentinels)
            return await measure.measure(a, b, replace(plan, config=gate or plan.config), tell)

    def _side(self, label: str, commit: str, *, prove: bool = False) -> LiveSide:
        return LiveSide(
            label=label,
            commit=commit,
            testbed=self._testbed,
            workload=self._workload,
            windows=self._windows(self._gate.window_s),
            reference=self._reference if prove else None,
            promised=self._promised(),
        )

    def _windows(self, window_s: float) -> dict[str, WindowPlan]:
        """That keep the present champion busy for so long, by level."""
        speed = self._of_champion("output_throughput")
        return {
            level.id: WindowPlan.of(level, speed.get(level.id), self._mean_tokens, window_s)
            for level in self._testbed.target.spec.levels
        }

    def _of_champion(self, metric: str) -> dict[str, float | None]:
        """What it was last measured at, by level; "" is of no level."""
        record = self._run.state.champion_record
        figures = record.measured.figures if record and record.measured else ()
        return {figure.level: figure.b for figure in figures if figure.metric == metric}

    def _gate_here(self) -> GateConfig:
        """The profile's gate, with as many pairs as the present champion's shortest decisive window asks for."""
        decisive = {metric.level for metric in self._testbed.target.spec.metrics if metric.headline}
        known = [
            plan.seconds
            for level, plan in self._windows(self._gate.window_s).items()
            if level in decisive and plan.seconds
        ]
        return self._gate.for_windows_of(min(known)) if known else self._gate

    def _plan(self, sentinels: Sentinels) -> MeasurePlan:
        spec = self._testbed.target.spec
        return MeasurePlan(
            metrics=spec.metric_specs,
            config=self._gate_here(),
            workload_sha256=self._workload.sha256,
            device_fingerprint=self._device.fingerprint,
            target_digest=self._testbed.target.digest,
            versions=versions(),
            promised=self._promised(),
            noise=self._noise(),
            bounds=self._floors.now.bounds,
            mechanism_declared=self._task.hypothesis is not None,
            cpu_proxy=self._backend.cpu_time_is_work and not self._changes_threads(),
            one_at_a_time=not measure.holds_two(self._device, self._of_champion("peak_rss_mib").get("")),
            ready=sentinels.ready,
            ready_limit_s=READY_LIMIT_S,
            trusted=sentinels.trusted,
        )

    @property
    def _task(self) -> ev.TaskPlan:
        here = self._run.state.in_flight
        return here.task if here else ev.TaskPlan(title="")

    def _promised(self) -> tuple[MetricSpec, ...]:
        """The guards of the recipe that is tried."""
        recipe = self._briefing.book.get(self._task.skill) if self._task.kind in ("recipe", "tune") else None
        level = next(m.level for m in self._testbed.target.spec.metrics if m.headline)
        return tuple(guard.spec(level) for guard in recipe.spec.effects.guards) if recipe else ()

    def _changes_threads(self) -> bool:
        """Threads trade CPU time for latency: where their number differs, CPU time says nothing about speed."""
        recipe = self._briefing.book.get(self._task.skill)
        return self._task.kind == "ablation" or (recipe is not None and recipe.spec.layer is Layer.LAUNCH)

    def _noise(self) -> Noise:
        """Pooled over every evaluation of this run so far that took place here: a run may be resumed elsewhere."""
        state = self._run.state
        blobs = [r.measured.evidence for r in state.rounds.values() if r.measured and r.measured.evidence]
        found = [Evidence.model_validate_json(self._run.dir.get_blob(blob)) for blob in blobs]
        return noise_of([one for one in found if one.device_fingerprint == self._device.fingerprint])

    def _inactive(self, side: LiveSide) -> str:
        """The activation check of the task, if the candidate's counters say that the change never ran."""
        if self._task.kind == "agent":
            name = self._task.hypothesis.activation if self._task.hypothesis else ""
            return f"counter('{name}') > 0" if name and side.counters.get(name, 0) <= 0 else ""
        recipe = self._briefing.book.get(self._task.skill)
        expression = recipe.spec.verify.activation if recipe else None
        if expression is None:
            return ""
        scope = Scope(self._briefing.facts(self._run.state), counters=side.counters)
        return "" if expression.holds(scope) is True else str(expression)

    @property
    def _device(self) -> Device:
        return self._briefing.device

    # ---- telling ------------------------------------------------------------------------------------------------

    def _announce(self, number: int, a: str, b: str, purpose: Purpose) -> None:
        level = next(m.level for m in self._testbed.target.spec.metrics if m.headline) or ""
        self._run.emit(ev.MeasurementStarted(round=number, label_a=a, label_b=b, level=level, purpose=purpose))

    def _told(self, number: int, *, swap: bool = False) -> block_run.OnEvent:
        """Journal the measurement's progress; `swap` when the sides were exchanged."""

        def tell(event: block_run.MeasureEvent) -> None:
            match event:
                case block_run.WindowMeasured():
                    side: Literal["A", "B"] = "A" if (event.arm is Arm.A) is not swap else "B"
                    self._run.emit(
                        ev.WindowMeasured(
                            round=number, side=side, block=event.block, pair=event.pair, level=event.level or "",
                            values={k: v for k, v in event.values.items() if k in self._shown}, ttft_ms=event.ttft_ms,
                            tpot_ms=event.tpot_ms,
                        )
                    )  # fmt: skip
                    if event.void:
                        self._run.emit(ev.PhaseProgress(detail=f"window void: {event.void}"))
                case block_run.BlockFinished(block=block, d=d, void=note):
                    signed = -d if swap and d is not None else d
                    self._run.emit(ev.BlockFinished(round=number, block=block, d=signed, note=note))
                case _:
                    pass

        return tell

    @property
    def _shown(self) -> frozenset[str]:
        spec = self._testbed.target.spec
        return frozenset({m.name for m in spec.metrics} | {g.name for g in spec.guards} | {"output_throughput"})

    def _measured(self, evidence: Evidence, comparison: Comparison, *, swap: bool = False) -> ev.Measured:
        """The gate's answer as a journal fact; its evidence goes into a blob."""
        blob = self._run.dir.put_blob(evidence.model_dump_json().encode())
        return as_fact(comparison, blob, self._floors.now, swap=swap)

    def _throughput_of(self, number: int) -> float | None:
        """What the round gave unprofiled, at its most crowded level."""
        record = self._run.state.rounds.get(number)
        shown = record.measured.figures if record and record.measured else ()
        return next((f.b for f in shown if f.metric == "output_throughput" and f.headline), None)


def _still_good(simpler: ev.Figure | None) -> bool:
    return bool(simpler and simpler.ratio and simpler.ci_high and still_good(simpler.ratio, simpler.ci_high))
