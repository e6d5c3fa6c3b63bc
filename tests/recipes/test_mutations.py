"""The children of a genome: each operator, what is left out, and that equal genomes are equal trees."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from statistics import NormalDist

import pytest

from tests.policies.searching import full_briefing
from vibeserve_tui.errors import SkillError
from vibeserve_tui.events import Outcome
from vibeserve_tui.recipes.candidates import Market
from vibeserve_tui.recipes.chain import apply_chain
from vibeserve_tui.recipes.mutations import Kind, Mutation, children, genome, pick
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.situation import Choice, Composition, Situation
from vibeserve_tui.recipes.tree import Tree
from vibeserve_tui.recipes.tree_record import read_record
from vibeserve_tui.recipes.trials import Trial
from vibeserve_tui.roles.briefing import Briefing
from vibeserve_tui.run_state import RunState

LOOP, BATCHES, WINDOW, HTTP = "kv-cache-preallocate", "continuous-batching", "static-batching-window", "http-path"


@pytest.fixture(scope="module")
def briefing() -> Briefing:
    return full_briefing()


@pytest.fixture(scope="module")
def parent(briefing: Briefing, tmp_path_factory: pytest.TempPathFactory):
    """Builds a tree from the seed and says what it is made of."""

    def build(*names: str, number: int = 1) -> Composition:
        folder = tmp_path_factory.mktemp("tree") / "tree"
        seed = briefing.target.file("seed")
        apply_chain(briefing.book, {name: {} for name in names}, seed, folder, briefing.facts(RunState()))
        return Composition.of(read_record(Tree(folder)), number)

    return build


def found(briefing: Briefing, tree: Composition, *others: Composition, trials=(), known=()) -> list[Mutation]:
    situation = Situation(briefing.facts(RunState()), champion=tree)
    return children(Market(briefing.book, situation), others, trials, known)


def of_kind(options: list[Mutation], kind: Kind) -> list[Mutation]:
    return [option for option in options if option.kind is kind]


def names(child: Mutation) -> set[str]:
    return {choice.recipe for choice in child.recipes}


def test_a_seed_can_only_be_given_recipes(briefing, parent):
    options = found(briefing, parent(number=0))
    assert {option.kind for option in options} == {Kind.ADD}
    assert {LOOP} in [names(option) for option in options]
    assert BATCHES not in {option.about for option in options}, "it needs the loop first"


def test_a_recipe_more_is_the_parent_with_it(briefing, parent):
    added = {option.about: option for option in of_kind(found(briefing, parent(LOOP)), Kind.ADD)}
    assert names(added[BATCHES]) == {LOOP, BATCHES}
    assert [choice.recipe for choice in added[BATCHES].recipes] == [LOOP, BATCHES], "in the order of needs"


def test_a_recipe_is_dropped_when_nothing_is_built_on_it(briefing, parent):
    dropped = {
        option.dropped: names(option) for option in of_kind(found(briefing, parent(LOOP, BATCHES, HTTP)), Kind.DROP)
    }
    assert dropped[BATCHES,] == {LOOP, HTTP}
    assert (LOOP,) not in dropped


def test_a_swap_takes_the_rivals_out(briefing, parent):
    swapped = {option.about: option for option in of_kind(found(briefing, parent(LOOP, WINDOW)), Kind.SWAP)}
    assert swapped[BATCHES].dropped == (WINDOW,)
    assert names(swapped[BATCHES]) == {LOOP, BATCHES}


def test_a_tuned_child_differs_in_one_parameter_by_one_step(briefing, parent):
    tree = parent(LOOP, BATCHES)
    tuned = of_kind(found(briefing, tree), Kind.TUNE)
    before = {choice.recipe: choice.params for choice in tree.recipes}
    assert tuned
    for child in tuned:
        changed = [
            (choice.recipe, name)
            for choice in child.recipes
            for name, value in choice.params.items()
            if before[choice.recipe][name] != value
        ]
        assert [recipe for recipe, _ in changed] == [child.about]


def test_crossed_parents_have_the_union_as_their_child(briefing, parent):
    crossed = of_kind(found(briefing, parent(LOOP, HTTP), parent(LOOP, BATCHES, number=4)), Kind.CROSS)
    assert not crossed, "one recipe more is that child already"
    other = parent(LOOP, BATCHES, "sse-coalescing", number=4)
    (child,) = of_kind(found(briefing, parent(LOOP, HTTP), other), Kind.CROSS)
    assert names(child) == {LOOP, HTTP, BATCHES, "sse-coalescing"}
    assert child.partner == 4


def test_what_excludes_one_another_is_not_crossed(briefing, parent):
    assert not of_kind(found(briefing, parent(LOOP, WINDOW), parent(LOOP, BATCHES, HTTP, number=4)), Kind.CROSS)


def test_no_child_is_known_or_there_twice(briefing, parent):
    first = found(briefing, parent(LOOP))
    genomes = [child.genome for child in first]
    assert len(genomes) == len(set(genomes))
    rest = found(briefing, parent(LOOP), known=set(genomes[:3]))
    assert [child.genome for child in rest] == genomes[3:]


def test_a_genome_does_not_depend_on_the_order_of_application():
    a, b = Choice("a", {"n": 1}), Choice("b", {})
    assert genome((a, b)) == genome((b, a)) != genome((Choice("a", {"n": 2}), b))


@pytest.mark.parametrize(
    ("recipe", "failures", "reason"),
    [("weight-int8-dynamic", 1, "J3"), (BATCHES, 2, "J3"), (HTTP, 1, "operator: no")],
    ids=["its arithmetic was refused", "it was wrong twice", "a person turned it down"],
)
def test_what_is_hopeless_is_not_bred_on(briefing, parent, recipe, failures, reason):
    outcome = Outcome.REVERTED if reason.startswith("operator") else Outcome.FAILED
    trial = Trial(recipe, "1", {}, frozenset(), outcome, reason=reason)
    tree = parent(LOOP)
    before, after = found(briefing, tree), found(briefing, tree, trials=[trial] * failures)
    assert recipe in {child.about for child in before}
    assert recipe not in {child.about for child in after}
    assert {child.about for child in after} | {recipe} >= {child.about for child in before}


def test_a_parent_made_by_recipes_that_are_gone_is_named(briefing, parent):
    tree = parent(LOOP)
    without = replace(briefing, book=RecipeBook(recipe for recipe in briefing.book.values() if recipe.id != LOOP))
    with pytest.raises(SkillError, match=f"round 1 was built with {LOOP}, which is not installed"):
        found(without, tree)


def test_equal_genomes_are_equal_trees(briefing, parent, tmp_path):
    """Whatever way it came about: added to one parent, swapped into another, or crossed."""
    wanted = {LOOP, BATCHES, HTTP}
    ways = [
        *found(briefing, parent(LOOP, BATCHES)),
        *found(briefing, parent(LOOP, WINDOW, HTTP)),
        *found(briefing, parent(HTTP), parent(LOOP, BATCHES, number=4)),
    ]
    same = [child for child in ways if names(child) == wanted]
    assert {child.kind for child in same} == {Kind.ADD, Kind.SWAP, Kind.CROSS}
    assert len({child.genome for child in same}) == 1
    built = []
    for place, child in enumerate(same):
        folder = tmp_path / str(place)
        chosen = {choice.recipe: choice.params for choice in child.recipes}
        apply_chain(briefing.book, chosen, briefing.target.file("seed"), folder, briefing.facts(RunState()))
        built.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert all(tree == built[0] for tree in built)


def test_what_is_believed_to_gain_more_is_drawn_more_often():
    options = [
        Mutation(Kind.ADD, (), NormalDist(0.3, 0.1), "large"),
        Mutation(Kind.ADD, (), NormalDist(0.0, 0.2), "unsure"),
        Mutation(Kind.DROP, (), NormalDist(-0.5, 0.05), "lost"),
    ]
    drawn = [pick(options, Random(trial)).about for trial in range(500)]
    assert drawn.count("large") > drawn.count("unsure") > 20
    assert "lost" not in drawn
