"""Log-probabilities that a server reports, against the reference's: a part of J3.

A server need not offer them unless its target says so; one that does must not make them up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from vibeserve_tui.evaluation.contract import first_choice
from vibeserve_tui.evaluation.exam import Exam, Findings
from vibeserve_tui.evaluation.load_plan import Call
from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.strict_json import Json, is_finite
from vibeserve_tui.evaluation.workload import CHAT_PATH, PlannedRequest

TOKENS = 8
TOLERANCE = 0.05
"""Between two computations of one log-probability, in a class that bounds every gap."""
WIDE = 0.2
"""In the others."""


def logprob_call(exam: Exam, request: PlannedRequest) -> Call:
    """Asks for them whether or not the target does: a server may offer more than it must, but nothing false."""
    body = request.body(exam.path)
    del body["stream"], body["stream_options"]
    wanted: dict[str, Json] = {"logprobs": True, "top_logprobs": 1} if exam.path == CHAT_PATH else {"logprobs": 1}
    return Call("logprobs", exam.path, body={**body, "max_tokens": TOKENS, **wanted}, stream=False)


async def check_logprobs(exam: Exam, request: PlannedRequest, report: CallReport, findings: Findings) -> None:
    choice = first_choice(report)
    reported, ids = _reported(choice.get("logprobs")), choice.get("token_ids")
    if not reported:
        findings.check("logprobs" not in exam.offers, "logprobs: none came, though the target wants them")
        return
    if not findings.check(isinstance(ids, list) and len(ids) == len(reported), "logprobs: not one per token"):
        return
    limits = exam.target.spec.accuracy.gap_limits
    tolerance = TOLERANCE if limits.max is not None else max(WIDE, limits.p99 or 0.0)
    context, worst = list(request.prompt_ids), 0.0
    for token, logprob in zip(_integers(ids), reported, strict=True):
        truth = await exam.reference.next_logprobs(context)
        worst = max(worst, abs(truth[token] - logprob) if 0 <= token < len(truth) else math.inf)
        if math.isinf(worst):  # what comes behind such a token nobody could tell
            break
        context.append(token)
    findings.check(worst <= tolerance, f"logprobs: one is more than {tolerance:g} away from the reference's")


def _reported(logprobs: Json) -> list[float]:
    """OpenAI's two shapes: parallel lists for completions, a list of objects for chat."""
    if not isinstance(logprobs, dict):
        return []
    listed, objects = logprobs.get("token_logprobs"), logprobs.get("content")
    values = listed if isinstance(listed, list) else []
    if isinstance(objects, list):
        values = [one.get("logprob") if isinstance(one, dict) else None for one in objects]
    # A value that is no number cannot be right, and must not be left out unseen.
    return [float(value) if isinstance(value, int | float) and is_finite(value) else math.inf for value in values]


def _integers(values: Json) -> Sequence[int]:
    return [value if isinstance(value, int) else -1 for value in values] if isinstance(values, list) else []
