"""Whole searches in seconds: real policies, planners, recipes, rounds and store; only judge and gate are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.fakes import FakeOperator, measured, started
from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import Role, Voice, load_voice
from vibeserve_tui.backend import load_backend
from vibeserve_tui.inputs.model_folder import read_model_shape
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.inputs.target import load_target
from vibeserve_tui.policies import Policy, asked_by, load_policy
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.resources import Shipped, shipped_folder, shipped_targets
from vibeserve_tui.roles.briefing import Briefing
from vibeserve_tui.roles.implementer import Implementer
from vibeserve_tui.roles.mutator import Mutator
from vibeserve_tui.roles.orchestrator import Orchestrator
from vibeserve_tui.round import Crew, Work, play_round
from vibeserve_tui.round import Implementer as Maker
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.run_dir import RunDir

RECIPES = ("kv-cache-preallocate", "continuous-batching", "static-batching-window", "http-path", "sse-coalescing")
"""A chain, a conflict, and two that go with everything."""

Answer = Callable[[int], ev.Measured]


def usual(number: int) -> ev.Measured:
    """A win, a loss, a neutral, and again."""
    outcome, ratio = (("indecisive", 1.0), ("accepted", 1.2), ("rejected", 0.9))[number % 3]
    return measured(outcome, ratio=ratio)


def full_briefing() -> Briefing:
    target = load_target(shipped_targets()["tiny-llama-chat"])
    device = load_backend("cpu").detect()[0].model_copy(update={"capabilities": ("avx2", "fma"), "compute_units": 2})
    return Briefing(
        target=target,
        device=device,
        backend="cpu",
        shape=read_model_shape(target.model_dir),
        book=RecipeBook.load(SkillLibrary.load([shipped_folder(Shipped.SKILLS)])),
        tools=frozenset({"cxx"}),
        forbids=frozenset(),
        p50_prompt_len=120,
    )


def with_recipes(briefing: Briefing, names: tuple[str, ...] = RECIPES) -> Briefing:
    return replace(briefing, book=RecipeBook(briefing.book[name] for name in names))


@dataclass
class ToldJudge:
    """Refuses what is tried in some rounds."""

    wrong: frozenset[int] = frozenset()

    async def judge(self, work: Work, commit: str) -> ev.Verdict:
        wrong = work.round in self.wrong
        return ev.Verdict(outcome="fail" if wrong else "pass", reason="3 of 64 answers differ" if wrong else "")


@dataclass
class ToldGate:
    answer: Answer = usual

    async def evaluate(self, number: int, champion: str, candidate: str) -> ev.Measured:
        return self.answer(number)


@dataclass
class Search:
    run: Run
    policy: Policy
    implementer: Maker
    judge: ToldJudge = field(default_factory=ToldJudge)
    gate: ToldGate = field(default_factory=ToldGate)
    operator: FakeOperator = field(default_factory=FakeOperator)

    @property
    def rounds_left(self) -> int:
        return self.run.state.max_rounds - max(self.run.state.rounds)

    async def plan(self) -> ev.TaskPlan | str:
        return await self.policy.plan(rounds_left=self.rounds_left, seconds_left=600.0)

    async def play(self, task: ev.TaskPlan, *, attempts: int = 2) -> ev.RoundRecord:
        """As the outer loop plays it."""
        run, number = self.run, max(self.run.state.rounds) + 1
        if run.state.in_flight is None:
            run.emit(ev.RoundPlanned(number=number, task=task))
        crew = Crew(self.implementer, self.judge, self.gate, self.operator)
        record = self.policy.fate(await play_round(run, crew, number, task, attempts=1 if task.skill else attempts))
        moved = [ev.ChampionMoved(round=number, commit=record.commit)] if record.outcome is ev.Outcome.KEPT else []
        run.emit(ev.RoundFinished(record=record), *moved, *self.policy.lessons(record))
        return record

    async def to_its_end(self, most: int = 100) -> str:
        """The reason why it ended; the engine's own stop rules play no part."""
        for _ in range(most):
            task = await self.plan()
            if isinstance(task, str):
                return task
            await self.play(task)
        raise AssertionError(f"it did not end within {most} rounds")


def open_search(folder: Path, policy: str, briefing: Briefing, voice: Voice | None = None, **order: object) -> Search:
    """The search as an engine process opens it, for the first time or again."""
    folder.mkdir(exist_ok=True)
    directory = RunDir(folder / "run")
    directory.create()
    run = Run(directory)
    if run.state.status == "new":
        begin(run, briefing, policy=policy, **{"max_rounds": 40, "max_minutes": 600, "seed": 7} | order)
    implementer: Maker = Implementer(run, load_voice("playbook"), briefing)
    planner: Orchestrator | Mutator
    if asked_by(policy) is Role.MUTATOR:
        implementer = planner = Mutator(
            run, voice or load_voice("playbook"), briefing, Implementer(run, load_voice("playbook"), briefing)
        )
    else:
        planner = Orchestrator(run, voice or load_voice("playbook"), briefing)
    return Search(run, load_policy(policy, run, planner), implementer)


def begin(run: Run, briefing: Briefing, **order: object) -> None:
    """A run whose baseline is the target's own seed."""
    run.emit(started(**order))
    seed = briefing.target.file("seed")
    commit = run.store.snapshot(seed, ref="attempts/000/1", parent=None, message="seed", when=1_700_000_000)
    task = ev.TaskPlan(title="the seed", kind="agent")
    committed = ev.AttemptCommitted(
        round=0, attempt=1, commit=commit.sha, tree=commit.tree, parent="", ref="refs/attempts/000/1"
    )
    record = ev.RoundRecord(
        number=0, task=task, outcome=ev.Outcome.KEPT, reason="", commit=commit.sha, tree=commit.tree,
        measured=measured(ratio=1.0), fate="baseline",
    )  # fmt: skip
    run.emit(committed, ev.RoundFinished(record=record), ev.ChampionMoved(round=0, commit=commit.sha))
