"""The Accuracy Judge's battery: cheap steps first, the first hard fault ends it.

J0 integrity · J1 start · J2 contract · J3 held-out prompts · J4 changed prompts · J5 sampling · J6 alone, in a batch and
after a restart · J8 conduct · J7 other weights · the target's own checker. (J9, the answers of the timed run itself, is
checked where they are timed.) No model's opinion enters, and nothing the candidate prints is believed: tokens are
compared with the reference, position by position. Three processes of the commit are started, at most two at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.ahead import ahead
from vibeserve_tui.evaluation.batches import Restart, batched
from vibeserve_tui.evaluation.cheats import scan
from vibeserve_tui.evaluation.checker import own_checker
from vibeserve_tui.evaluation.conduct import check_tree, conduct, is_idle
from vibeserve_tui.evaluation.contract import contract
from vibeserve_tui.evaluation.exam import Exam, Findings, Server, Step, ask, compare, step_of
from vibeserve_tui.evaluation.held_out import held_out, perturbed
from vibeserve_tui.evaluation.python_source import Severity
from vibeserve_tui.evaluation.sampling import sampled
from vibeserve_tui.evaluation.side import ServerDied
from vibeserve_tui.events import JudgeStep, Verdict
from vibeserve_tui.execution.guard import tree_faults
from vibeserve_tui.inputs.target_files import tree_digest

MAX_NOTES = 8
"""Findings shown; who wrote more of them will hear of the rest when these are gone."""
SWAPPED_TOKENS = 24
Progress = Callable[[JudgeStep], None]


async def judge(exam: Exam, progress: Progress) -> Verdict:
    """The verdict on one commit. MeasurementError from the reference's side means void: nobody was judged."""
    record, exam = _Record(progress), exam.anew(exam.seed)
    try:
        await _examine(exam, record)
    except _Failed:
        pass
    except MeasurementError as fault:
        return _verdict(exam, record.steps, void=str(fault))
    return _verdict(exam, record.steps)


class _Failed(Exception):
    """A step failed: what is left is not asked any more."""


class _Record:
    """The steps so far."""

    def __init__(self, progress: Progress) -> None:
        self.steps: list[JudgeStep] = []
        self._progress = progress

    async def step(self, identifier: str, title: str, work: Awaitable[Findings]) -> None:
        started = time.perf_counter()
        try:
            findings = await work
        except ServerDied as death:
            findings = Findings(tests=1, fault=str(death))
        step = step_of(identifier, title, findings, 1000 * (time.perf_counter() - started))
        self.steps.append(step)
        self._progress(step)
        if not step.passed:
            raise _Failed


async def _examine(exam: Exam, record: _Record) -> None:
    """Every step, in order; raises _Failed at the first that does not pass.

    The next process starts while the last one is asked: starting is most of what a judgement of a small model takes.
    """
    await record.step("J0", "integrity of tree and target", integrity(exam))
    own, swaps = exam.target.model_dir, exam.target.spec.accuracy.weight_swap != "off"
    async with AsyncExitStack() as later:
        async with _blaming(record, "J1", "starts from a fresh checkout"), exam.serve(own) as server:
            second = await later.enter_async_context(ahead(exam.serve(own)))
            for identifier, title, step in SERVED_STEPS:
                await record.step(identifier, title, step(exam, server))
        if swaps:
            other = await exam.swap(exam.random("swap").getrandbits(32))
            third = await later.enter_async_context(ahead(exam.serve(other)))
        async with _blaming(record, "J6", "the same after a restart"):
            await _restarted(exam, record, await second())
        if swaps:
            await record.step("J7", "other weights, another truth", swapped_weights(exam, third(), other))


async def _restarted(exam: Exam, record: _Record, server: Server) -> None:
    """What needs a process that has not been asked anything yet."""
    idle, restart = await is_idle(server), Restart()
    await record.step("J6", "the same after a restart", restart.answers(exam, server))
    work = conduct(exam, server, idle_at_first=idle, known_s_per_token=restart.known_s_per_token)
    await record.step("J8", "conduct beside answering", work)
    if exam.target.spec.programs.checker is not None:
        await record.step("checker", "the target's own checker", own_checker(exam, server))


@asynccontextmanager
async def _blaming(record: _Record, identifier: str, title: str) -> AsyncIterator[None]:
    """A process that does not start, or dies between two steps, fails the given one."""
    try:
        yield
    except ServerDied as death:
        await record.step(identifier, title, _died(str(death)))


async def _died(reason: str) -> Findings:
    return Findings(tests=1, fault=reason)


# ---- steps that need no module of their own -------------------------------------------------------------------------


async def integrity(exam: Exam) -> Findings:
    """J0: the target is the one the run started with, and the tree holds nothing that a tree may not hold."""
    return await asyncio.to_thread(_integrity, exam)


def _integrity(exam: Exam) -> Findings:
    findings = Findings()
    seed = exam.target.file(exam.target.spec.seed)
    findings.check(
        tree_digest(exam.target.root) == exam.trusted_digest, "the target's files changed since the run began"
    )
    for fault in tree_faults(exam.folder, seed) or [""]:
        findings.check(not fault, fault)
    if findings.fault:
        return findings
    found = scan(exam.folder, seed, exam.workload.corpus)
    hard = [str(one) for one in found if one.severity is Severity.FAIL]
    findings.check(not hard, "; ".join(hard[:MAX_NOTES]))
    findings.notes += [str(one) for one in found if one.severity is Severity.WARN][:MAX_NOTES]
    return findings


async def started(exam: Exam, server: Server) -> Findings:
    """J1: it is up, warm, says that it serves this commit, and is what listens on its port."""
    findings = Findings()
    findings.check(server.health.get("status") == "ready", f"/health says status {server.health.get('status')!r}")
    findings.check(server.health.get("commit") == exam.commit, f"/health says commit {server.health.get('commit')!r}")
    check_tree(await server.processes(), await server.listening(), server.address[1], findings)
    return findings


async def swapped_weights(exam: Exam, serving: Awaitable[Server], model_dir: Path) -> Findings:
    """J7: started on perturbed weights it gives the answers of those weights: nothing is baked in."""
    findings = Findings()
    requests = exam.draw("swap", exam.sizes.weight_swap, tokens=SWAPPED_TOKENS)
    reports = await ask(exam, await serving, requests, concurrency=exam.full_batch)
    async with exam.reference.using(model_dir):
        await compare(exam, requests, reports, findings)
    return findings


SERVED_STEPS: tuple[tuple[str, str, Step], ...] = (
    ("J1", "starts from a fresh checkout", started),
    ("J2", "HTTP contract", contract),
    ("J3", "held-out prompts", held_out),
    ("J4", "changed prompts", perturbed),
    ("J5", "sampling", sampled),
    ("J6", "alone, in a batch, in another order", batched),
)


def _verdict(exam: Exam, steps: list[JudgeStep], void: str = "") -> Verdict:
    failed = next((step for step in steps if not step.passed), None)
    return Verdict(
        outcome="void" if void else "fail" if failed else "pass",
        reason=void or (f"{failed.id} {failed.title}: {failed.detail}" if failed else f"{len(steps)} steps passed"),
        first_failure=failed.id if failed else "",
        steps=tuple(steps),
        commit=exam.commit,
        tree=exam.tree,
        seed=str(exam.seed),
        accuracy_class=exam.target.spec.accuracy.tolerance_class,
    )
