"""Requests that were sent at once are asked again until they were answered at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from vibeserve_tui.evaluation.batches import LOOKS, at_once, met
from vibeserve_tui.evaluation.load_plan import Call
from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.workload import PlannedRequest

REQUESTS = [PlannedRequest((5, number), "", 3) for number in range(4)]
TOGETHER = [(0.0, 1.0)] * 4
HALF = [(0.0, 1.0), (0.9, 2.0), (2.1, 3.0), (2.2, 3.0)]
ONE_BY_ONE = [(0.0, 0.9), (1.0, 1.9), (2.0, 2.9), (3.0, 3.9)]


def report(name: str, span: tuple[float, float], token: int = 7) -> CallReport:
    ids = [[token], [8], [9]]
    first, last = span
    return CallReport(name, 0.0, t_sent=0.0, chunk_t=[first, (first + last) / 2, last], chunk_ids=ids)


@dataclass
class Server:
    """Answers each look in the given spans; from look `changes` on the last answer is another one."""

    looks: Sequence[Sequence[tuple[float, float]]]
    changes: int = 99
    asked: list[int] = field(default_factory=list)

    async def send(self, calls: Sequence[Call], *, concurrency: int) -> list[CallReport]:
        spans = self.looks[min(len(self.asked), len(self.looks) - 1)]
        self.asked.append(concurrency)
        tokens = [7, 7, 7, 6 if len(self.asked) >= self.changes else 7]
        return [report(call.id, *rest) for call, *rest in zip(calls, spans, tokens, strict=True)]


@pytest.mark.parametrize(
    ("looks", "asked"),
    [([TOGETHER], 1), ([HALF, TOGETHER], 2), ([HALF, HALF, TOGETHER], 3), ([HALF], LOOKS), ([ONE_BY_ONE], 1)],
    ids=["at first sight", "at the second", "at the third", "never", "one by one"],
)
async def test_a_batch_is_asked_until_its_requests_met(looks: list[list[tuple[float, float]]], asked: int) -> None:
    server, exam = Server(looks), SimpleNamespace(full_batch=4, path="/v1/completions")
    answers = await met(exam, server, REQUESTS)  # type: ignore[arg-type]
    assert server.asked == [4] * asked
    assert [request for request, _ in answers] == REQUESTS, "an answer that is given again counts once"


async def test_whatever_a_later_look_answers_otherwise_counts_too() -> None:
    server, exam = Server([HALF, HALF, TOGETHER], changes=2), SimpleNamespace(full_batch=4, path="/v1/completions")
    answers = await met(exam, server, REQUESTS)  # type: ignore[arg-type]
    assert [request for request, _ in answers] == [*REQUESTS, REQUESTS[-1]]
    assert answers[-1][1].token_ids == [6, 8, 9]


async def test_no_more_are_sent_at_once_than_the_target_has_clients() -> None:
    server, exam = Server([HALF]), SimpleNamespace(full_batch=2, path="/v1/completions")
    await met(exam, server, REQUESTS)  # type: ignore[arg-type]
    assert server.asked == [2]


def test_at_once_are_those_between_their_first_and_their_last_token() -> None:
    assert at_once([report("a", span) for span in TOGETHER]) == 4
    assert at_once([report("a", span) for span in HALF]) == 2
    assert at_once([report("a", span) for span in ONE_BY_ONE]) == 1
    assert at_once([]) == at_once([CallReport("a", 0.0)]) == 0
