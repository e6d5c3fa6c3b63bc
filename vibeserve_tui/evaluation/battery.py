"""The Accuracy Judge's battery: cheap steps first, the first hard fault ends it.

J0 integrity · J1 start · J2 contract · J3 held-out prompts · J4 changed prompts · J6 alone and in a batch · J5 sampling ·
J7 other weights · J6 after a restart · J8 conduct · the target's own checker. (J9, the answers of the timed run itself,
is checked where they are timed.) No model's opinion enters, and nothing the candidate prints is believed: tokens are
compared with the reference, position by position. Three processes of the commit are started, at most two at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.ahead import drawn_ahead
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
from vibeserve_tui.evaluation.told import Compared
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
    """The steps so far, in the order of the battery."""

    def __init__(self, progress: Progress) -> None:
        self.steps: list[JudgeStep] = []
        self._progress = progress

    def add(self, step: JudgeStep) -> None:
        self.steps.append(step)
        self._progress(step)
        if not step.passed:
            raise _Failed


async def _examine(exam: Exam, record: _Record) -> None:
    """Every step; raises _Failed at the first of the record that does not pass.

    From J1 on two processes are up at once, so that one answers while the next one starts: starting is most of what a
    judgement of a small model takes. The record does not depend on who is faster.
    """
    record.add(await _taken("J0", "integrity of tree and target", integrity(exam)))
    up, asked = asyncio.Event(), asyncio.Event()
    async with (
        drawn_ahead(_first_process(exam, asked)) as first,
        drawn_ahead(_later_processes(exam, up, asked)) as later,
    ):
        record.add(await anext(first))
        up.set()
        async for step in first:
            record.add(step)
        async for step in later:
            record.add(step)


async def _first_process(exam: Exam, asked: asyncio.Event) -> AsyncGenerator[JudgeStep]:
    """J1 to J6; `asked` is set when all answers that are compared are in."""
    began = time.perf_counter()
    try:
        async with exam.serve(exam.target.model_dir) as server:
            for identifier, title, step in SERVED_STEPS:
                yield await _taken(identifier, title, step(exam, server), began)
                began = time.perf_counter()
                if step is batched:
                    asked.set()
    except ServerDied as death:
        yield await _taken(*STARTS, _died(death), began)


async def _later_processes(exam: Exam, up: asyncio.Event, asked: asyncio.Event) -> AsyncGenerator[JudgeStep]:
    """J7 on other weights; then one that has not been asked anything gets what the first one was asked.

    None is started before the first one is `up`: what that leaves in the build folder is there for all others.
    """
    swapped = replace(exam, compared=Compared())
    swaps = exam.target.spec.accuracy.weight_swap != "off"
    other = await exam.swap(exam.random("swap").getrandbits(32)) if swaps else exam.target.model_dir
    await up.wait()
    if swaps:
        yield await _taken("J7", "other weights, another truth", _swapped(swapped, other))
    try:
        async with exam.serve(exam.target.model_dir) as server:
            idle, restart = await is_idle(server), Restart()
            await asked.wait()
            exam.compared.add(swapped.compared)
            yield await _taken(*RESTARTS, restart.answers(exam, server))
            work = conduct(exam, server, idle_at_first=idle, known=restart)
            yield await _taken("J8", "conduct beside answering", work)
            if exam.target.spec.programs.checker is not None:
                yield await _taken("checker", "the target's own checker", own_checker(exam, server))
    except ServerDied as death:
        yield await _taken(*RESTARTS, _died(death))


async def _swapped(exam: Exam, other: Path) -> Findings:
    async with exam.serve(other) as server:
        return await swapped_weights(exam, server, other)


async def _taken(identifier: str, title: str, work: Awaitable[Findings], began: float | None = None) -> JudgeStep:
    """A step, and how long it took; a process that does not start, or dies, fails it."""
    began = time.perf_counter() if began is None else began
    try:
        findings = await work
    except ServerDied as death:
        findings = await _died(death)
    return step_of(identifier, title, findings, 1000 * (time.perf_counter() - began))


async def _died(death: ServerDied) -> Findings:
    return Findings(tests=1, fault=str(death))


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


async def swapped_weights(exam: Exam, server: Server, model_dir: Path) -> Findings:
    """J7: started on perturbed weights it gives the answers of those weights: nothing is baked in."""
    findings = Findings()
    requests = exam.draw("swap", exam.sizes.weight_swap, tokens=SWAPPED_TOKENS)
    reports = await ask(exam, server, requests, concurrency=exam.full_batch)
    async with exam.reference.using(model_dir) as perturbed:
        await compare(replace(exam, reference=perturbed), requests, reports, findings)
    return findings


STARTS = ("J1", "starts from a fresh checkout")
RESTARTS = ("J6", "the same after a restart")
SERVED_STEPS: tuple[tuple[str, str, Step], ...] = (
    (*STARTS, started),
    ("J2", "HTTP contract", contract),
    ("J3", "held-out prompts", held_out),
    ("J4", "changed prompts", perturbed),
    ("J6", "alone, in a batch, in another order", batched),
    ("J5", "sampling", sampled),  # last, because no other process waits for it
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
