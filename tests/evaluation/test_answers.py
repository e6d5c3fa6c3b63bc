from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from vibeserve_tui.evaluation.answers import LOOKS, AnswerRules, fault_of, same_text
from vibeserve_tui.evaluation.load_report import CallReport, Fault, Usage
from vibeserve_tui.evaluation.workload import PlannedRequest

END = 2
BYTES = {2: b"", 10: b"a", 11: b"bc", 12: b"\xc3", 13: b"\xa9", 14: b" "}


def decode(ids: Sequence[int]) -> str:
    return b"".join(BYTES[token] for token in ids).decode(errors="replace")


RULES = AnswerRules(1, frozenset({END}), decode, vocabulary=15)
ASKED = PlannedRequest((5, 6, 7), "", max_tokens=4, ignore_eos=True)
MAY_END = replace(ASKED, ignore_eos=False)


def answer(ids: Sequence[int], texts: Sequence[str], **changes: object) -> CallReport:
    report = CallReport("q1", 0.0, status=200, finish_reason="length", usage=Usage(3, len(ids)), prompt_tokens=3)
    report.chunk_ids, report.chunk_text = [[token] for token in ids], list(texts)
    for name, value in changes.items():
        setattr(report, name, value)
    return report


WHOLE = ([10, 11, 12, 13], ["a", "bc", "", "é"])


@pytest.mark.parametrize(
    ("request_", "report"),
    [
        (ASKED, answer(*WHOLE)),
        (MAY_END, answer([10, 11], ["a", "bc"], finish_reason="stop")),
        (MAY_END, answer([], [], finish_reason="stop", error=Fault.EMPTY)),
        (ASKED, answer([10, 11, 10, 12], ["a", "bc", "a", "\ufffd"])),
    ],
    ids=["whole", "ended by itself", "ended at once", "ends in half a character"],
)
def test_an_answer_in_order_has_no_fault(request_: PlannedRequest, report: CallReport) -> None:
    assert fault_of(request_, report, RULES) == ""


@pytest.mark.parametrize(
    ("request_", "report", "fault"),
    [
        (ASKED, answer(*WHOLE, error="stall", detail="after 2 s"), "stall after 2 s"),
        (ASKED, answer([10, 11], ["a", "bc"], finish_reason="stop"), "2 tokens where 4 were asked for"),
        (ASKED, answer([10, 11, 10, 10, 10], ["a", "bc", "a", "a", "a"]), "5 tokens where 4 were asked for"),
        (ASKED, answer([], [], finish_reason="stop", error=Fault.EMPTY), "empty"),
        (MAY_END, answer([10, 11], ["a", "bc"]), "finish_reason 'length' after 2 of 4 tokens"),
        (ASKED, answer(*WHOLE, finish_reason="stop"), "finish_reason 'stop' after 4 of 4 tokens"),
        (MAY_END, answer([10, END, 11, 10], ["a", "", "bc", "a"]), "it goes on behind its end-of-text token"),
        (ASKED, answer(*WHOLE, usage=None), "usage says None, 4 ids were delivered"),
        (ASKED, answer(*WHOLE, usage=Usage(3, 5)), "usage says 5, 4 ids were delivered"),
        (ASKED, answer(*WHOLE, usage=Usage(2, 4)), "usage counts 2 prompt tokens of 3"),
        (
            ASKED,
            answer([], ["a", "bcé"], chunk_ids=[[10, 11], [12, 13]], usage=Usage(3, 4)),
            "a chunk carries more than 1 token(s)",
        ),
        (ASKED, answer([], ["", "a"], chunk_ids=[[10], [], [11]]), "2 tokens where 4 were asked for"),
        (ASKED, answer([10, 11, 10, 10], ["a", "bc", "a", "b"]), "its text is not that of its tokens"),
        (ASKED, answer([10, 11, 15, 10], ["a", "bc", "", "a"]), "15 is no token of the model"),
        (ASKED, answer([10, 11, 10, 10], ["a", "", "", "bcaa"]), "chunk 2 holds back text of a token that it carries"),
    ],
)
def test_an_answer_out_of_order_is_told_why(request_: PlannedRequest, report: CallReport, fault: str) -> None:
    assert fault_of(request_, report, RULES) == f"q1: {fault}"


def test_text_without_a_token_is_fine_only_at_the_very_end() -> None:
    ids, texts = [[10], [11], [10], [12], []], ["a", "bc", "a", "", "\ufffd"]
    held = answer([], texts, chunk_ids=ids, usage=Usage(3, 4))
    split = answer([], ["a", "b", "c", "é", ""], chunk_ids=[[10], [11], [], [12], [13]], usage=Usage(3, 4))
    assert fault_of(ASKED, held, RULES) == ""
    assert fault_of(ASKED, split, RULES) == "q1: a chunk carries text but no token"


def test_text_is_looked_for_all_along_a_long_answer_too() -> None:
    count = 3 * LOOKS
    asked = replace(ASKED, max_tokens=count)
    late = answer([10] * count, [*["a"] * LOOKS, *[""] * (count - LOOKS - 1), "a" * (count - LOOKS)])
    assert fault_of(asked, answer([10] * count, ["a"] * count), RULES) == ""
    assert "holds back text" in fault_of(asked, late, RULES)


def test_a_run_of_broken_bytes_is_the_same_text_however_it_is_counted() -> None:
    assert same_text("a\ufffd\ufffdb", "a\ufffdb")
    assert not same_text("a\ufffdb", "ab")
