"""Reported log-probabilities: right ones pass, and nothing that is no number does."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from vibeserve_tui.evaluation.exam import Findings
from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.logprobs import check_logprobs

TRUTH = [math.log(0.5), math.log(0.25), math.log(0.25)]


class Reference:
    """Knows three tokens; a real one fails where it is asked about others."""

    async def next_logprobs(self, context: list[int]) -> list[float]:
        assert all(0 <= token < len(TRUTH) for token in context)
        return TRUTH


async def fault_of(reported: list[Any], ids: list[Any]) -> str:
    limits = SimpleNamespace(max=1e-3, p99=None)
    target = SimpleNamespace(spec=SimpleNamespace(accuracy=SimpleNamespace(gap_limits=limits)))
    exam: Any = SimpleNamespace(target=target, offers={"logprobs"}, reference=Reference())
    request: Any = SimpleNamespace(prompt_ids=(0, 1))
    choice = {"token_ids": ids, "logprobs": {"token_logprobs": reported}}
    report = CallReport("logprobs", 0.0, body={"choices": [choice]})
    findings = Findings()
    await check_logprobs(exam, request, report, findings)
    return findings.fault


async def test_those_of_the_reference_are_right() -> None:
    assert await fault_of([TRUTH[0], TRUTH[2]], [0, 2]) == ""


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, "0", None, [], -0.5, True])
async def test_anything_else_is_a_fault(value: object) -> None:
    assert "more than 0.05 away" in await fault_of([value, TRUTH[2]], [0, 2])


@pytest.mark.parametrize("token", [-1, 3, 10**30, "0", None])
async def test_a_token_that_does_not_exist_is_a_fault_and_no_question_to_the_reference(token: object) -> None:
    assert "more than 0.05 away" in await fault_of([TRUTH[0], TRUTH[0]], [token, 0])
