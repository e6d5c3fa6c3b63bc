from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.recipes.landscape import compose, spec_of
from vibeserve_tui.events import Outcome
from vibeserve_tui.recipes.candidates import Market
from vibeserve_tui.recipes.facts import Facts, ProfileFacts
from vibeserve_tui.recipes.planner import Stop, decide, fate
from vibeserve_tui.recipes.plans import Plan
from vibeserve_tui.recipes.recipe import Recipe, RecipeBook
from vibeserve_tui.recipes.situation import Choice, Situation
from vibeserve_tui.recipes.trials import Step, Trial

FACTS = Facts(backend="cpu")


def recipe(name: str, gain: float = 0.1, sd: float = 0.1, **keys: object) -> Recipe:
    prior = {"log_gain": gain, "sd": sd, "metric": "output_throughput", "source": "a test"}
    return spec_of(name, prior=prior, **keys)


def caps(name: str, **relations: list[str]) -> dict[str, list[str]]:
    return {"provides": [f"cap.{name}"], **relations}


def trial(name: str, outcome: Outcome, ratio: float | None = None, **keys: object) -> Trial:
    low, high = (ratio / 1.02, ratio * 1.02) if ratio else (None, None)
    start = Trial(name, "1.0", {}, Situation(FACTS).champion.capabilities, outcome, ratio, low, high, round=1)
    return replace(start, **keys)  # type: ignore[arg-type]


def planned(book: RecipeBook, situation: Situation) -> Plan:
    plan = decide(book, situation)
    assert isinstance(plan, Plan), plan
    return plan


def test_the_recipe_with_the_largest_expected_gain_per_minute_is_first() -> None:
    book = RecipeBook([recipe("small", 0.1), recipe("large", 0.5), recipe("harmful", -0.5)])
    plan = planned(book, Situation(FACTS))
    assert (plan.step, plan.recipe, plan.parent) == (Step.RECIPE, "large", 0)
    assert [choice.recipe for choice in plan.recipes] == ["large"]


def test_what_a_recipe_makes_possible_counts_half() -> None:
    door = recipe("door", 0.0, capabilities=caps("door"))
    room = recipe("room", 1.0, capabilities=caps("room", needs=["cap.door"]))
    book = RecipeBook([door, room, recipe("other", 0.4)])
    plan = planned(book, Situation(FACTS))
    assert plan.recipe == "door"
    rows = {row.what: row.value for row in plan.why}
    assert rows.get("makes possible", rows.get("first step towards")) == "room"


def test_chains_are_at_most_three_long() -> None:
    links = [recipe("l1", 0.0, sd=0.01, capabilities=caps("l1"))]
    links += [recipe(f"l{i}", 0.0, sd=0.01, capabilities=caps(f"l{i}", needs=[f"cap.l{i - 1}"])) for i in (2, 3)]
    goal = recipe("goal", 3.0, capabilities=caps("goal", needs=["cap.l3"]))
    market = Market(RecipeBook([*links, goal]), Situation(FACTS))
    assert market.refusals() == {"goal": "needs cap.l3"}
    near = recipe("goal", 3.0, capabilities=caps("goal", needs=["cap.l2"]))
    best = Market(RecipeBook([*links, near]), Situation(FACTS)).candidates()[0]
    assert [link.id for link in best.chain] == ["l1", "l2", "goal"]


def test_evidence_weighs_the_prior_and_bounds_the_gain() -> None:
    evidence = [{"expr": "share('kv') > 0.05", "bound": "share('kv')"}]
    book = RecipeBook([recipe("r", 0.4, evidence=evidence)])

    def expected(share: float, *, usable: bool = True) -> float:
        profile = ProfileFacts(usable=usable, shares={"kv": share})
        return Market(book, Situation(replace(FACTS, profile=profile))).candidates()[0].posterior.mean

    assert expected(0.9) == pytest.approx(0.4)
    assert expected(0.2) == pytest.approx(-math.log(0.8))
    assert expected(0.01) == pytest.approx(0.0)
    assert expected(0.9, usable=False) == pytest.approx(0.2)


def test_own_trials_move_the_expectation_and_trials_of_a_layer_move_it_a_little() -> None:
    book = RecipeBook([recipe("r", 0.4), recipe("sibling", 0.4), recipe("stranger", 0.4, layer="http")])
    seen = Situation(FACTS, experience=(trial("r", Outcome.REVERTED, 0.95),))
    means = {c.recipe.id: c.posterior.mean for c in Market(book, seen).candidates()}
    assert means["r"] < 0.0
    assert 0.1 < means["sibling"] < means["stranger"] == pytest.approx(0.2)


def test_a_similar_devices_trial_counts_less() -> None:
    book = RecipeBook([recipe("r", 0.4)])

    def mean(weight: float) -> float:
        seen = Situation(FACTS, experience=(trial("r", Outcome.REVERTED, 0.95, weight=weight),))
        return Market(book, seen).candidates()[0].posterior.mean

    assert mean(1.0) < mean(0.3) < 0.2


def test_risk_and_duration_lower_the_score() -> None:
    book = RecipeBook([recipe("exact"), recipe("risky", risk="numerics"), recipe("slow")])
    seen = (trial("slow", Outcome.VOID, seconds=400.0), *(trial("gone", Outcome.FAILED, seconds=40.0),) * 2)
    scores = {c.recipe.id: c.score for c in Market(book, Situation(FACTS, trials=seen)).candidates()}
    assert scores["slow"] < scores["risky"] < scores["exact"]


def test_a_failed_recipe_returns_once_when_its_surroundings_changed() -> None:
    book = RecipeBook([recipe("r"), recipe("other", capabilities=caps("other"))])
    failed = trial("r", Outcome.FAILED)
    situation = Situation(FACTS, trials=(failed,))
    assert "nothing around it has changed" in Market(book, situation).refusals()["r"]
    changed = replace(situation, champion=compose(book, {"other"}, 2))
    assert planned(book, changed).recipe == "r"
    twice = replace(changed, trials=(failed, replace(failed, capabilities=changed.champion.capabilities, round=3)))
    assert "was tried in rounds 1, 3" in Market(book, twice).refusals()["r"]


def test_a_measured_recipe_may_return_with_other_parameters_a_wrong_one_may_not() -> None:
    threads = {"threads": {"type": "int", "range": [1, 4], "default": 2, "log": True}}
    book = RecipeBook([recipe("r", 0.3, params=threads)])
    slower = trial("r", Outcome.REVERTED, 0.99, params={"threads": 2})
    assert planned(book, Situation(FACTS, trials=(slower,))).params == {"threads": 1}
    wrong = replace(slower, outcome=Outcome.FAILED)
    assert isinstance(decide(book, Situation(FACTS, trials=(wrong,))), Stop)


def test_what_the_operator_turned_down_does_not_return() -> None:
    book = RecipeBook([recipe("r"), recipe("other", capabilities=caps("other"))])
    turned_down = trial("r", Outcome.REVERTED, 1.2, reason="operator: not that one")
    situation = Situation(FACTS, trials=(turned_down,), champion=compose(book, {"other"}))
    assert Market(book, situation).refusals()["r"] == "the operator turned it down in round 1"


def test_a_void_trial_is_repeated() -> None:
    assert planned(RecipeBook([recipe("r")]), Situation(FACTS, trials=(trial("r", Outcome.VOID),))).recipe == "r"


DOOR = recipe("door", 0.05, capabilities=caps("door"))
ROOM = recipe("room", 0.6, capabilities=caps("room", needs=["cap.door"]))


@pytest.mark.parametrize(
    ("tried", "becomes"),
    [
        (trial("door", Outcome.KEPT, 1.3), "champion"),
        (trial("door", Outcome.INDECISIVE, 1.005), "prerequisite"),
        (trial("door", Outcome.REVERTED, 1.001, reason="rejected(futile)"), "prerequisite"),
        (trial("door", Outcome.REVERTED, 0.97), "discarded"),
        (trial("door", Outcome.REVERTED, 1.005, reason="rejected(guard:p90_ttft_ms)"), "discarded"),
        (trial("door", Outcome.REVERTED, 1.005, reason="operator"), "discarded"),
        (trial("door", Outcome.FAILED), "discarded"),
        (trial("room", Outcome.INDECISIVE, 1.005), "discarded"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.outcome.value} {value.reason}",
)
def test_a_neutral_recipe_is_spared_only_for_what_it_makes_possible(tried: Trial, becomes: str) -> None:
    situation = Situation(FACTS)
    assert fate(RecipeBook([DOOR, ROOM]), situation, tried) == becomes
    assert fate(RecipeBook([DOOR, ROOM]), replace(situation, trials=(tried,)), tried) == becomes


def test_the_chain_goes_on_from_the_spared_tree_and_is_dropped_with_it() -> None:
    book = RecipeBook([DOOR, ROOM, recipe("other", 0.9)])
    neutral = trial("door", Outcome.INDECISIVE, 1.0)
    situation = Situation(FACTS, trials=(neutral,), prerequisite=compose(book, {"door"}, 1))
    plan = planned(book, situation)
    assert (plan.recipe, plan.parent) == ("room", 1)
    assert [choice.recipe for choice in plan.recipes] == ["door", "room"]
    failed = trial("room", Outcome.FAILED, capabilities=situation.base.capabilities, round=2)
    after = replace(situation, trials=(neutral, failed))
    assert planned(book, after).recipe == "other"
    assert planned(book, after).parent == 0


def test_a_chain_of_three_survives_two_neutral_links() -> None:
    links = [
        recipe("a", 0.0, sd=0.01, capabilities=caps("a")),
        recipe("b", 0.0, sd=0.01, capabilities=caps("b", needs=["cap.a"])),
        recipe("c", 1.0, capabilities=caps("c", needs=["cap.b"])),
    ]
    book = RecipeBook(links)
    situation, tried = Situation(FACTS), list[str]()
    for number in (1, 2):
        plan = planned(book, situation)
        tried.append(plan.recipe)
        neutral = trial(plan.recipe, Outcome.INDECISIVE, 1.0, capabilities=situation.base.capabilities, round=number)
        assert fate(book, situation, neutral) == "prerequisite"
        spared = compose(book, {choice.recipe for choice in plan.recipes}, number)
        situation = replace(situation, prerequisite=spared, trials=(*situation.trials, neutral))
    assert [*tried, planned(book, situation).recipe] == ["a", "b", "c"]


WINNER = recipe("winner", 0.3, capabilities=caps("winner", conflicts=["cap.loser"]))


def champion_with_winner(book: RecipeBook, **keys: object) -> Situation:
    kept = trial("winner", Outcome.KEPT, 1.2)
    start = Situation(FACTS, champion=compose(book, {"winner"}, 1), trials=(kept,))
    return replace(start, **keys)  # type: ignore[arg-type]


def test_an_untried_rival_is_swapped_in_when_it_may_gain_more() -> None:
    book = RecipeBook([WINNER, recipe("loser", 0.5, sd=0.2, capabilities=caps("loser"))])
    plan = planned(book, champion_with_winner(book))
    assert (plan.step, plan.recipe, plan.dropped) == (Step.SWAP, "loser", ("winner",))
    assert [choice.recipe for choice in plan.recipes] == ["loser"]


def test_a_swap_takes_out_what_was_built_on_the_rival_and_brings_what_it_needs() -> None:
    book = RecipeBook(
        [
            WINNER,
            recipe("above", 0.1, capabilities=caps("above", needs=["cap.winner"])),
            recipe("below", 0.0, sd=0.01, capabilities=caps("below")),
            recipe("loser", 2.0, capabilities=caps("loser", needs=["cap.below"])),
            recipe("aside", 0.1, capabilities=caps("aside")),
        ]
    )
    tried = (trial("below", Outcome.FAILED), trial("below", Outcome.FAILED))
    situation = champion_with_winner(book, champion=compose(book, {"winner", "above", "aside"}, 3), trials=tried)
    plan = planned(book, situation)
    assert plan.dropped == ("winner", "above")
    assert [choice.recipe for choice in plan.recipes] == ["aside", "below", "loser"]


def test_a_rival_that_was_tried_or_cannot_win_is_left_alone() -> None:
    book = RecipeBook([WINNER, recipe("loser", 0.1, sd=0.02, capabilities=caps("loser"))])
    assert isinstance(decide(book, champion_with_winner(book)), Stop)
    likely = RecipeBook([WINNER, recipe("loser", 0.9, capabilities=caps("loser"))])
    tried = (trial("winner", Outcome.KEPT, 1.2), trial("loser", Outcome.REVERTED, 0.9))
    assert isinstance(decide(likely, champion_with_winner(likely, trials=tried)), Stop)


THREADS = {"threads": {"type": "int", "range": [1, 8], "default": 2, "log": True}}


def tunable() -> tuple[RecipeBook, Situation]:
    book = RecipeBook([recipe("r", 0.2, params=THREADS)])
    champion = compose(book, {"r"}, 1)
    champion = replace(champion, recipes=(replace(champion.recipes[0], params={"threads": 2}),))
    kept = trial("r", Outcome.KEPT, 1.2, params={"threads": 2})
    return book, Situation(FACTS, champion=champion, trials=(kept,), rounds_left=40)


def test_tuning_begins_when_selection_is_over_and_many_runs_are_left() -> None:
    book, situation = tunable()
    plan = planned(book, situation)
    assert (plan.step, plan.params) in [(Step.TUNE, {"threads": 1}), (Step.TUNE, {"threads": 4})]
    assert plan.recipes == (Choice("r", plan.params),)
    assert plan.title == f"Tune threads of r: 2 → {plan.params['threads']}"
    assert isinstance(decide(book, replace(situation, rounds_left=25)), Stop)
    assert isinstance(decide(book, replace(situation, seconds_left=20 * 60.0)), Stop)


@pytest.mark.parametrize(
    ("tried", "goes_on"), [([1], True), ([1, 4], False), ([8, 3, 5, 7], False)], ids=["one side", "both sides", "four"]
)
def test_tuning_ends_when_both_sides_were_tried_or_after_four_rounds(tried: list[int], goes_on: bool) -> None:
    book, situation = tunable()
    tuned = tuple(trial("r", Outcome.REVERTED, 0.98, step=Step.TUNE, params={"threads": n}) for n in tried)
    found = decide(book, replace(situation, trials=(*situation.trials, *tuned)))
    assert isinstance(found, Plan) is goes_on


def test_an_unlikely_recipe_is_tried_as_a_long_shot_twice_in_a_row_at_most() -> None:
    book = RecipeBook([recipe("r", -0.1, sd=0.06)])
    plan = planned(book, Situation(FACTS))
    assert plan.long_shot
    assert "long shot" in {row.what for row in plan.why}
    assert isinstance(decide(book, Situation(FACTS, long_shots=2)), Stop)


def test_the_planner_stops_for_rounds_time_and_want_of_ideas() -> None:
    book = RecipeBook([recipe("r")])
    assert decide(book, Situation(FACTS, rounds_left=0)) == Stop("the rounds are used up")
    short = decide(book, Situation(FACTS, seconds_left=30))
    assert short == Stop("30 s are left; r would take about 90 s")
    assert decide(RecipeBook([]), Situation(FACTS)) == Stop("no recipe left is likely to gain more than 1 %")


def test_the_durations_seen_decide_how_long_a_trial_is_expected_to_take() -> None:
    book = RecipeBook([recipe("r", 1.0), recipe("seen")])
    seen = trial("seen", Outcome.FAILED, seconds=20.0)
    assert planned(book, Situation(FACTS, trials=(seen,), seconds_left=25)).seconds == 20.0


def test_the_same_situation_gives_the_same_plan_and_ties_differ_by_seed() -> None:
    book = RecipeBook([recipe(f"r{i}", 0.3) for i in range(6)])
    firsts = [planned(book, Situation(FACTS, seed=seed)).recipe for seed in range(20)]
    assert firsts == [planned(book, Situation(FACTS, seed=seed)).recipe for seed in range(20)]
    assert len(set(firsts)) > 1


def test_the_hypothesis_can_be_proved_wrong() -> None:
    verify = {"activation": "counter('steps') > 0"}
    plan = planned(RecipeBook([recipe("r", 0.4, verify=verify)]), Situation(FACTS, minimum_effect=1.02))
    claim = plan.hypothesis
    assert claim.expected_low < math.exp(0.2) < claim.expected_high
    assert claim.minimum_effect == 1.02
    assert "below 1.020" in claim.falsifier
    assert "counter('steps') > 0" in claim.falsifier
    assert claim.activation == "counter('steps') > 0"
    assert claim.metric == "output_throughput"


def test_every_recipe_is_either_in_the_backlog_or_refused_with_a_reason() -> None:
    book = RecipeBook(
        [
            DOOR,
            ROOM,
            recipe("tree"),
            recipe("gpu", requires={"backends": ["cuda"]}),
            recipe("unknown", requires={"backends": ["cpu"], "model": "model.layers > 1"}),
            recipe("rival", capabilities=caps("rival", conflicts=["http.sse"])),
            recipe("faulty", evidence=[{"expr": "backend > 1"}]),
        ]
    )
    market = Market(book, Situation(FACTS, champion=compose(book, {"tree"})))
    assert {candidate.goal.id for candidate in market.backlog()} == {"door", "room"}
    assert market.refusals() == {
        "faulty": "is faulty: backend > 1: 'cpu' is not a number",
        "gpu": "is for cuda, not cpu",
        "rival": "conflicts with http.sse",
        "tree": "is in the tree",
        "unknown": "unknown (model.layers) in model.layers > 1",
    }


def test_the_reasons_of_a_plan_can_be_checked() -> None:
    evidence = [{"expr": "share('kv') > 0.05", "bound": "share('kv')"}, {"expr": "model.layers > 1"}]
    profile = ProfileFacts(usable=True, shares={"kv": 0.2})
    book = RecipeBook([recipe("r", 0.4, evidence=evidence), recipe("next", 0.01)])
    past = trial("r", Outcome.INDECISIVE, 1.3, reason="no decision")
    plan = planned(book, Situation(replace(FACTS, profile=profile), experience=(past,)))
    rows = {row.what: (row.value, row.source) for row in plan.why}
    assert rows["share('kv') > 0.05"][0] == "holds; at most 20% of the time can be saved"
    assert rows["model.layers > 1"] == ("unknown", "not known: model.layers")
    assert rows["prior"] == ("×1.49, likely ×1.35 to ×1.65", "a test")
    assert rows["tried in an earlier run"] == ("×1.300 [1.275, 1.326], indecisive", "no decision")
    assert rows["expected log gain per minute"][1].startswith("next best: next")
