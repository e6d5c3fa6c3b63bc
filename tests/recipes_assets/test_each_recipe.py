"""Each recipe alone on the seed, with what it needs: it starts, says what transformers says, and shows that it ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes_assets.candidates import BOOK, CASES, Server, activation_counter, build, served
from tests.thoroughly import thoroughly
from vibeserve_tui.recipes.chain import closure
from vibeserve_tui.recipes.params import Params
from vibeserve_tui.recipes.recipe_spec import Risk

pytestmark = pytest.mark.slow

ELSEWHERE = {"native-cpu-kernel", "native-kernel-int8"}
"""Tested beside the kernel."""
RECIPES = [name for name in BOOK if name not in ELSEWHERE]
SETTINGS = [
    thoroughly("chunked-prefill", {"prefill_tokens": 32}, id="chunks-of-32"),
    thoroughly("sdpa-backend-choice", {"path": "math"}, id="unfused-attention"),
    thoroughly("prefix-cache-radix", {"spare_slots": 0}, id="no-spare-slots"),
]


@pytest.mark.parametrize(("name", "params"), [*(pytest.param(name, {}, id=name) for name in RECIPES), *SETTINGS])
def test_a_recipe_keeps_the_answers_and_shows_that_it_ran(name: str, params: Params, tmp_path: Path) -> None:
    recipes: dict[str, Params] = {needed: {} for needed in closure(BOOK, [name])}
    tree = build(tmp_path / "tree", {**recipes, name: params})
    with served(tree) as server:
        answers = [server.ids(case) for case in CASES] + server.together(CASES)
        stir(server)
        assert server.counter(activation_counter(name)) > 0
    expected = [case["output"] for case in CASES] * 2
    if BOOK[name].spec.risk is Risk.NUMERICS:
        # Rounding changes texts after the first near tie; whole nonsense from the start would be a bug.
        assert sum(answer[:3] == wanted[:3] for answer, wanted in zip(answers, expected, strict=True)) >= 20
    else:
        assert answers == expected


def stir(server: Server) -> None:
    """Traffic of every kind that some recipe waits for: streams, samples, repeated texts."""
    for seed in (1, 2):
        body = {"prompt": "again and again", "max_tokens": 12, "temperature": 0.8, "seed": seed, "ignore_eos": True}
        server.events("/v1/completions", body)


def test_coalesced_events_hold_the_same_ids_and_the_first_comes_alone(tmp_path: Path) -> None:
    with served(build(tmp_path / "tree", {"sse-coalescing": {"tokens_per_event": 4}})) as server:
        body = {"prompt": CASES[0]["prompt"], "max_tokens": 24, "temperature": 0, "ignore_eos": True}
        blocks = server.events("/v1/completions", {**body, "return_token_ids": True})
    groups = [block["choices"][0]["token_ids"] for block in blocks]
    assert [token for group in groups for token in group] == CASES[0]["output"]
    assert [len(group) for group in groups] == [1, 4, 4, 4, 4, 4, 3]


def test_golden_answers_are_those_of_transformers() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tests.recipes_assets.candidates import MODEL

    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None
    for case in CASES:
        prompt, count = torch.tensor([case["prompt"]]), len(case["output"])
        ids = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count, do_sample=False)
        assert ids[0, prompt.shape[1] :].tolist() == case["output"]
