"""`target check`, the live part: the seed passes the judge, and the judge's comparison catches a cheat.

Gates that let canned, echoed or cut answers pass are the commonest defect of published targets.
Noise is not measured here: the gate does that when a run begins.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from vibeserve_tui.evaluation.battery import Progress, judge
from vibeserve_tui.evaluation.exam import Exam, Findings, compare, step_of
from vibeserve_tui.evaluation.load_report import CallReport, Usage
from vibeserve_tui.evaluation.reference import ReferenceService, reference_command, spawn_boxed
from vibeserve_tui.evaluation.testbed import Testbed
from vibeserve_tui.evaluation.weight_swap import swap_weights
from vibeserve_tui.evaluation.workload import PlannedRequest, Workload
from vibeserve_tui.events import JudgeStep
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.inputs.profiles import JudgeSizes
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.state.workspace import Store

PROMPTS = 8
TOKENS = 32
LEAST_DISTINCT = 8
"""Different tokens among TOKENS, below which one guess would do for an answer."""


async def check_target(exam: Exam, progress: Progress) -> tuple[JudgeStep, ...]:
    """The seed's whole judgement, then the reference's own answers, as they are and spoiled."""
    steps = list((await judge(exam, progress)).steps)
    numbers = itertools.count(1)

    async def run(title: str, work: Awaitable[Findings]) -> None:
        started = time.perf_counter()
        findings = await work
        steps.append(step_of(f"T{next(numbers)}", title, findings, 1000 * (time.perf_counter() - started)))
        progress(steps[-1])

    requests = exam.draw("target check", PROMPTS, tokens=TOKENS)
    right = await _right_answers(exam, requests)
    await run("the reference says varied things and agrees with itself", honest(exam, requests, right))
    for name, answers in cheats(requests, right).items():
        await run(f"{name} answers are rejected", rejected(exam, requests, answers))
    return tuple(steps)


async def honest(exam: Exam, requests: Sequence[PlannedRequest], right: Sequence[Sequence[int]]) -> Findings:
    findings = Findings()
    for request, ids in zip(requests, right, strict=True):
        found, prompt = len(set(ids)), len(request.prompt_ids)
        fault = f"{found} distinct tokens in {len(ids)} after a prompt of {prompt}: the model is not trained enough"
        findings.check(found >= min(LEAST_DISTINCT, len(ids)), fault)
    await compare(exam, requests, _reports(exam, requests, right), findings)
    return findings


async def rejected(exam: Exam, requests: Sequence[PlannedRequest], spoiled: Sequence[Sequence[int]]) -> Findings:
    """The comparison that every candidate goes through, on spoiled answers: here it has to find a fault."""
    comparison = Findings()
    await compare(exam, requests, _reports(exam, requests, spoiled), comparison)
    findings = Findings(numbers=comparison.numbers)
    findings.check(bool(comparison.fault), "they pass: this target's comparison would let a cheat through")
    return findings


def cheats(requests: Sequence[PlannedRequest], right: Sequence[Sequence[int]]) -> dict[str, list[list[int]]]:
    """What servers would answer that say always the same, repeat the prompt, or do half of the work."""
    return {
        "canned": [_of_length(len(ids), right[0]) for ids in right],
        "echoed": [_of_length(len(ids), request.prompt_ids) for request, ids in zip(requests, right, strict=True)],
        "truncated": [list(ids[: len(ids) // 2]) for ids in right],
    }


def _of_length(length: int, ids: Sequence[int]) -> list[int]:
    return list(itertools.islice(itertools.cycle(ids), length))


async def _right_answers(exam: Exam, requests: Sequence[PlannedRequest]) -> list[list[int]]:
    """Greedy, to the end of the text unless the workload goes on past it."""
    answers = await exam.reference.greedy_many([(request.prompt_ids, request.max_tokens) for request in requests])
    ends = set() if exam.target.spec.workload.ignore_eos else set(exam.reference.end_ids)
    return [list(itertools.takewhile(lambda token: token not in ends, answer)) for answer in answers]


def _reports(exam: Exam, requests: Sequence[PlannedRequest], answers: Sequence[Sequence[int]]) -> list[CallReport]:
    """What the load generator would report of a server that answers so, with its books in order."""
    return [
        CallReport(
            id=f"q{number}",
            t_sched=0.0,
            chunk_t=[0.0] * len(ids),
            chunk_ids=[[token] for token in ids],
            chunk_text=[exam.rules.decode(list(ids)), *[""] * (len(ids) - 1)],
            finish_reason="length" if len(ids) == request.max_tokens else "stop",
            usage=Usage(prompt_tokens=len(request.prompt_ids), completion_tokens=len(ids)),
        )
        for number, (request, ids) in enumerate(zip(requests, answers, strict=True))
    ]


@asynccontextmanager
async def seed_exam(  # noqa: PLR0913 - what a server runs in, by name
    launcher: Launcher,
    target: LoadedTarget,
    directory: RunDir,
    *,
    backend: str,
    env: Mapping[str, str],
    devices: tuple[Path, ...] = (),
) -> AsyncIterator[Exam]:
    """The seed as a candidate: a copy of the target, a store with one commit and a reference in a new run directory."""
    directory.create()
    copy = target.copied(directory.path / "target")
    seed = copy.file(copy.spec.seed)
    store = Store(directory.store)
    now = int(time.time())
    commit = store.snapshot(seed, ref="attempts/000/1", parent=None, message="the target's seed server", when=now)
    swaps, logs = directory.path / "swaps", directory.path / "logs"
    swaps.mkdir()
    logs.mkdir()
    testbed = Testbed(launcher, store, directory, copy, backend, env, devices)
    workload = Workload.load(copy)
    command = reference_command(copy, swaps=swaps)
    log = logs / "reference.log"
    reference = await ReferenceService.start(command, copy.model_dir, log=log, spawn=spawn_boxed(launcher))

    async def other_weights(seed: int) -> Path:
        prompts = [request.prompt_ids for request in workload.draw(seed, PROMPTS)]
        exact_in = copy.spec.model.exact_in
        swap = await swap_weights(reference, swaps / str(seed), seed=seed, prompts=prompts, exact_in=exact_in)
        return swap.model_dir

    try:
        yield Exam(
            target=copy,
            workload=workload,
            reference=reference,
            sizes=JudgeSizes(),
            commit=commit.sha,
            tree=commit.tree,
            folder=seed,
            serve=lambda model_dir: testbed.serve(commit.sha, model_dir),
            swap=other_weights,
            seed=secrets.randbits(63),
            trusted_digest=copy.digest,
        )
    finally:
        await reference.close()
