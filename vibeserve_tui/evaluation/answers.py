"""Is an answer in order, apart from being right: length, end, usage, chunks, text.

Pure: a request beside its report. Whether the tokens are the right ones is the reference's to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from vibeserve_tui.evaluation.load_report import CallReport, Fault
from vibeserve_tui.evaluation.workload import PlannedRequest

REPLACEMENT = "\ufffd"
_REPLACEMENTS = re.compile(f"{REPLACEMENT}+")
LOOKS = 64
"""Places of an answer at which its text so far is looked at: each takes a detokenisation from the beginning."""


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """What the target declares about answers, and what its tokenizer makes of ids."""

    max_tokens_per_chunk: int
    end_ids: frozenset[int]
    decode: Callable[[Sequence[int]], str]
    """Text of ids, special tokens left out, unfinished characters as U+FFFD."""
    vocabulary: int
    """How many ids there are."""


def fault_of(request: PlannedRequest, report: CallReport, rules: AnswerRules) -> str:
    """Why an answer is not what was asked for; "" when all is in order."""
    if not report.ok and not ended_at_once(request, report):
        return f"{report.id}: {report.error} {report.detail}".rstrip()
    fault = next(_faults(request, report, rules), "")
    return f"{report.id}: {fault}" if fault else ""


def ended_at_once(request: PlannedRequest, report: CallReport) -> bool:
    """A whole reply without a token: right where the end of the text is the best token."""
    return report.error == Fault.EMPTY and report.finish_reason == "stop" and not request.ignore_eos


def _faults(request: PlannedRequest, report: CallReport, rules: AnswerRules) -> Iterator[str]:
    ids, n = report.token_ids, len(report.token_ids)
    if any(token >= rules.vocabulary for token in ids):
        yield f"{max(ids)} is no token of the model"
    if n > request.max_tokens or (request.ignore_eos and n != request.max_tokens):
        yield f"{n} tokens where {request.max_tokens} were asked for"
    expected = "length" if n == request.max_tokens else "stop"
    if report.finish_reason != expected:
        yield f"finish_reason {report.finish_reason!r} after {n} of {request.max_tokens} tokens"
    if not request.ignore_eos and not rules.end_ids.isdisjoint(ids):
        yield "it goes on behind its end-of-text token"
    yield from _usage_faults(report)
    yield from _chunk_faults(report, rules)
    if not same_text(report.text, rules.decode(ids)):
        yield "its text is not that of its tokens"
    yield from _late_text(report, rules)


def _usage_faults(report: CallReport) -> Iterator[str]:
    n, usage = len(report.token_ids), report.usage
    if usage is None or usage.completion_tokens != n:
        yield f"usage says {usage and usage.completion_tokens}, {n} ids were delivered"
    elif report.prompt_tokens is not None and usage.prompt_tokens != report.prompt_tokens:
        yield f"usage counts {usage.prompt_tokens} prompt tokens of {report.prompt_tokens}"


def _chunk_faults(report: CallReport, rules: AnswerRules) -> Iterator[str]:
    if any(len(ids) > rules.max_tokens_per_chunk for ids in report.chunk_ids):
        yield f"a chunk carries more than {rules.max_tokens_per_chunk} token(s)"
    # The last one may bring text that was held back, without a token of its own.
    if not all(report.chunk_ids[:-1]):
        yield "a chunk carries text but no token"


def _late_text(report: CallReport, rules: AnswerRules) -> Iterator[str]:
    """Where text comes later than its tokens, though it does not end in half a character."""
    step = -(-len(report.chunk_ids) // LOOKS)
    ids: list[int] = []
    for number, (new, shown) in enumerate(zip(report.chunk_ids, accumulate(report.chunk_text), strict=True), 1):
        ids += new
        looks = number % step == 0
        if looks and len(shown.rstrip(REPLACEMENT)) < len(rules.decode(ids).rstrip(REPLACEMENT)):
            yield f"chunk {number} holds back text of a token that it carries"


def same_text(a: str, b: str) -> bool:
    """Equal, but for how many replacement characters stand for a run of invalid bytes: decoders differ in that."""
    return _REPLACEMENTS.sub(REPLACEMENT, a) == _REPLACEMENTS.sub(REPLACEMENT, b)
