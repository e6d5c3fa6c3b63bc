"""Nine recipes in one tree: together they still say what transformers says, and each of them is at work."""

from __future__ import annotations

import pytest

from tests.recipes_assets.candidates import CASES, Server, activation_counter
from tests.recipes_assets.conftest import COMPOSED


def test_greedy_answers_equal_those_of_transformers(composed: Server) -> None:
    assert [composed.ids(case) for case in CASES] == [case["output"] for case in CASES]


def test_company_and_order_change_no_answer(composed: Server) -> None:
    assert composed.together(CASES) == [case["output"] for case in CASES]
    backwards = CASES[::-1]
    assert composed.together(backwards) == [case["output"] for case in backwards]


def test_a_prompt_that_differs_in_its_last_token_gets_an_answer_of_its_own(composed: Server) -> None:
    case = CASES[0]
    other = [*case["prompt"][:-1], case["prompt"][-1] - 1]
    first = composed.complete(other, 8, ignore_eos=True)["choices"][0]["token_ids"]
    composed.ids(case)
    assert composed.complete(other, 8, ignore_eos=True)["choices"][0]["token_ids"] == first
    assert first != case["output"][:8]


@pytest.mark.parametrize("draft", ["", "x", "\n" * 300, "def f():\n    return 1\n" * 40, "self.node = value\n" * 20])
def test_no_draft_changes_an_answer(composed: Server, draft: str) -> None:
    cases = [case for case in CASES if case["draft"]]
    assert [composed.ids(case, draft=draft) for case in cases] == [case["output"] for case in cases]


def test_a_good_draft_saves_most_of_the_passes(composed: Server) -> None:
    case = max((case for case in CASES if case["draft"]), key=lambda case: len(case["output"]))
    before = composed.counter("kv_static_steps"), composed.counter("draft_verifications")
    composed.ids(case)
    passes = composed.counter("kv_static_steps") + composed.counter("draft_verifications") - sum(before)
    assert passes < len(case["output"]) / 2


def test_only_the_unshared_rest_of_a_prompt_is_prefilled(composed: Server) -> None:
    case = CASES[0]
    composed.ids(case)
    before = composed.counter("prefill_tokens")
    composed.ids(case)
    assert composed.counter("prefill_tokens") - before == 1


def test_every_recipe_in_the_tree_shows_that_it_ran(composed: Server) -> None:
    composed.together(CASES)
    for _ in range(2):
        composed.events("/v1/completions", {"prompt": "again and again", "max_tokens": 4})
    assert {name: composed.counter(activation_counter(name)) > 0 for name in COMPOSED} == dict.fromkeys(COMPOSED, True)
