"""J8: what a server does beside answering: stored answers, idle work, processes.

All of it is seen from outside the box, as CPU time, process tree and listening sockets. Times never enter a verdict as
figures, so that the same commit and seed give the same verdict.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from statistics import median

from vibeserve_tui.evaluation.batches import Restart, batch_requests, cpu_s_per_token
from vibeserve_tui.evaluation.exam import Exam, Findings, Server
from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.workload import PlannedRequest
from vibeserve_tui.execution.box import Listener, ProcessInfo

IDLE_S = 0.4
IDLE_SHARE = 0.05
"""Of one core; a server that waits uses less than a tenth of that."""
IDLE_LOOKS = 3
"""Work that was under way may come to its end; work that never ends shows in each look."""
STORED_SHARE = 0.5
"""Of the time of a new answer: one that is only looked up costs its writing, a tenth to a third."""
LONG = 4
"""Requests of the workload that are asked once more."""
TOKENS = 32
PROMPT_TOKENS = 16
"""Short, so that keeping the state of a prompt, which is allowed, saves next to nothing."""


async def is_idle(server: Server) -> bool:
    """Whether it does nothing, or soon ceases to."""
    for _ in range(IDLE_LOOKS):
        before, started = (await server.usage()).cpu_s, time.perf_counter()
        await asyncio.sleep(IDLE_S)
        busy = (await server.usage()).cpu_s - before
        if busy <= IDLE_SHARE * (time.perf_counter() - started):
            return True
    return False


async def conduct(exam: Exam, server: Server, *, idle_at_first: bool, known: Restart) -> Findings:
    """`known`: what this process took for requests that an earlier one of the same commit had answered."""
    findings = Findings()
    findings.check(idle_at_first, "it is busy before it is asked anything")
    await _repeats(exam, server, known, findings)
    findings.check(await is_idle(server), "it is busy after the last answer")
    check_tree(await server.processes(), await server.listening(), server.address[1], findings)
    return findings


async def _repeats(exam: Exam, server: Server, known: Restart, findings: Findings) -> None:
    """Answers to the same prompts again, and to those of an earlier process, cost as much as the first time.

    And take as long: CPU time can be burned beside them. Of the workload's own requests, which this process has answered
    before, the state of the prompts may be kept: they cost what a new short one does, or their own tokens did behind the
    first, which are cheaper where they can be guessed.
    """
    step_s, of_all = _steps(known.reports[:LONG])
    for trial in ("repeats", "repeats once more"):  # a machine that stumbled once is no evidence
        requests = _short_requests(exam, trial)
        new_s, new = await cpu_s_per_token(exam, server, requests)
        again = [await cpu_s_per_token(exam, server, requests) for _ in range(2)]
        again_s, repeated = min(cpu_s for cpu_s, _ in again), [report for _, reports in again for report in reports]
        stored, carried = again_s < STORED_SHARE * new_s, known.known_s_per_token < STORED_SHARE * new_s
        at_once = median(s_per_token(repeated)) < STORED_SHARE * min(s_per_token(new))
        long_s, long = await cpu_s_per_token(exam, server, batch_requests(exam)[:LONG])
        kept = long_s < STORED_SHARE * min(new_s, of_all * known.known_s_per_token)
        kept = kept or median(s_per_token(long)) < STORED_SHARE * min(step_s, *s_per_token(new))
        if not (stored or carried or at_once or kept):
            break
    findings.check(not stored, "a repeated request costs less than half the CPU time of a new one")
    findings.check(not at_once, "a repeated request takes less than half the time of a new one")
    findings.check(
        not carried, "requests that an earlier process answered cost less than half the CPU time of new ones"
    )
    findings.check(not kept, "a repeated request of the workload costs less than half of a new short one")


def _steps(reports: Sequence[CallReport]) -> tuple[float, float]:
    """Seconds per token behind the first, and the share that all of them have of the whole time; endless for none."""
    timed = [(report.t_sent, report.chunk_t) for report in reports if report.t_sent is not None and report.chunk_t]
    behind = sum(times[-1] - times[0] for _, times in timed)
    whole = sum(times[-1] - sent for sent, times in timed)
    tokens = sum(len(times) - 1 for _, times in timed)
    return (behind / tokens, behind / whole) if behind else (math.inf, math.inf)


def s_per_token(reports: Sequence[CallReport]) -> list[float]:
    """From the question to its last token, for each of them; endless for one that got none."""
    return [
        (report.chunk_t[-1] - report.t_sent) / len(report.chunk_t)
        if report.chunk_t and report.t_sent is not None
        else math.inf
        for report in reports
    ]


def _short_requests(exam: Exam, step: str) -> list[PlannedRequest]:
    random, corpus = exam.random(step), exam.workload.corpus
    prompts = [exam.workload.prompt(random, corpus.overhead + PROMPT_TOKENS) for _ in range(exam.sizes.repeats)]
    ignore_eos = exam.target.spec.workload.ignore_eos
    return [PlannedRequest(ids, corpus.text(ids), TOKENS, ignore_eos=ignore_eos) for ids in prompts]


def check_tree(processes: Sequence[ProcessInfo], listening: Sequence[Listener], port: int, findings: Findings) -> None:
    """Everything that runs hangs below the started command, nothing was made to outlive it, which is what sessions of
    their own are for, and nothing but the server's port is listened on.
    """
    known = {process.pid for process in processes}
    sessions = {0, *(process.session for process in processes[:1])}
    strays = [one for one in processes[1:] if one.parent not in known or one.session not in sessions]
    findings.check(not strays, f"a process has left the server's: {strays[0].command[:80]}" if strays else "")
    others = [one for one in listening if one.port != port or not one.protocol.startswith("tcp")]
    findings.check(not others, f"it listens on {others[0].protocol} port {others[0].port} too" if others else "")
    findings.check(any(one.port == port for one in listening), f"none of its processes listens on port {port}")
