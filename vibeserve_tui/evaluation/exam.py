"""What a judgement needs: tree, truth, private draws; and how questions are asked.

Every question goes over HTTP with the client, headers, port and request shape of the timed run, so a server cannot tell
checking from timing. The seed is drawn for one judgement and journaled only after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Protocol

from vibeserve_tui.evaluation.answers import AnswerRules, fault_of
from vibeserve_tui.evaluation.load_plan import Call
from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.reference import ReferenceService
from vibeserve_tui.evaluation.told import Compared, Told, answer_rules
from vibeserve_tui.evaluation.workload import PlannedRequest, Workload
from vibeserve_tui.events import JudgeStep
from vibeserve_tui.execution.box import BoxResult, BoxSpec, Listener, ProcessInfo, Usage
from vibeserve_tui.inputs.profiles import JudgeSizes
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.safe_text import clean_line


class Server(Protocol):
    """A candidate that is up."""

    @property
    def health(self) -> Mapping[str, object]: ...

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as seen from a box beside it."""
        ...

    async def send(self, calls: Sequence[Call], *, concurrency: int) -> list[CallReport]:
        """Send the calls, at most `concurrency` at a time; one report per call, in order."""
        ...

    async def usage(self) -> Usage: ...

    async def processes(self) -> tuple[ProcessInfo, ...]:
        """The started command first."""
        ...

    async def listening(self) -> tuple[Listener, ...]: ...

    async def beside(self, name: str, spec: BoxSpec, timeout_s: float) -> BoxResult:
        """Run a program that reaches the server over the network and nothing else of it."""
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
    compared: Compared = field(default_factory=Compared)
    """The answers of all steps so far."""

    def anew(self, seed: int) -> Exam:
        """The same judgement with other questions, of which nothing was asked yet."""
        return replace(self, seed=seed, compared=Compared())

    @property
    def path(self) -> str:
        """The endpoint that carries the load."""
        return self.target.spec.endpoints[0].path

    @property
    def offers(self) -> Collection[str]:
        """Optional request fields that must work there."""
        return self.target.spec.endpoints[0].fields

    @property
    def rules(self) -> AnswerRules:
        return answer_rules(self.target, self.workload, self.reference)

    @property
    def full_batch(self) -> int:
        return self.target.spec.full_batch

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
    """Never a time: the same commit and seed give the same verdict to the byte, but for `took_ms`."""
    notes: list[str] = field(default_factory=list)
    """What is no fault, but worth a reviewer's look."""

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
) -> None:
    """Every answer complete and accounted for, and every token within the class of the reference's own choice."""
    rules = exam.rules
    for request, report in zip(requests, reports, strict=True):
        fault = fault_of(request, report, rules)
        findings.check(not fault, fault)
    if findings.fault:
        return
    told = [Told.of(request, report) for request, report in zip(requests, reports, strict=True)]
    statistics = await exam.compared.gaps(exam.reference, told)
    limits = exam.target.spec.accuracy.gap_limits
    beyond = statistics.beyond(limits)
    findings.check(not beyond, beyond)
    together = exam.compared.beyond(limits)
    findings.check(not together, together)
    findings.numbers |= statistics.numbers()


def step_of(identifier: str, title: str, findings: Findings, took_ms: float) -> JudgeStep:
    notes = f"; to look at: {'; '.join(findings.notes)}" if findings.notes else ""
    return JudgeStep(
        id=identifier,
        title=title,
        passed=not findings.fault,
        detail=clean_line(findings.fault or f"{findings.tests} tests{notes}"),  # a candidate's words are in it
        tests=findings.tests,
        took_ms=round(took_ms, 1),
        numbers={name: round(value, 6) for name, value in findings.numbers.items()},
    )
