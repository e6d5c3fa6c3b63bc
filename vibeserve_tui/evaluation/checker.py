"""The target's own accuracy checker: a user's program that a candidate must pass too.

Its exit status and the records that it writes decide; what it prints is for people. A checker that contradicts itself,
breaks the rules of its records or fails to run condemns nobody: then nothing was judged.
"""

from __future__ import annotations

from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.exam import Exam, Findings, Server
from vibeserve_tui.evaluation.programs import MAX_DETAIL, Ended, run_program
from vibeserve_tui.evaluation.records import Declared, Stream, StreamVoid, read_stream


async def own_checker(exam: Exam, server: Server) -> Findings:
    """Run it, once more if it asks for that; raises MeasurementError where it says nothing that can be believed."""
    try:
        return judged(await _run(exam, server), exam)
    except StreamVoid as void:
        if not void.retryable:
            raise
    return judged(await _run(exam, server), exam)


async def _run(exam: Exam, server: Server) -> Ended:
    draw, level = exam.random("checker").getrandbits(31), exam.target.spec.levels[0].id
    return await run_program(exam.target, server, "checker", draw=draw, level=level)


def judged(ended: Ended, exam: Exam) -> Findings:
    if ended.box.killed is not None:
        raise MeasurementError(f"the target's checker was ended: {ended.box.killed}")
    if ended.box.returncode not in (0, 1):
        raise MeasurementError(f"the target's checker failed: {ended.last_words}")
    passed = ended.box.returncode == 0
    findings = Findings()
    if ended.written is None:
        findings.check(passed, f"it says no: {ended.last_words}")
        return findings
    declared = Declared({}, tuple(level.id for level in exam.target.spec.levels))
    stream = read_stream(ended.written, "checker", declared)
    for check in stream.checks:
        findings.check(check.passed, f"{check.id}: {check.detail}"[:MAX_DETAIL])
    _agree(passed, stream, findings)
    findings.check(passed, "it says no, and not why")
    return findings


def _agree(passed: bool, stream: Stream, findings: Findings) -> None:
    """Protocol 2 has no verdict: there the exit status speaks alone."""
    told = stream.verdict
    if (told is not None and passed != (told == "pass")) or (passed and findings.fault):
        raise StreamVoid("CONTRADICTION", "the checker's exit status, checks and verdict disagree")
