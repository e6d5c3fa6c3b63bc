"""The evolutionary policy: who becomes a parent, what its children are measured against, what survives a fault."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from tests.fakes import measured
from tests.policies.searching import Search, ToldGate, ToldJudge, open_search, with_recipes
from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import AgentEvent, AgentRequest, Brief, MutationFacts, Result, Voice, load_voice
from vibeserve_tui.errors import AgentError, AgentsHalted
from vibeserve_tui.policies import load_policy
from vibeserve_tui.recipes.mutations import genome
from vibeserve_tui.recipes.situation import Choice
from vibeserve_tui.roles.briefing import Briefing, measured_beside_parent
from vibeserve_tui.roles.implementer import Implementer
from vibeserve_tui.roles.mutator import Mutator
from vibeserve_tui.roles.workplace import Commission
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state.population import population

INDIFFERENT = {"evolve": {"frontier_bias": 0.0, "temperature": 50.0}}
"""Settings with which everybody is as likely to be a parent."""


async def play(search: Search, rounds: int) -> list[ev.RoundRecord]:
    return [await search.play(await search.plan()) for _ in range(rounds)]


def genome_of(task: ev.TaskPlan) -> str:
    return genome(Choice(choice.skill, choice.params) for choice in task.rebuild)


@dataclass
class Faulty:
    """The playbook, but for what `fault` does to a request."""

    fault: Callable[[MutationFacts], None]
    facts: list[MutationFacts] = field(default_factory=list)

    async def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]:
        assert isinstance(request.facts, MutationFacts)
        self.facts.append(request.facts)
        self.fault(request.facts)
        async for event in load_voice("playbook").agent.run(request):
            yield event


# ---- parents and children -----------------------------------------------------------------------------------------


@dataclass
class Bred:
    """Eight rounds, of which the third was wrong, and what the mutator was asked for each."""

    search: Search
    facts: list[MutationFacts]
    alive: list[set[int]]
    """Before each round."""

    @property
    def state(self) -> RunState:
        return self.search.run.state


@pytest.fixture(scope="module")
def bred(ground: Callable[[], Path], full: Briefing) -> Bred:
    voice = Faulty(lambda facts: None)
    search = open_search(ground(), "evolve", full, Voice(voice, "playbook"), settings=INDIFFERENT)
    search.judge = ToldJudge(frozenset({3}))
    alive = []

    async def breed() -> None:
        for _ in range(8):
            alive.append({one.number for one in population(search.run.state)})
            await play(search, 1)

    asyncio.run(breed())
    return Bred(search, voice.facts, alive)


def test_one_round_breeds_one_child_of_a_round_that_was_right_and_measured(bred):
    assert sorted(bred.state.rounds) == list(range(9))
    for number, alive in enumerate(bred.alive, 1):
        task = bred.state.rounds[number].task
        assert task.parent in alive
        assert set(task.inspirations) <= alive - {task.parent}
        assert {other.round for other in bred.facts[number - 1].others} <= alive - {task.parent}
    assert 3 not in bred.alive[-1]
    assert len({bred.state.rounds[number].task.parent for number in range(1, 9)}) > 2, "parents vary"


def test_a_child_is_measured_beside_the_champion_whoever_its_parent_is(bred):
    champion, others = 0, 0
    for number in (1, 2, 4, 5, 6, 7, 8):
        record = bred.state.rounds[number]
        assert bred.state.against[number] == champion
        others += record.task.parent != champion
        champion = number if record.outcome is ev.Outcome.KEPT else champion
    assert others


async def test_what_did_not_win_may_have_children_that_do(folder, full):
    search = open_search(folder, "evolve", full, settings=INDIFFERENT)
    search.gate = ToldGate(lambda number: measured("rejected", ratio=0.9) if number < 3 else measured(ratio=1.3))
    await play(search, 4)
    fruitful = {record.task.parent for record in search.run.state.kept if record.number}
    assert fruitful & {1, 2}


async def test_the_same_seed_breeds_the_same_children_and_another_one_does_not(folder, briefing):
    async def titles(name: str, seed: int) -> list[str]:
        search = open_search(folder / name, "evolve", briefing, seed=seed)
        return [record.task.title for record in await play(search, 2)]

    first = await titles("a", 1)
    assert await titles("b", 1) == first
    assert await titles("c", 3) != first


async def test_no_genome_is_proposed_twice_until_there_is_none_left(folder, briefing):
    search = open_search(folder, "evolve", with_recipes(briefing, ("kv-cache-preallocate", "http-path")))
    reason = await search.to_its_end()
    genomes = [genome_of(record.task) for number, record in search.run.state.rounds.items() if number]
    assert len(genomes) == len(set(genomes)) == 3, "either, or both"
    assert "was proposed already" in reason


async def test_a_void_measurement_says_nothing_of_a_child_so_it_may_come_once_more(folder, briefing):
    search = open_search(folder, "evolve", with_recipes(briefing, ("kv-cache-preallocate",)))
    search.gate = ToldGate(lambda _: measured("void"))
    reason = await search.to_its_end()
    assert [record.outcome.value for number, record in search.run.state.rounds.items() if number] == ["void", "void"]
    assert "was proposed already" in reason


# ---- figures ------------------------------------------------------------------------------------------------------


def test_trials_are_ratios_over_the_parent_not_over_the_champion_of_that_hour(bred):
    state, trials = bred.state, {trial.round: trial for trial in bred.facts[-1].trials}
    beside_another = [
        record
        for number, record in state.rounds.items()
        if number in trials and state.against.get(number, record.task.parent) != record.task.parent
    ]
    assert beside_another
    for record in beside_another:
        trial = trials[record.number]
        assert trial.ratio == pytest.approx(state.gain(record.number) / state.gain(record.task.parent))
        assert trial.ci_low < trial.ratio < trial.ci_high
        assert not measured_beside_parent(state, record), "so other runs are not told of it"


def test_a_hypothesis_speaks_of_the_champion_that_the_child_will_meet(bred):
    state, champion = bred.state, 0
    for number, facts in enumerate(bred.facts, 1):
        parent = facts.situation.champion.round
        assert facts.lead == pytest.approx(math.log(state.gain(parent) / state.gain(champion)))
        champion = number if state.rounds[number].outcome is ev.Outcome.KEPT else champion


# ---- faults -------------------------------------------------------------------------------------------------------


async def test_a_fault_in_breeding_one_parent_is_told_and_another_one_is_taken(folder, briefing):
    def fault(facts: MutationFacts) -> None:
        if facts.situation.champion.round == 1:
            raise ZeroDivisionError("no child of round 1")

    search = open_search(folder, "evolve", briefing, Voice(Faulty(fault), "playbook"))
    records = await play(search, 3)
    assert 1 not in {record.task.parent for record in records}
    assert any("no child of round 1" in warning for warning in search.run.state.warnings)


async def test_a_child_that_breaks_while_it_is_made_fails_with_its_reason(folder, full):
    search = open_search(folder, "evolve", full)

    class Broken:
        async def implement(self, work: object) -> ev.AttemptCommitted:
            raise KeyError("a recipe that vanished")

    whole = search.implementer
    search.implementer = Mutator(search.run, load_voice("playbook"), full, Broken())
    (record,) = await play(search, 1)
    assert (record.outcome, record.reason) == ("failed", "KeyError: 'a recipe that vanished'")
    assert "a recipe that vanished" in search.run.state.memory
    search.implementer = whole
    (record,) = await play(search, 1)
    assert record.outcome in ("kept", "reverted", "indecisive")


async def test_what_halts_all_agents_halts_the_search(folder, full):
    class Spent:
        async def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]:
            yield Result("budget", reason="the money is spent", halts=True)

    search = open_search(folder, "evolve", full, Voice(Spent(), "playbook"))
    with pytest.raises(AgentsHalted):
        await search.plan()


async def test_a_child_that_comes_out_as_an_earlier_tree_is_refused(folder, full):
    search = open_search(folder, "evolve", full)
    (first,) = await play(search, 1)
    again = first.task.model_copy(update={"title": "the same once more"})
    record = await search.play(again)
    assert (record.outcome, record.reason) == ("failed", "the child is the tree of round 1 again")


async def test_an_ablation_at_the_end_may_lead_back_to_an_earlier_tree(folder, briefing):
    search = open_search(folder, "evolve", briefing)
    search.gate = ToldGate(lambda _: measured(ratio=1.2))
    first, second = await play(search, 2)
    assert second.task.parent == 1
    without = ev.TaskPlan(title="without it", kind="ablation", parent=2, rebuild=first.task.rebuild)
    record = await search.play(without)
    assert (record.outcome, record.tree) == ("kept", first.tree)
    assert population(search.run.state)[-1].number == 2, "it is no child"


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"frontier_bias": 1.5}, {"islands": 5}])
async def test_settings_that_make_no_sense_are_refused(folder, full, settings):
    search = open_search(folder, "evolve", full, settings={"evolve": settings})
    with pytest.raises(ValidationError):
        await search.plan()


# ---- a model as mutator -------------------------------------------------------------------------------------------


@dataclass
class Desk:
    """As much of a workplace as a mutator asks for."""

    commissions: list[Commission] = field(default_factory=list)

    def recipes(self, **_: float) -> None:
        return None

    def rehearsal(self, *_: object) -> None:
        return None

    def brief(self, commission: Commission) -> Brief:
        self.commissions.append(commission)
        return Brief("You are the mutator of VibeServe", "", commission.words, (), commission.workspace, writable=True)


REPORT = {
    "summary": "one line more",
    "kind": "rewrite",
    "changes": [{"path": "notes.txt"}],
    "hypothesis": {"claim": "notes make it faster", "falsifier": "no", "expected_low": 1.0, "expected_high": 1.3},
}


@dataclass
class Writer:
    """Appends to a file of the parent's tree and reports it."""

    changes: dict[str, object] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    async def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]:
        task = request.facts.task
        with (request.facts.workspace / "notes.txt").open("a") as out:
            out.write(f"{task.title}\n")
        try:
            yield Result("ok", request.schema.model_validate(REPORT | {"parent": task.parent} | self.changes))
        except ValidationError as error:
            self.faults.append(str(error))
            yield Result("bad_arguments", reason="the report does not fit")


def written(folder, full, writer: Writer) -> tuple[Search, Desk]:
    search = open_search(folder, "evolve", full)
    desk, voice = Desk(), Voice(writer, "scripted")
    maker = Implementer(search.run, load_voice("playbook"), full)
    mutator = Mutator(search.run, voice, full, maker, desk)
    search.implementer, search.policy = mutator, load_policy("evolve", search.run, mutator)
    return search, desk


async def test_a_model_makes_the_child_and_states_its_claim(folder, full):
    search, desk = written(folder, full, Writer())
    record = await search.play(await search.plan())
    assert (record.outcome, record.task.kind, record.task.parent) == ("kept", "agent", 0)
    assert search.run.store.read_file(record.commit, "notes.txt") == "child 1 of the seed\n"
    assert record.task.hypothesis.claim == "notes make it faster"
    assert record.hypothesis_outcome == "proven"
    assert search.run.state.attempts[-1].summary == "rewrite: one line more"
    assert "The parent: round 0" in desk.commissions[0].words


async def test_a_model_sees_the_inspirations_and_what_went_wrong_before(folder, full):
    search, desk = written(folder, full, Writer())
    search.judge = ToldJudge(frozenset({3}))
    for _ in range(5):
        task = await search.plan()
        record = await search.play(task)
        words = desk.commissions[-1].words
        assert all(f"## Inspiration: round {number}" in words for number in task.inspirations)
        earlier = [
            other
            for other in search.run.state.rounds.values()
            if 0 < other.number < record.number and other.task.parent == task.parent and other.outcome != "kept"
        ]
        assert all(f"Its child in round {other.number}" in words for other in earlier)
    refused = [one.words for one in desk.commissions if "turned down: 3 of 64 answers differ" in one.words]
    assert len(refused) == 1, "the second attempt of round 3"


async def test_a_model_that_makes_up_its_parent_or_its_inspiration_is_told(folder, full):
    for number, (changes, fault) in enumerate(
        [({"parent": 9}, "the parent is round 0"), ({"inspiration": 7}, "round 7 is none of the inspirations")]
    ):
        writer = Writer(changes)
        search, _ = written(folder / str(number), full, writer)
        record = await search.play(await search.plan())
        assert record.outcome == "failed"
        assert fault in writer.faults[0]


async def test_a_mutator_that_cannot_answer_costs_the_round(folder, full):
    search, _ = written(folder, full, Writer())
    search.implementer._voice = Voice(SimpleNamespace(run=_refuses), "scripted")
    record = await search.play(await search.plan())
    assert (record.outcome, record.reason) == ("failed", "it will not")


async def _refuses(request: AgentRequest) -> AsyncIterator[AgentEvent]:
    yield Result("refused", reason="it will not")


async def test_no_answer_is_an_agent_error_for_whoever_asks(folder, full):
    search = open_search(folder, "evolve", full, Voice(SimpleNamespace(run=_refuses), "playbook"))
    with pytest.raises(AgentError, match="it will not"):
        await search.implementer.propose(0, [], draw="x")
    assert "it will not" in await search.plan()
