"""The mutator: one child of one candidate, by exactly one change.

The playbook works on genomes: it draws one recipe more or less, another setting, a swap or a second parent, and the tree is
built from the seed. A model is given the parent's tree with the diffs of other candidates, and decides while it works.
Whatever goes wrong with a child costs that child: its reason is kept, and the search goes on.
"""

from __future__ import annotations

import asyncio
import math
import traceback
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import AgentRequest, Brief, BuildFacts, MutationFacts, Role, Voice
from vibeserve_tui.agents.replies import ImplReport, MutationReport, PreparedPlan, checked
from vibeserve_tui.agents.toolbox.leftovers import remove_caches
from vibeserve_tui.agents.toolbox.outputs import Outputs
from vibeserve_tui.errors import AgentError, SkillError, VibeServeError
from vibeserve_tui.recipes.mutations import genome
from vibeserve_tui.recipes.situation import Choice, Composition, Situation
from vibeserve_tui.recipes.trials import Trial
from vibeserve_tui.roles.briefing import Briefing, composition, trial_of
from vibeserve_tui.roles.conversation import ask
from vibeserve_tui.roles.evidence import evidence_of
from vibeserve_tui.roles.prompting import render
from vibeserve_tui.roles.standing import standing, tree_in_words
from vibeserve_tui.roles.workplace import Commission, Workplace
from vibeserve_tui.round import Work, commit_of
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state.run import Run

DIFF_LIMIT = 12_000
SHOWN_FAILURES = 5
MOST_VOIDS = 2
"""Measurements that said nothing, after which a genome counts as tried."""

Made = TypeVar("Made")


class Maker(Protocol):
    """What turns a task or a changed workspace into an attempt."""

    async def implement(self, work: Work) -> ev.AttemptCommitted: ...
    def commit(self, work: Work, report: ImplReport) -> ev.AttemptCommitted: ...


class Mutator:
    """Without a workplace it breeds as the playbook does; with one it asks a model."""

    def __init__(
        self, run: Run, voice: Voice, briefing: Briefing, maker: Maker, workplace: Workplace | None = None
    ) -> None:
        self._run = run
        self._voice = voice
        self._briefing = briefing
        self._maker = maker
        self._workplace = workplace

    async def propose(self, parent: int, inspirations: Sequence[int], *, draw: str) -> ev.TaskPlan | str:
        """A child of this round's tree, or why it has none that is new. Raises AgentError when none can be had."""
        if self._workplace is not None:
            return self._commissioned(parent, inspirations)
        return await _survived(self._run, self._bred(parent, inspirations, draw))

    async def implement(self, work: Work) -> ev.AttemptCommitted:
        """Make the child. Raises AgentError for whatever keeps it from being one, also when it exists already."""
        writes = work.task.kind == "agent" and self._workplace
        made = self._written(writes, work) if writes else self._maker.implement(work)
        committed = await _survived(self._run, made)
        twin = self._twin(committed.tree)
        if twin is not None and work.task.kind != "ablation":
            raise AgentError(f"the child is the tree of round {twin} again")
        return committed

    def _twin(self, tree: str) -> int | None:
        """The round that came to this tree before, unless nothing could be said of it."""
        state = self._run.state
        void = {n for n, record in state.rounds.items() if record.outcome is ev.Outcome.VOID}
        return next((one.round for one in state.attempts if one.tree == tree and one.round not in void), None)

    # ---- genomes ------------------------------------------------------------------------------------------------

    async def _bred(self, parent: int, inspirations: Sequence[int], draw: str) -> ev.TaskPlan | str:
        run, state = self._run, self._run.state
        trials = tuple(_trials(state))
        situation = self._briefing.situation(run, rounds_left=1, seconds_left=0.0)
        facts = MutationFacts(
            book=self._briefing.book,
            situation=self._around(situation, parent, trials),
            others=tuple(self._composition(number) for number in inspirations),
            trials=trials,
            known=frozenset(_known(state)),
            lead=math.log((state.gain(parent) or 1.0) / (state.gain(state.champion) or 1.0)),
            draw=draw,
        )
        request = AgentRequest(Role.MUTATOR, facts, PreparedPlan)
        plan = await ask(run, self._voice, request, PreparedPlan, task=f"a child of round {parent}")
        return plan.task or plan.stop_reason

    def _around(self, situation: Situation, parent: int, trials: tuple[Trial, ...]) -> Situation:
        """The situation with the parent as champion. What was tried elsewhere counts, but excludes nothing here."""
        return replace(
            situation,
            champion=self._composition(parent),
            prerequisite=None,
            trials=(),
            experience=(*trials, *situation.experience),
        )

    def _composition(self, number: int) -> Composition:
        return composition(self._run.store, commit_of(self._run, number), number)

    # ---- in words -----------------------------------------------------------------------------------------------

    def _commissioned(self, parent: int, inspirations: Sequence[int]) -> ev.TaskPlan:
        number = max(self._run.state.rounds) + 1
        return ev.TaskPlan(
            title=f"child {number} of {f'r{parent}' if parent else 'the seed'}",
            parent=parent,
            kind="agent",
            base_capabilities=tuple(sorted(self._composition(parent).capabilities)),
            instructions="Make one child of the parent by exactly one change.",
            inspirations=tuple(inspirations),
        )

    async def _written(self, workplace: Workplace, work: Work) -> ev.AttemptCommitted:
        run, task = self._run, work.task
        await asyncio.to_thread(run.store.checkout, work.parent, run.dir.workspace)
        evidence = evidence_of(run.state, task.parent)

        def faults(report: MutationReport) -> Iterator[str]:
            if report.parent != task.parent:
                yield f"the parent is round {task.parent}"
            if report.inspiration is not None and report.inspiration not in task.inspirations:
                yield f"round {report.inspiration} is none of the inspirations"
            if unknown := evidence.unknown(report.hypothesis.evidence):
                yield f"there is no evidence {', '.join(unknown)}; use the ids of the prompt"

        brief = await asyncio.to_thread(self._brief, workplace, work)
        seed = run.dir.checkouts / "seed"
        facts = BuildFacts(
            self._briefing.book, self._briefing.facts(run.state), task, run.dir.workspace, seed, work.feedback
        )
        request = AgentRequest(Role.MUTATOR, facts, checked(MutationReport, faults), brief)
        report = await ask(run, self._voice, request, MutationReport, task=task.title)
        await asyncio.to_thread(remove_caches, run.dir.workspace)
        idea = "" if report.inspiration is None else f", an idea of round {report.inspiration}"
        account = ImplReport(summary=f"{report.kind}{idea}: {report.summary}"[:8000], changes=report.changes)
        committed = await asyncio.to_thread(self._maker.commit, work, account)
        hypothesis = ev.Hypothesis(id=f"H{work.round}", **report.hypothesis.model_dump())
        return committed.model_copy(update={"hypothesis": hypothesis})

    def _brief(self, workplace: Workplace, work: Work) -> Brief:
        run, record = self._run, self._run.state.rounds[work.task.parent]
        left = run.state.rounds_left
        seconds = 60 * run.state.max_minutes - run.active_s
        words = render(
            "mutator",
            parent={
                "number": record.number,
                "title": record.task.title,
                "recipes": ", ".join(record.skills) or "none",
                "files": tree_in_words(run.store, work.parent),
            },
            evidence=evidence_of(run.state, record.number),
            inspirations=[self._inspiration(number) for number in work.task.inspirations],
            standing="\n".join([standing(run.state, rounds_left=left, seconds_left=seconds), *self._warnings(work)]),
        )
        commission = Commission(
            Role.MUTATOR,
            self._voice,
            words,
            run.dir.workspace,
            recipes=workplace.recipes(rounds_left=left, seconds_left=seconds),
            rehearsal=workplace.rehearsal(run.dir.workspace, f"{work.round:03d}/{work.attempt}"),
        )
        return workplace.brief(commission)

    def _inspiration(self, number: int) -> dict[str, object]:
        """What the round changed in its own parent, with its result."""
        run, record = self._run, self._run.state.rounds[number]
        diff = run.store.diff(commit_of(run, record.task.parent), record.commit) if number else ""
        gain = run.state.gain(number)
        worth = f" (×{gain:.2f} over the seed)" if gain and number else ""
        shown = Outputs(run.dir.put_blob).cut(diff, DIFF_LIMIT)
        return {"number": number, "title": f"{record.task.title}{worth}", "diff": shown}

    def _warnings(self, work: Work) -> Iterator[str]:
        """What went wrong with earlier children of this parent, and with the last attempt at this one."""
        siblings = [
            record
            for _, record in sorted(self._run.state.rounds.items())
            if record.number and record.task.parent == work.task.parent and record.outcome is not ev.Outcome.KEPT
        ]
        for record in siblings[-SHOWN_FAILURES:]:
            yield f"Its child in round {record.number} ({record.task.title}) was {record.outcome.value}: {record.reason}"
        if work.feedback:
            yield f"Your last attempt at this child was turned down: {work.feedback}"


async def _survived(run: Run, making: Awaitable[Made]) -> Made:
    """What comes of it; every fault of one child is an AgentError, which costs an attempt and never the run."""
    try:
        return await making
    except SkillError as error:
        raise AgentError(str(error)) from error
    except (VibeServeError, OSError):
        raise  # a wrong child, a full disk or a spent budget: each has its own end
    except Exception as error:
        run.emit(ev.Warned(text=f"the child could not be made: {traceback.format_exc()[-2000:]}"))
        raise AgentError(f"{type(error).__name__}: {error}") from error


def _known(state: RunState) -> Iterator[str]:
    """Genomes that were proposed before; one whose measurement was void may be proposed once more."""
    voids: dict[str, int] = {}
    yield genome(())
    for record in state.rounds.values():
        if not record.task.rebuild:
            continue
        tried = genome(Choice(choice.skill, choice.params) for choice in record.task.rebuild)
        voids[tried] = voids.get(tried, 0) + (record.outcome is ev.Outcome.VOID)
        if record.outcome is not ev.Outcome.VOID or voids[tried] >= MOST_VOIDS:
            yield tried


def _trials(state: RunState) -> Iterator[Trial]:
    """The rounds as trials of their recipes: ratios over the parent, not over the champion they were measured beside."""
    for number, record in sorted(state.rounds.items()):
        if number and record.task.skill:
            yield _over_parent(state, trial_of(record), record)


def _over_parent(state: RunState, trial: Trial, record: ev.RoundRecord) -> Trial:
    beside, parent = state.against.get(record.number), record.task.parent
    if trial.ratio is None or beside is None or beside == parent:
        return trial
    parents_gain, besides_gain = state.gain(parent), state.gain(beside)
    if not parents_gain or not besides_gain:
        return replace(trial, ratio=None, ci_low=None, ci_high=None)
    factor = besides_gain / parents_gain
    low, high = trial.ci_low, trial.ci_high
    return replace(trial, ratio=trial.ratio * factor, ci_low=low and low * factor, ci_high=high and high * factor)
