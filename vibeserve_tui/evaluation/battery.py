"""The Accuracy Judge's deterministic battery: cheap steps first, the first hard fault ends it.

J0 integrity · J1 start · J2 contract · J3 held-out prompts · J4 changed prompts · J6 alone and in a batch · J7 other
weights. (J9, the answers of the timed run itself, is checked where they are timed.) No model's opinion enters, and
nothing the candidate prints is believed: tokens are compared with the reference, position by position.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.contract import contract
from vibeserve_tui.evaluation.exam import Exam, Findings, Server, Step, ask, compare, step_of
from vibeserve_tui.evaluation.side import ServerDied
from vibeserve_tui.evaluation.workload import Position, perturb
from vibeserve_tui.events import JudgeStep, Verdict
from vibeserve_tui.execution.guard import tree_faults
from vibeserve_tui.inputs.target_files import tree_digest

Progress = Callable[[JudgeStep], None]


async def judge(exam: Exam, progress: Progress) -> Verdict:
    """The verdict on one commit. MeasurementError from the reference's side means void: nobody was judged."""
    steps: list[JudgeStep] = []

    async def run(identifier: str, title: str, work: Awaitable[Findings]) -> bool:
        started = time.perf_counter()
        try:
            findings = await work
        except ServerDied as death:
            findings = Findings(tests=1, fault=str(death))
        step = step_of(identifier, title, findings, 1000 * (time.perf_counter() - started))
        steps.append(step)
        progress(step)
        return step.passed

    try:
        sound = await run("J0", "integrity of tree and target", integrity(exam)) and await _on_own_weights(exam, run)
        if sound and exam.target.spec.accuracy.weight_swap != "off":
            await run("J7", "other weights, another truth", swapped_weights(exam))
    except MeasurementError as fault:
        return _verdict(exam, steps, void=str(fault))
    return _verdict(exam, steps)


Run = Callable[[str, str, Awaitable[Findings]], Awaitable[bool]]


async def _on_own_weights(exam: Exam, run: Run) -> bool:
    """All steps that share one server process."""
    try:
        async with exam.serve(exam.target.model_dir) as server:
            for identifier, title, step in SERVED_STEPS:
                if not await run(identifier, title, step(exam, server)):
                    return False
    except ServerDied as death:
        await run("J1", "starts from a fresh checkout", _died(str(death)))
        return False
    return True


async def _died(reason: str) -> Findings:
    return Findings(tests=1, fault=reason)


# ---- the steps ----------------------------------------------------------------------------------------------------


async def integrity(exam: Exam) -> Findings:
    """J0: the target is the one the run started with, and the tree holds nothing that a tree may not hold."""
    findings = Findings()
    findings.check(
        tree_digest(exam.target.root) == exam.trusted_digest, "the target's files changed since the run began"
    )
    for fault in tree_faults(exam.folder) or [""]:
        findings.check(not fault, fault)
    return findings


async def started(exam: Exam, server: Server) -> Findings:
    """J1: it is up, warm, and says that it serves this commit."""
    findings = Findings()
    findings.check(server.health.get("status") == "ready", f"/health says status {server.health.get('status')!r}")
    findings.check(server.health.get("commit") == exam.commit, f"/health says commit {server.health.get('commit')!r}")
    return findings


async def held_out(exam: Exam, server: Server) -> Findings:
    """J3: prompts nobody has seen, all at once, every position compared; the longest declared ones among them."""
    findings = Findings()
    count = max(exam.sizes.held_out, exam.target.spec.accuracy.battery.held_out)
    requests = exam.draw("held-out", count, tokens=exam.sizes.held_out_tokens)
    reports = await ask(exam, server, requests, concurrency=exam.full_batch)
    await compare(exam, requests, reports, findings)
    return findings


async def perturbed(exam: Exam, server: Server) -> Findings:
    """J4: a prompt changed at its first, middle or last token has another answer, also right after the original."""
    findings = Findings()
    count = max(exam.sizes.perturb, exam.target.spec.accuracy.battery.perturb)
    originals = exam.draw("perturb", -(-count // len(Position)), tokens=16)
    vocabulary = sorted({token for request in originals for token in request.prompt_ids if token > 5})
    random = exam.random("perturb")
    requests = [
        changed
        for request in originals
        for position in Position
        for changed in (request, replace(request, prompt_ids=perturb(request.prompt_ids, position, vocabulary, random)))
    ]
    reports = await ask(exam, server, requests, concurrency=1)
    await compare(exam, requests, reports, findings)
    return findings


async def batched(exam: Exam, server: Server) -> Findings:
    """J6: an answer does not depend on who else is being served, nor on the order they came in."""
    findings = Findings()
    count = max(exam.sizes.batch_invariance, exam.target.spec.accuracy.battery.batch_invariance)
    requests = list(exam.draw("batch", count, tokens=24))
    alone = await ask(exam, server, requests, concurrency=1)
    together = await ask(exam, server, requests, concurrency=exam.full_batch)
    order = exam.random("batch").sample(range(count), count)
    permuted = await ask(exam, server, [requests[i] for i in order], concurrency=exam.full_batch)
    await compare(exam, requests, alone, findings)
    await compare(exam, requests, together, findings)
    await compare(exam, [requests[i] for i in order], permuted, findings)
    return findings


async def swapped_weights(exam: Exam) -> Findings:
    """J7: restarted on perturbed weights it gives the answers of those weights: nothing is baked in."""
    findings = Findings()
    other = await exam.swap(exam.random("swap").getrandbits(32))
    requests = exam.draw("swap", exam.sizes.weight_swap, tokens=24)
    async with exam.serve(other) as server:
        reports = await ask(exam, server, requests, concurrency=exam.full_batch)
    async with exam.reference.using(other):
        await compare(exam, requests, reports, findings)
    return findings


SERVED_STEPS: tuple[tuple[str, str, Step], ...] = (
    ("J1", "starts from a fresh checkout", started),
    ("J2", "HTTP contract", contract),
    ("J3", "held-out prompts", held_out),
    ("J4", "changed prompts", perturbed),
    ("J6", "alone and in a batch", batched),
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
