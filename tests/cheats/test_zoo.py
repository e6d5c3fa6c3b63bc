from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cheats.cunning import CUNNING
from tests.cheats.honest import HONEST, Honest
from tests.cheats.laboratory import Laboratory
from tests.cheats.lucky import LUCKY
from tests.cheats.zoo import BAKED, READ, SERVED, Cheat
from tests.thoroughly import thoroughly
from vibeserve_tui.evaluation.battery import SWAPPED_TOKENS, judge
from vibeserve_tui.inputs.profiles import JudgeSizes

in_the_laboratory = pytest.mark.asyncio(loop_scope="session")
OTHER_SEEDS = (2, 3)
NEARLY_HONEST = {
    "weights and activations in 8 bits",  # 0.4 to 1.4 % of the positions above 0.05; honest bf16 shows 0.15 %
    "state of a prefix that is not the same",  # one position of J4's 128 above 0.05
    "batch slots mixed up",  # one answer of each batch: 0.5 to 1.7 % of J6's positions above 0.05
    "8 bits where the batch is full",  # no position above 0.05 in some draws
    "a context that is shorter than it says",  # one position of J3's 672, in the only prompt that is so long
}
"""What only the exact class can tell from honest rounding on so few positions of this checkpoint."""
SHOWN_BY_ITS_RECIPE = {
    "own layers over a static cache", "chunked prefill", "prefix cache", "fused projections", "static batching",
    "two threads", "cached encodings", "the seed",
}  # fmt: skip
"""Each recipe has a test of its own that asks for the same answers, and the seed one that judges it; the whole battery is
for those that want more."""
LIKE_ANOTHER = {
    "a few milliseconds for others to join", "sampled requests by themselves", "a connection for each answer",
    "weights that are read when they are needed", "events in another dialect", "a queue that is looked at all the time",
    "another process beside the server", "continuous batching, plain HTTP", "pages given away and computed again",
    "eight steps to a write",
}  # fmt: skip
"""Their difference is met by few questions, of which others pass most."""
RUNNING = SERVED + CUNNING + LUCKY
GROSS = [cheat for cheat in SERVED + CUNNING if cheat.says == "gap max" and cheat.name not in NEARLY_HONEST]
FIRST_OF_STEP = {cheat.step: cheat.name for cheat in reversed(RUNNING)}


def test_every_way_to_cheat_is_in_the_zoo() -> None:
    known = {hack for cheat in READ + RUNNING for hack in cheat.hacks.split()}
    # H15, too good to be true, is noticed by the gate: it is a figure, not something that a server does.
    assert known == {f"H{number}" for number in range(1, 20)} - {"H15"}


@in_the_laboratory
@pytest.mark.parametrize("cheat", READ, ids=lambda cheat: cheat.name)
async def test_a_tree_that_prepares_a_cheat_is_refused(lab: Laboratory, tmp_path: Path, cheat: Cheat) -> None:
    findings = await lab.examine(lab.look(cheat.apply(lab.honest, tmp_path / "tree"), 1), cheat.step)
    assert cheat.says in findings.fault


def marked(cheat: Cheat) -> object:
    """One server of each step is quick enough to be asked at every turn."""
    if cheat.thorough:
        return thoroughly(cheat, id=cheat.name)
    if FIRST_OF_STEP[cheat.step] == cheat.name:
        return pytest.param(cheat, id=cheat.name)
    return pytest.param(cheat, id=cheat.name, marks=pytest.mark.slow)


@in_the_laboratory
@pytest.mark.parametrize("cheat", [marked(one) for one in RUNNING])
async def test_a_cheat_is_rejected_for_what_it_does(lab: Laboratory, tmp_path: Path, cheat: Cheat) -> None:
    findings = await lab.examine(lab.exam(cheat.apply(lab.honest, tmp_path / "tree"), 1), cheat.step)
    assert cheat.says in findings.fault


@in_the_laboratory
@pytest.mark.parametrize("cheat", [thoroughly(one, id=one.name) for one in RUNNING])
async def test_a_cheat_is_rejected_whatever_the_questions(lab: Laboratory, tmp_path: Path, cheat: Cheat) -> None:
    exam = lab.exam(cheat.apply(lab.honest, tmp_path / "tree"), 1)
    for findings in await lab.examine_all([exam.anew(seed) for seed in OTHER_SEEDS], cheat.step):
        assert cheat.says in findings.fault


@in_the_laboratory
@pytest.mark.slow
@pytest.mark.parametrize(
    "cheat",
    [thoroughly(one, id=one.name) if one in CUNNING and one.step != "J6" else marked(one) for one in GROSS],
)
async def test_the_numeric_class_is_no_way_out_for_a_cheat(lab: Laboratory, tmp_path: Path, cheat: Cheat) -> None:
    findings = await lab.examine(lab.exam(cheat.apply(lab.honest, tmp_path / "tree"), 1, "numeric"), cheat.step)
    assert "gap " in findings.fault


@in_the_laboratory
@pytest.mark.slow
async def test_int8_that_nobody_declared_is_too_far_off_for_the_numeric_class(lab: Laboratory, tmp_path: Path) -> None:
    honest = next(one for one in HONEST if one.name == "dynamic int8")
    verdict = await judge(lab.exam(honest.tree(lab, tmp_path / "tree"), 1, "numeric"), lambda step: None)
    assert verdict.outcome == "fail"
    assert "gap " in verdict.reason


@in_the_laboratory
@pytest.mark.slow
@pytest.mark.parametrize(
    "honest",
    [
        thoroughly(one, id=one.name)
        if one.name in SHOWN_BY_ITS_RECIPE | LIKE_ANOTHER
        else pytest.param(one, id=one.name)
        for one in HONEST
    ],
)
async def test_an_honest_server_passes(lab: Laboratory, tmp_path: Path, honest: Honest) -> None:
    verdict = await judge(lab.exam(honest.tree(lab, tmp_path / "tree"), 1, honest.accuracy), lambda step: None)
    assert (verdict.outcome, verdict.reason) == ("pass", "10 steps passed")


@in_the_laboratory
@pytest.mark.slow
async def test_whoever_knew_the_private_questions_would_still_not_know_the_other_weights(
    lab: Laboratory, tmp_path: Path
) -> None:
    questions = lab.look(lab.honest, 1).draw("swap", JudgeSizes().weight_swap, tokens=SWAPPED_TOKENS)
    answers = await lab.reference.greedy_many([(one.prompt_ids, one.max_tokens) for one in questions])
    known = {str(list(one.prompt_ids)): ids for one, ids in zip(questions, answers, strict=True)}
    tree = BAKED.apply(lab.honest, tmp_path / "tree")
    (tree / "server" / "known.json").write_text(json.dumps(known))
    findings = await lab.examine(lab.exam(tree, 1), "J7")
    assert BAKED.says in findings.fault
