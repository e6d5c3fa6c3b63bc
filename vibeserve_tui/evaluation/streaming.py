"""Do tokens come as they are made? An answer that is kept back and written at its end is no stream.

Pure: requests beside their reports. How long a token takes is learned from the server itself, so none is too slow or
too fast: among others a token takes no less than alone. Only the second half of an answer is looked at, which has
nothing of the time that a prompt or a queue takes. On a busy machine a client reads short answers of a fast server at
once, so nearly all answers have to show it, and where many are served at once, which is what makes tokens slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.workload import PlannedRequest

SLACK = 0.25
"""Of the time that a token should take. Several steps to a write, or several tokens to a step, stay far above it."""
LEAST_CHUNKS = 8
LEAST_ANSWERS = 8
"""Fewer, or shorter ones, say nothing."""
NEARLY_ALL = 7 / 8

Asked = Sequence[tuple[PlannedRequest, CallReport]]


def kept_back(alone: Asked, among: Asked) -> str:
    """What shows that tokens were kept back; "" where nothing does.

    `alone` were asked one after the other, `among` others.
    """
    alone, among = [list(filter(_is_telling, asked)) for asked in (alone, among)]
    if not alone or len(among) < LEAST_ANSWERS:
        return ""
    usual = median(max(_step_s(report), SLACK * _least_step_s(request, report)) for request, report in alone)
    late = sum(_step_s(report) < SLACK * usual for _, report in among)
    return "tokens come at the end of their answer, not as they are made" if late >= NEARLY_ALL * len(among) else ""


def _is_telling(asked: tuple[PlannedRequest, CallReport]) -> bool:
    _, report = asked
    return report.t_sent is not None and len(report.chunk_t) >= LEAST_CHUNKS and report.chunk_t[-1] > report.t_sent


def _step_s(report: CallReport) -> float:
    """From chunk to chunk, in the second half of an answer."""
    middle = len(report.chunk_t) // 2
    return (report.chunk_t[-1] - report.chunk_t[middle]) / (len(report.chunk_t) - 1 - middle)


def _least_step_s(request: PlannedRequest, report: CallReport) -> float:
    """If each token of the prompt took as long as one of the answer, of which it never takes more."""
    assert report.t_sent is not None, "it would not be telling"
    return (report.chunk_t[-1] - report.t_sent) / (len(request.prompt_ids) + len(report.chunk_t))
