"""The Accuracy Judge: decides from tests alone whether an attempt is right, in a fresh context.

It knows the commit and the target, not the implementer's reasons. A private seed is drawn for each judgement and enters
the journal with the verdict, when nobody can use it any more.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from pathlib import Path

from vibeserve_tui import events as ev
from vibeserve_tui.evaluation.battery import judge
from vibeserve_tui.evaluation.exam import Exam
from vibeserve_tui.evaluation.reference import ReferenceService
from vibeserve_tui.evaluation.testbed import Testbed
from vibeserve_tui.evaluation.weight_swap import swap_weights
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.inputs.profiles import JudgeSizes
from vibeserve_tui.roles.review import Reviewer
from vibeserve_tui.round import Work
from vibeserve_tui.state.run import Run

SWAP_PROMPTS = 6
"""Prompts on which other weights must differ from the own ones before they are used."""


class Judge:
    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a court
        self,
        run: Run,
        testbed: Testbed,
        workload: Workload,
        reference: ReferenceService,
        sizes: JudgeSizes,
        reviewer: Reviewer | None = None,
    ) -> None:
        self._run = run
        self._testbed = testbed
        self._workload = workload
        self._reference = reference
        self._sizes = sizes
        self._reviewer = reviewer
        self._swapped: Path | None = None

    async def judge(self, work: Work, commit: str) -> ev.Verdict:
        run, folder = self._run, self._run.dir.checkouts / f"look-{commit[:12]}"
        run.emit(ev.AgentStarted(role="judge", provider="battery", round=work.round, task=work.task.title))
        await asyncio.to_thread(run.store.checkout, commit, folder)
        exam = Exam(
            target=self._testbed.target,
            workload=self._workload,
            reference=self._reference,
            sizes=self._sizes,
            commit=commit,
            tree=run.store.tree_of(commit),
            folder=folder,
            serve=lambda model_dir: self._testbed.serve(commit, model_dir),
            swap=self._other_weights,
            seed=secrets.randbits(63),
            trusted_digest=run.state.plan.target_digest if run.state.plan else "",
        )
        try:
            verdict = await judge(exam, self._report)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        run.emit(
            ev.AgentFinished(role="judge", status="ok" if verdict.passed else verdict.outcome, reason=verdict.reason)
        )
        return verdict if self._reviewer is None else await self._reviewer.reviewed(work, verdict)

    def _report(self, step: ev.JudgeStep) -> None:
        call = ev.ToolCall(
            name=step.id, arguments=step.title, ok=step.passed, output=step.detail, took_s=round(step.took_ms / 1000, 2)
        )
        self._run.emit(ev.ToolUsed(role="judge", call=call))

    async def _other_weights(self, seed: int) -> Path:
        """One set of other weights per engine process: no candidate keeps anything that could learn them."""
        if self._swapped is None:
            prompts = [request.prompt_ids for request in self._workload.draw(seed, SWAP_PROMPTS)]
            exact_in = self._testbed.target.spec.model.exact_in
            out = self._run.dir.path / "swaps" / str(seed)
            out.parent.mkdir(mode=0o700, exist_ok=True)
            swap = await swap_weights(self._reference, out, seed=seed, prompts=prompts, exact_in=exact_in)
            self._swapped = swap.model_dir
        return self._swapped
