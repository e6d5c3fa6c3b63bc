"""A whole run around one round: real store, boxes, reference and judge over the fast tree; only the gate is told.

`Stage.play` lets voices play a round from plan to record, exactly as the engine would.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.cheats.laboratory import Laboratory, laboratory
from tests.fakes import THROUGHPUT, FakeEvaluator, FakeJudge, FakeOperator, measured
from tests.roles.players import FILE, OLD, WAIT
from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import Voice, load_voice
from vibeserve_tui.backend import load_backend
from vibeserve_tui.evaluation.gate_config import GateConfig
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.inputs.model_folder import read_model_shape
from vibeserve_tui.inputs.profiles import JudgeSizes
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.policies import load_policy
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.resources import Shipped, shipped_folder
from vibeserve_tui.roles.briefing import Briefing
from vibeserve_tui.roles.evaluator import Evaluator
from vibeserve_tui.roles.implementer import Implementer
from vibeserve_tui.roles.judge import Judge
from vibeserve_tui.roles.orchestrator import Orchestrator
from vibeserve_tui.roles.reading import ProfileReader
from vibeserve_tui.roles.review import Reviewer
from vibeserve_tui.roles.workplace import Workplace
from vibeserve_tui.round import Crew, play_round
from vibeserve_tui.state.run import Run

SIZES = JudgeSizes(held_out=4, held_out_tokens=12, perturb=3, sampling=24, batch_invariance=3, weight_swap=3, contract=4, repeats=2)  # fmt: skip
"""As few questions as the battery can be asked: what is tested here is who reaches it."""


@dataclass
class Stage:
    lab: Laboratory
    run: Run
    workplace: Workplace
    lenient: bool = False
    """A judge that passes everything: for what happens around the judgement."""
    evaluator: FakeEvaluator | Evaluator = field(default_factory=lambda: FakeEvaluator(measured(ratio=1.2)))

    async def play(self, voices: Mapping[str, Voice], *, attempts: int = 2) -> ev.RoundRecord:
        """One round with these voices; roles without one are played by the playbook."""
        run, workplace = self.run, self.workplace
        briefing = workplace.briefing
        orchestrator = Orchestrator(run, voices["orchestrator"], briefing, workplace)
        policy = load_policy("agent", run, orchestrator)
        task = await policy.plan(rounds_left=5, seconds_left=600.0)
        assert isinstance(task, ev.TaskPlan), task
        number = max(run.state.rounds) + 1
        run.emit(ev.RoundPlanned(number=number, task=task))
        reviewer = Reviewer(run, voices["judge"], workplace) if "judge" in voices else None
        crew = Crew(
            Implementer(run, voices.get("implementer", load_voice("playbook")), briefing, workplace),
            FakeJudge() if self.lenient else _judge(self, reviewer),
            self.evaluator,
            FakeOperator(),
        )
        record = policy.fate(await play_round(run, crew, number, task, attempts=attempts))
        run.emit(ev.RoundFinished(record=record), *policy.lessons(record))
        return record


def _judge(stage: Stage, reviewer: Reviewer | None) -> Judge:
    lab = stage.lab
    return Judge(stage.run, lab.testbed, lab.workload, lab.reference, SIZES, reviewer)


def real_evaluator(stage: Stage) -> Evaluator:
    """The gate itself, in its quickest setting."""
    lab, run = stage.lab, stage.run
    reader = ProfileReader(run, load_voice("playbook"), None)
    return Evaluator(
        run, lab.testbed, lab.workload, lab.reference, stage.workplace.briefing, load_backend("cpu"), reader,
        GateConfig.quick(), _judge(stage, None).judge,
    )  # fmt: skip


def waiting(tree: Path) -> Path:
    """The fast tree, waiting in every step from now on."""
    decode = tree / FILE
    text = decode.read_text("utf-8").replace(OLD, f"        {WAIT}\n{OLD}")
    decode.write_text(f"import time\n\n{text}", "utf-8")
    return tree


def slow_champion(stage: Stage, folder: Path) -> None:
    """A champion that waits in every step: what a gate must notice when somebody takes the waiting out."""
    tree = waiting(Path(shutil.copytree(stage.lab.honest, folder)))
    run, number = stage.run, max(stage.run.state.rounds) + 1
    parent = run.state.champion_commit
    commit = run.store.snapshot(tree, ref=f"attempts/{number:03d}/1", parent=parent, message="x", when=1_700_000_000)
    record = ev.RoundRecord(
        number=number, task=ev.TaskPlan(title="waits", kind="agent"), outcome=ev.Outcome.KEPT, reason="",
        commit=commit.sha, tree=commit.tree, measured=measured(ratio=1.0),
    )  # fmt: skip
    run.emit(ev.RoundFinished(record=record), ev.ChampionMoved(round=number, commit=commit.sha))


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    """A stage in a laboratory of its own, taken down again."""
    launcher = Launcher.start(f"test-{uuid.uuid4().hex}")
    try:
        async with laboratory(launcher, folder) as lab:
            stage = open_stage(lab)
            yield stage
            stage.run.close()
    finally:
        await launcher.close()


def open_stage(lab: Laboratory) -> Stage:
    """A run in the laboratory's directory, with the fast honest tree as its baseline and champion."""
    run = Run(lab.testbed.directory)
    target = lab.target
    plan = ev.RunPlan(
        target=target.spec.name,
        target_path=str(target.root),
        target_digest=target.digest,
        metrics=(THROUGHPUT,),
        max_rounds=20,
        allowance=ev.Allowance(usd=5.0),
    )
    summary = ev.DeviceSummary(id="cpu:0", name="test", backend="cpu", fingerprint="f", cores=2)
    run.emit(ev.RunStarted(run="run", plan=plan, device=summary, sandbox=lab.testbed.launcher.report.tier.value))
    seed = run.store.snapshot(lab.honest, ref="attempts/000/1", parent=None, message="seed", when=1_700_000_000)
    record = ev.RoundRecord(
        number=0, task=ev.TaskPlan(title="the seed"), outcome=ev.Outcome.KEPT, reason="the baseline", commit=seed.sha,
        tree=seed.tree, measured=measured(ratio=1.0), fate="baseline",
    )  # fmt: skip
    run.emit(ev.RoundFinished(record=record), ev.ChampionMoved(round=0, commit=seed.sha))
    return Stage(lab, run, _workplace(lab, run))


def _workplace(lab: Laboratory, run: Run) -> Workplace:
    library = SkillLibrary.load([shipped_folder(Shipped.SKILLS)])
    backend = load_backend("cpu")
    briefing = Briefing(
        target=lab.target,
        device=backend.detect()[0].model_copy(update={"capabilities": ("avx2", "fma"), "compute_units": 2}),
        backend="cpu",
        shape=read_model_shape(lab.target.model_dir),
        book=RecipeBook.load(library),
        tools=frozenset(),
        forbids=frozenset(),
        p50_prompt_len=round(median(len(one.prompt_ids) for one in lab.workload.draw(1, 32))),
    )
    return Workplace.open(run, briefing, library, backend, lab.testbed, lab.workload, lab.reference, writes=True)
