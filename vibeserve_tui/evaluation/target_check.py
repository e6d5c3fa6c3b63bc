"""`target check`, the live part: the seed must be right, and the comparison must catch a cheat.

Gates that let canned, echoed or cut answers pass are the commonest defect of published targets.
Noise is not measured here: the gate does that when a run begins.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, Sequence

from vibeserve_tui.evaluation.exam import Exam, Findings, Server, ask, compare, step_of
from vibeserve_tui.evaluation.load_report import CallReport, Usage
from vibeserve_tui.evaluation.side import ServerDied
from vibeserve_tui.evaluation.workload import PlannedRequest
from vibeserve_tui.events import JudgeStep

PROMPTS = 8
TOKENS = 32
LEAST_DISTINCT = 8
"""Different tokens among TOKENS, below which one guess would do for an answer."""
REQUESTS_PER_ENDPOINT = 2


async def check_target(exam: Exam, progress: Callable[[JudgeStep], None]) -> tuple[JudgeStep, ...]:
    """The seed as a candidate, then the reference's answers as they are and spoiled; `exam.serve` starts the seed."""
    steps: list[JudgeStep] = []

    async def run(title: str, work: Awaitable[Findings]) -> None:
        started = time.perf_counter()
        findings = await work
        steps.append(step_of(f"T{len(steps) + 1}", title, findings, 1000 * (time.perf_counter() - started)))
        progress(steps[-1])

    try:
        async with exam.serve(exam.target.model_dir) as server:
            await run("the seed answers on every endpoint", every_endpoint(exam, server))
            await run("the seed agrees with the reference", held_out(exam, server))
    except ServerDied as death:
        await run("the seed starts and stays up", _died(str(death)))
    requests = exam.draw("target check", PROMPTS, tokens=TOKENS)
    right = await _right_answers(exam, requests)
    await run("the reference says varied things and agrees with itself", honest(exam, requests, right))
    for name, spoiled in cheats(requests, right).items():
        await run(f"{name} answers are rejected", rejected(exam, requests, spoiled))
    return tuple(steps)


def cheats(requests: Sequence[PlannedRequest], right: Sequence[Sequence[int]]) -> dict[str, list[list[int]]]:
    """What servers would answer that say always the same, repeat the prompt, or do half of the work."""
    return {
        "canned": [_of_length(len(ids), right[0]) for ids in right],
        "echoed": [_of_length(len(ids), request.prompt_ids) for request, ids in zip(requests, right, strict=True)],
        "truncated": [list(ids[: len(ids) // 2]) for ids in right],
    }


def _of_length(length: int, ids: Sequence[int]) -> list[int]:
    return list(itertools.islice(itertools.cycle(ids), length))


async def every_endpoint(exam: Exam, server: Server) -> Findings:
    findings = Findings()
    requests = exam.draw("endpoints", REQUESTS_PER_ENDPOINT, tokens=TOKENS)
    for endpoint in exam.target.spec.endpoints:
        calls = [request.call(f"{endpoint.path} {number}", endpoint.path) for number, request in enumerate(requests)]
        for report in await server.send(calls, concurrency=1):
            findings.check(report.ok, f"{report.id}: {report.error} {report.detail}".rstrip())
            findings.check(bool(report.token_ids), f"{report.id}: no token id was delivered")
    return findings


async def held_out(exam: Exam, server: Server) -> Findings:
    findings = Findings()
    requests = exam.draw("held-out", PROMPTS, tokens=TOKENS)
    await compare(exam, requests, await ask(exam, server, requests, concurrency=1), findings)
    return findings


async def honest(exam: Exam, requests: Sequence[PlannedRequest], right: Sequence[Sequence[int]]) -> Findings:
    findings = Findings()
    for request, ids in zip(requests, right, strict=True):
        least = min(LEAST_DISTINCT, len(ids))
        findings.check(
            len(set(ids)) >= least,
            f"{len(set(ids))} distinct tokens in {len(ids)} after a prompt of {len(request.prompt_ids)}: use a trained model",
        )
    await compare(exam, requests, _reports(requests, right), findings)
    return findings


async def rejected(exam: Exam, requests: Sequence[PlannedRequest], spoiled: Sequence[Sequence[int]]) -> Findings:
    """The comparison that every candidate goes through, on spoiled answers: here it has to find a fault."""
    comparison = Findings()
    await compare(exam, requests, _reports(requests, spoiled), comparison)
    findings = Findings(numbers=comparison.numbers)
    findings.check(bool(comparison.fault), "they pass: this target's comparison would let a cheat through")
    return findings


async def _right_answers(exam: Exam, requests: Sequence[PlannedRequest]) -> list[list[int]]:
    """Greedy, to the end of the text unless the workload goes on past it."""
    answers = await exam.reference.greedy_many([(request.prompt_ids, request.max_tokens) for request in requests])
    ends = set() if exam.target.spec.workload.ignore_eos else set(exam.reference.end_ids)
    return [list(itertools.takewhile(lambda token: token not in ends, answer)) for answer in answers]


def _reports(requests: Sequence[PlannedRequest], answers: Sequence[Sequence[int]]) -> list[CallReport]:
    """What the load generator would have reported of a server that answers so, with its books in order."""
    return [
        CallReport(
            id=f"q{number}",
            t_sched=0.0,
            chunk_t=[0.0] * len(ids),
            chunk_ids=[[token] for token in ids],
            chunk_text=[""] * len(ids),
            finish_reason="length",
            usage=Usage(prompt_tokens=len(request.prompt_ids), completion_tokens=len(ids)),
        )
        for number, (request, ids) in enumerate(zip(requests, answers, strict=True))
    ]


async def _died(reason: str) -> Findings:
    return Findings(tests=1, fault=reason)
