"""J6: an answer depends on nobody else who is served, on no order, on no restart.

The same requests are asked alone, within a full batch, in another order among clients that hang up, and of a second
process. On a busy machine requests that were sent at once need not meet: a full batch is asked again until they did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from vibeserve_tui.evaluation.exam import Exam, Findings, Server, ask, compare
from vibeserve_tui.evaluation.load_plan import Call
from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.streaming import kept_back
from vibeserve_tui.evaluation.told import Told
from vibeserve_tui.evaluation.workload import PlannedRequest

TOKENS = 24
TOGETHER = 64
"""Tokens of an answer in a full batch: arithmetic that is a little off there shows only where two tokens are nearly alike."""
FULLEST = 32
"""Requests for a full batch at most: a server that takes them one by one has to come to an end too."""
LOOKS = 4
"""How often a full batch is asked for at most: a server may have fewer places than its target has clients."""
LEAVE_AFTER = 3
"""Events that a client waits for before it hangs up."""


def batch_requests(exam: Exam, tokens: int = TOKENS) -> tuple[PlannedRequest, ...]:
    """The same for every process of a judgement."""
    count = max(exam.sizes.batch_invariance, exam.target.spec.accuracy.battery.batch_invariance)
    return exam.draw("batch", count, tokens=tokens)


async def batched(exam: Exam, server: Server) -> Findings:
    """Alone, within a full batch, and in another order among clients that hang up."""
    findings, requests = Findings(), batch_requests(exam)
    alone = await ask(exam, server, requests, concurrency=1)
    together = await met(exam, server, crowd(exam))
    order = exam.random("batch").sample(range(len(requests)), len(requests))
    permuted = [requests[i] for i in order]
    disturbed = await _among_leavers(exam, server, permuted)
    asked = [*zip(requests, alone, strict=True), *together, *zip(permuted, disturbed, strict=True)]
    await compare(exam, [request for request, _ in asked], [report for _, report in asked], findings)
    late = kept_back([*zip(requests, alone, strict=True)], together)
    findings.check(not late, late)
    return findings


def crowd(exam: Exam) -> tuple[PlannedRequest, ...]:
    """The same requests and others, for longer answers: twice a full batch, which stays full for a while."""
    requests = batch_requests(exam, TOGETHER)
    return (*requests, *exam.draw("crowd", min(2 * exam.full_batch, FULLEST) - len(requests), tokens=TOGETHER))


async def met(
    exam: Exam, server: Server, requests: Sequence[PlannedRequest]
) -> list[tuple[PlannedRequest, CallReport]]:
    """As many at once as the target has clients, again and again until there was a moment at which so many were being
    answered.

    What a later look answers just as the first one did is left out: how often it took depends on the machine.
    """
    asked: list[tuple[PlannedRequest, CallReport]] = []
    known: set[Told] = set()
    concurrency = min(exam.full_batch, len(requests))
    for _ in range(LOOKS):
        reports = await ask(exam, server, requests, concurrency=concurrency)
        for request, report in zip(requests, reports, strict=True):
            if len(asked) < len(requests) or not report.ok or Told.of(request, report) not in known:
                asked.append((request, report))
                known.add(Told.of(request, report))
        if at_once(reports) in (1, concurrency):  # one by one: this server knows no batch
            break
    return asked


def at_once(reports: Sequence[CallReport]) -> int:
    """How many were between their first and their last token at the same moment."""
    spans = [(report.chunk_t[0], report.chunk_t[-1]) for report in reports if report.chunk_t]
    return max((sum(first <= now <= last for first, last in spans) for now, _ in spans), default=0)


async def _among_leavers(exam: Exam, server: Server, requests: Sequence[PlannedRequest]) -> list[CallReport]:
    """Fewer clients than requests, others gone early between them: what those leave behind is taken over by the next.

    They are as many as a full batch, so that a server which keeps a place for each of them has none left.
    """
    count = max(exam.full_batch, len(requests))
    leavers = exam.draw("leavers", count, tokens=2 * TOKENS)
    leaving = [
        replace(one.call(f"leaving {number}", exam.path), cancel_after=LEAVE_AFTER)
        for number, one in enumerate(leavers)
    ]
    calls: list[Call] = []
    for number, request in enumerate(requests):
        calls += leaving[number * count // len(requests) : (number + 1) * count // len(requests)]
        calls.append(request.call(f"q{number}", exam.path))
    reports = await server.send(calls, concurrency=max(2, len(requests) // 2))
    return [report for call, report in zip(calls, reports, strict=True) if call.cancel_after is None]


async def cpu_s_per_token(
    exam: Exam, server: Server, requests: Sequence[PlannedRequest]
) -> tuple[float, list[CallReport]]:
    """CPU time of the whole box for requests one after the other, and their answers."""
    before = (await server.usage()).cpu_s
    reports = await ask(exam, server, requests, concurrency=1)
    spent = (await server.usage()).cpu_s - before
    return spent / max(1, sum(len(report.token_ids) for report in reports)), reports


@dataclass(slots=True)
class Restart:
    """A second process of the commit is asked what the first one was asked; what else is seen of it then."""

    known_s_per_token: float = 0.0
    """CPU time for requests that the first process has answered."""
    reports: list[CallReport] = field(default_factory=list)
    """Their answers."""

    async def answers(self, exam: Exam, server: Server) -> Findings:
        findings, requests = Findings(), batch_requests(exam)
        self.known_s_per_token, self.reports = await cpu_s_per_token(exam, server, requests)
        await compare(exam, requests, self.reports, findings)
        return findings
