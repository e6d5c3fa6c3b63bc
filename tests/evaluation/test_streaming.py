from __future__ import annotations

from collections.abc import Sequence

import pytest

from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.streaming import LEAST_ANSWERS, Asked, kept_back
from vibeserve_tui.evaluation.workload import PlannedRequest

PROMPT = 100
STEP_S, PROMPT_S = 0.002, 0.02
AS_MADE = [PROMPT_S + STEP_S * number for number in range(1, 25)]
END = AS_MADE[-1]
AT_THE_END = [END + 1e-5 * number for number in range(24)]


def asked(*answers: Sequence[float]) -> Asked:
    request = PlannedRequest(tuple(range(PROMPT)), "", 24)
    return [(request, CallReport("q", 0.0, t_sent=0.0, chunk_t=list(times))) for times in answers]


def written_by(tokens: int) -> list[float]:
    """So many steps to a write."""
    return [AS_MADE[min(len(AS_MADE), at - at % tokens + tokens) - 1] for at in range(len(AS_MADE))]


@pytest.mark.parametrize(
    "times",
    [
        AS_MADE,
        written_by(2),
        written_by(8),
        [PROMPT_S * 10 + t for t in AS_MADE],
        [PROMPT * STEP_S + t for t in AS_MADE],
    ],
    ids=["one by one", "two to a write", "eight to a write", "a slow prompt", "a prompt taken token by token"],
)
def test_tokens_that_come_as_they_are_made_are_a_stream(times: list[float]) -> None:
    assert kept_back(asked(*[times] * 8), asked(*[times] * 16)) == ""


@pytest.mark.parametrize(
    "times",
    [AT_THE_END, [END] * 24, [PROMPT_S, *AT_THE_END[1:]], [*AS_MADE[:8], *AT_THE_END[8:]]],
    ids=["all", "in one write", "all but the first", "two thirds"],
)
def test_tokens_that_come_at_the_end_are_kept_back(times: list[float]) -> None:
    assert kept_back(asked(*[times] * 8), asked(*[times] * 16)).startswith("tokens come at the end of their answer")
    assert kept_back(asked(*[AS_MADE] * 8), asked(*[times] * 16)).startswith("tokens come at the end of their answer")


def test_a_queue_is_no_keeping_back() -> None:
    in_turn = [[number * END + t for t in AS_MADE] for number in range(16)]
    assert kept_back(asked(*[AS_MADE] * 8), asked(*in_turn)) == ""


def test_a_client_that_was_late_for_some_answers_says_nothing_of_the_server() -> None:
    late = [END] * 24
    assert kept_back(asked(*[late] * 8), asked(*[AS_MADE] * 16)) == ""
    assert kept_back(asked(*[AS_MADE] * 8), asked(*[late] * 8, *[AS_MADE] * 8)) == ""


def test_nothing_is_said_of_too_little() -> None:
    alone = asked(*[AS_MADE] * 8)
    assert kept_back(alone, asked(*[AT_THE_END] * (LEAST_ANSWERS - 1))) == ""
    assert kept_back(alone, asked(*[[END] * 4] * 8)) == "", "too short"
    assert kept_back(alone, asked(*[()] * 8)) == "", "never answered"
    assert kept_back((), asked(*[AT_THE_END] * 8)) == "", "nobody was asked alone"
