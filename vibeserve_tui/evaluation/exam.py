"""What a judgement needs: the tree, a way to serve it, the truth, and private draws; and how questions are asked.

Every question goes over HTTP with the client, headers, port and request shape of the timed run, so a server cannot tell
checking from timing. The seed is drawn for one judgement and journaled only after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Protocol

from vibeserve_tui.evaluation.gaps import GapStatistics
from vibeserve_tui.evaluation.load_plan import Call
from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.reference import ReferenceService
from vibeserve_tui.evaluation.workload import PlannedRequest, Workload
from vibeserve_tui.events import JudgeStep
from vibeserve_tui.inputs.profiles import JudgeSizes
from vibeserve_tui.inputs.target import LoadedTarget


class Server(Protocol):
    """A candidate that is up."""

    @property
    def health(self) -> Mapping[str, object]: ...

    async def send(self, calls: Sequence[Call], *, concurrency: int) -> list[CallReport]:
        """Send the calls, at most `concurrency` at a time; one report per call, in order."""
        ...


Serve = Callable[[Path], AbstractAsyncContextManager[Server]]
"""Starts the tree that is judged, fresh, on the weights in the given folder."""


@dataclass(frozen=True, slots=True)
class Exam:
    """One judgement of one commit."""

    target: LoadedTarget
    workload: Workload
    reference: ReferenceService
    sizes: JudgeSizes
    commit: str
    tree: str
    folder: Path
    """A checkout of the commit, for the static look; never served from."""
    serve: Serve
    swap: Callable[[int], Awaitable[Path]]
    """Other weights, made from a seed."""
    seed: int
    trusted_digest: str
    """The target's digest when the run started."""

    @property
    def path(self) -> str:
        """The endpoint that carries the load."""
        return self.target.spec.endpoints[0].path

    @property
    def max_tokens_per_chunk(self) -> int:
        return self.target.spec.endpoints[0].max_tokens_per_chunk

    @property
    def full_batch(self) -> int:
        """The highest concurrency that any level asks for."""
        return max(getattr(level, "concurrency", None) or 1 for level in self.target.spec.levels)

    def random(self, step: str) -> Random:
        return Random(f"{self.seed}:{step}")

    def draw(self, step: str, count: int, *, tokens: int | None = None) -> tuple[PlannedRequest, ...]:
        """Held-out requests of the declared distribution, no two steps the same; `tokens` caps the answers."""
        seed = self.random(step).getrandbits(48)
        requests = self.workload.draw(seed, count)
        return requests if tokens is None else tuple(shortened(request, tokens) for request in requests)


def shortened(request: PlannedRequest, tokens: int) -> PlannedRequest:
    return replace(request, max_tokens=min(tokens, request.max_tokens))


@dataclass(slots=True)
class Findings:
    """What one step saw; the first fault decides, the rest is not looked at."""

    tests: int = 0
    fault: str = ""
    numbers: dict[str, float] = field(default_factory=dict)

    def check(self, holds: bool, fault: str) -> bool:
        self.tests += 1
        if not holds and not self.fault:
            self.fault = fault
        return holds


Step = Callable[[Exam, Server], Awaitable[Findings]]


async def ask(exam: Exam, server: Server, requests: Sequence[PlannedRequest], *, concurrency: int) -> list[CallReport]:
    calls = [request.call(f"q{number}", exam.path) for number, request in enumerate(requests)]
    return await server.send(calls, concurrency=concurrency)


async def compare(
    exam: Exam, requests: Sequence[PlannedRequest], reports: Sequence[CallReport], findings: Findings
) -> GapStatistics:
    """Every answer complete and accounted for, and every token within the class of the reference's own choice."""
    for request, report in zip(requests, reports, strict=True):
        findings.check(not accounting_fault(exam, request, report), accounting_fault(exam, request, report))
    answers = [(request.prompt_ids, report.token_ids) for request, report in zip(requests, reports, strict=True)]
    told = [answer for answer in answers if answer[1]]
    statistics = GapStatistics.of(await exam.reference.gaps_many(told))
    beyond = statistics.beyond(exam.target.spec.accuracy.gap_limits)
    findings.check(not beyond, beyond)
    findings.numbers |= statistics.numbers()
    return statistics


def accounting_fault(exam: Exam, request: PlannedRequest, report: CallReport) -> str:
    """Why an answer's length, usage or chunks are not what was asked for; "" when all is in order."""
    if not report.ok:
        return f"{report.id}: {report.error} {report.detail}".rstrip()
    n = len(report.token_ids)
    if request.ignore_eos and n != request.max_tokens:
        return f"{report.id}: {n} tokens where {request.max_tokens} were asked for"
    if report.usage is None or report.usage.completion_tokens != n:
        return f"{report.id}: usage says {report.usage and report.usage.completion_tokens}, {n} ids were delivered"
    if report.usage.prompt_tokens != len(request.prompt_ids):
        return f"{report.id}: usage counts {report.usage.prompt_tokens} prompt tokens of {len(request.prompt_ids)}"
    if any(len(ids) > exam.max_tokens_per_chunk for ids in report.chunk_ids):
        return f"{report.id}: a chunk carries more than {exam.max_tokens_per_chunk} token(s)"
    return ""


def step_of(identifier: str, title: str, findings: Findings, took_ms: float) -> JudgeStep:
    detail = findings.fault or f"{findings.tests} tests"
    return JudgeStep(
        id=identifier,
        title=title,
        passed=not findings.fault,
        detail=detail,
        tests=findings.tests,
        took_ms=round(took_ms, 1),
        numbers={name: round(value, 6) for name, value in findings.numbers.items()},
    )
