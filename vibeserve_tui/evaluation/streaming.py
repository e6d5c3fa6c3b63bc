"""Do tokens come as they are made? An answer that is kept back and written at its end is no stream.

Pure: requests beside their reports. How long a token takes is learned from the server itself, so none is too slow or
too fast. Only the second half of an answer is looked at: it is nowhere near the time that a prompt or a queue takes.
"""

from __future__ import annotations

from collections.abc import Sequence

from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.workload import PlannedRequest

SLACK = 0.25
"""Of the time that tokens should take. Several steps to a write, or several tokens to a step, stay far above it."""
LEAST_CHUNKS = 8
LEAST_ANSWERS = 4
"""Fewer, or shorter ones, say nothing: a client that was late once reads two tokens at a time."""

Asked = Sequence[tuple[PlannedRequest, CallReport]]


def kept_back(alone: Asked, among: Asked) -> str:
    """What shows that tokens were kept back; "" where nothing does.

    `alone` were asked one after the other, `among` others. Most of the answers have to show it.
    """
    alone, among = [list(filter(_is_telling, asked)) for asked in (alone, among)]
    if _are_most([_step_s(report) < SLACK * _least_step_s(request, report) for request, report in alone]):
        return "tokens come at the end of their answer, not as they are made"
    quickest = min((_step_s(report) for _, report in alone), default=0.0)
    if _are_most([_step_s(report) < SLACK * quickest for _, report in among]):
        return "among others, tokens come at the end of their answer, not as they are made"
    return ""


def _is_telling(asked: tuple[PlannedRequest, CallReport]) -> bool:
    _, report = asked
    return report.t_sent is not None and len(report.chunk_t) >= LEAST_CHUNKS and report.chunk_t[-1] > report.t_sent


def _step_s(report: CallReport) -> float:
    """From chunk to chunk, in the second half of an answer."""
    middle = len(report.chunk_t) // 2
    return (report.chunk_t[-1] - report.chunk_t[middle]) / (len(report.chunk_t) - 1 - middle)


def _least_step_s(request: PlannedRequest, report: CallReport) -> float:
    """If each token of the prompt took as long as one of the answer: it never takes longer."""
    assert report.t_sent is not None, "it would not be telling"
    return (report.chunk_t[-1] - report.t_sent) / (len(request.prompt_ids) + len(report.chunk_t))


def _are_most(signs: Sequence[bool]) -> bool:
    return len(signs) >= LEAST_ANSWERS and 2 * sum(signs) > len(signs)
