"""run_check and run_bench: a look ahead at the judge and the gate, on public prompts only and a few times per attempt.

The engine runs both, on a commit of the workspace as it is, exactly as it would be judged and timed. What they answer
decides nothing: the judge asks other prompts, and the gate measures many times.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from vibeserve_tui.agents.protocol import Tool, ToolError
from vibeserve_tui.agents.toolbox.arguments import Arguments, told
from vibeserve_tui.agents.toolbox.leftovers import remove_caches
from vibeserve_tui.evaluation.battery import SERVED_STEPS, integrity
from vibeserve_tui.evaluation.blocks import Window
from vibeserve_tui.evaluation.exam import Exam, Findings
from vibeserve_tui.evaluation.live_side import LiveSide
from vibeserve_tui.evaluation.reference import ReferenceService
from vibeserve_tui.evaluation.side import ServerDied
from vibeserve_tui.evaluation.testbed import Testbed
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.inputs.profiles import JudgeSizes
from vibeserve_tui.inputs.target_sections import TargetMetric
from vibeserve_tui.state.workspace import Commit

MOST = 3
"""Of each, per attempt: who needs more is guessing."""
REHEARSED = ("J1", "J2", "J3", "J4")
SIZES = JudgeSizes(held_out=8, held_out_tokens=24, perturb=3, contract=8)
WARM_S = 1.0


@dataclass(slots=True)
class Rehearsal:
    """Of one attempt; the number of looks that are left is its only state."""

    testbed: Testbed
    workload: Workload
    reference: ReferenceService
    workspace: Path
    label: str
    """Part of the ref under which the workspace is committed, such as `007/1/implementer`."""
    champion: str
    """The commit that run_bench compares with."""
    trusted_digest: str
    checks_left: int = MOST
    benches_left: int = MOST
    _numbers: int = 0

    async def check(self) -> str:
        commit = await self._committed()
        self.checks_left -= 1
        lines = [line async for line in self._steps(commit)]
        return "\n".join([*lines, "on public prompts; the judge asks others", _left(self.checks_left)])

    async def bench(self, *, quick: bool) -> str:
        commit = await self._committed()
        self.benches_left -= 1
        spec = self.testbed.target.spec
        headline = spec.headlines[0].level
        levels = [level.id for level in spec.levels if not quick or level.id == headline]
        sides = [await self._windows(sha, levels) for sha in (self.champion, commit.sha)]
        lines = [line for level in levels for line in _compared(spec.metrics, level, sides[0][level], sides[1][level])]
        lines.append("one window a side on public prompts: an impression, not a measurement")
        return "\n".join([*lines, _left(self.benches_left)])

    async def _committed(self) -> Commit:
        self._numbers += 1
        ref = f"rehearsals/{self.label}/{self._numbers}"
        with told():
            await asyncio.to_thread(remove_caches, self.workspace)
            return await asyncio.to_thread(
                self.testbed.store.snapshot, self.workspace, ref=ref, parent=None, message="a rehearsal", when=int(time.time())
            )  # fmt: skip

    async def _steps(self, commit: Commit) -> AsyncIterator[str]:
        folder = self.testbed.directory.checkouts / f"rehearsal-{commit.sha[:12]}"
        await asyncio.to_thread(self.testbed.store.checkout, commit.sha, folder)
        exam = Exam(
            target=self.testbed.target,
            workload=self.workload,
            reference=self.reference,
            sizes=SIZES,
            commit=commit.sha,
            tree=commit.tree,
            folder=folder,
            serve=lambda model_dir: self.testbed.serve(commit.sha, model_dir),
            swap=_no_other_weights,
            # Judgements draw theirs in private; this one stands in target.toml.
            seed=self.testbed.target.spec.workload.public_draw,
            trusted_digest=self.trusted_digest,
        )
        try:
            findings = await integrity(exam)
            yield _line("J0", "integrity", findings)
            if findings.fault:
                return
            async with self.testbed.serve(commit.sha) as server:
                for identifier, title, step in SERVED_STEPS:
                    if identifier in REHEARSED:
                        findings = await step(exam, server)
                        yield _line(identifier, title, findings)
                        if findings.fault:
                            return
                yield f"counters: {await server.counters()}"
        except ServerDied as death:
            yield f"FAILED the server died: {death}"
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _windows(self, commit: str, levels: list[str]) -> dict[str, Window]:
        side = LiveSide("rehearsal", commit, self.testbed, self.workload, {})
        seed = self.testbed.target.spec.workload.public_draw
        try:
            async with side.serve() as run:
                await run.warm(WARM_S)
                return {level: await run.window(level, seed, 0) for level in levels}
        except ServerDied as death:
            who = "the champion" if commit == self.champion else "the server"
            raise ToolError(f"{who} died: {death}") from death


class RunCheck(Arguments):
    pass


class RunBench(Arguments):
    quick: bool = Field(default=True, description="the headline's level only")


def rehearsal_tools(rehearsal: Rehearsal) -> tuple[Tool, ...]:
    async def run_check(arguments: RunCheck) -> str:  # noqa: ARG001 - a tool without arguments
        return await _while_any(rehearsal.checks_left, rehearsal.check)

    async def run_bench(arguments: RunBench) -> str:
        return await _while_any(rehearsal.benches_left, lambda: rehearsal.bench(quick=arguments.quick))

    # Both start servers: two at once would disturb one another.
    return (
        Tool("run_check", f"Let the engine check the workspace as the judge would, on public prompts; {MOST} times at most.", RunCheck, run_check, read_only=False),
        Tool("run_bench", f"Let the engine time the workspace beside the champion, one window each; {MOST} times at most.", RunBench, run_bench, read_only=False),
    )  # fmt: skip


async def _while_any(left: int, work: Callable[[], Awaitable[str]]) -> str:
    if left <= 0:
        raise ToolError(f"all {MOST} of this attempt are used; finish with what you know")
    with told():
        return await work()


async def _no_other_weights(seed: int) -> Path:
    raise ToolError(f"a rehearsal swaps no weights ({seed})")


def _line(identifier: str, title: str, findings: Findings) -> str:
    notes = f"; to look at: {'; '.join(findings.notes)}" if findings.notes else ""
    return f"{'FAILED' if findings.fault else 'passed'} {identifier} {title}: {findings.fault or f'{findings.tests} tests'}{notes}"


def _compared(metrics: tuple[TargetMetric, ...], level: str, champion: Window, own: Window) -> Iterator[str]:
    for metric in metrics:
        if metric.level == level:
            before, now = champion.values.get(metric.name), own.values.get(metric.name)
            sides = " → ".join("not reported" if value is None else f"{value:,.1f}" for value in (before, now))
            yield f"{metric.name} at {level}: {sides} {metric.unit} (champion → this; {metric.direction.value} is better)"
    if own.violations:
        yield f"this window would be void: {'; '.join(own.violations)}"


def _left(count: int) -> str:
    return f"{count} left in this attempt"
