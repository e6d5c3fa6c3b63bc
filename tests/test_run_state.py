"""The reducer: the same journal gives the same state, however and how often it is read."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import measured, started
from vibeserve_tui import events as ev
from vibeserve_tui.run_state import RunState, Status

_SEED = ev.TaskPlan(title="seed")
HISTORY: list[ev.Event] = [
    started(),
    ev.RoundFinished(
        record=ev.RoundRecord(number=0, task=_SEED, outcome="kept", reason="", measured=measured(ratio=1.0))
    ),
    ev.ChampionMoved(round=0, commit="c0"),
    ev.RoundPlanned(number=1, task=ev.TaskPlan(title="batch")),
    ev.AttemptStarted(round=1, attempt=1),
    ev.AttemptCommitted(round=1, attempt=1, commit="c1", tree="t1", parent="c0", ref="r"),
    ev.AttemptJudged(round=1, attempt=1, verdict=ev.Verdict(outcome="fail", reason="wrong")),
    ev.AttemptStarted(round=1, attempt=2),
    ev.MeasurementStarted(round=1, label_a="r0", label_b="r1", level="c16"),
    ev.WindowMeasured(round=1, side="A", block=1, pair=0, level="c16", values={"output_throughput": 1.0}),
    ev.BlockFinished(round=1, block=1, d=0.1),
    ev.MeasurementFinished(round=1, measured=measured()),
    ev.ApprovalRequested(id="1-2", round=1, default="approve"),
    ev.ApprovalDecided(id="1-2", round=1, action="approve", by="ann"),
    ev.RoundFinished(
        record=ev.RoundRecord(number=1, task=ev.TaskPlan(title="batch"), outcome="kept", reason="", measured=measured())
    ),
    ev.ChampionMoved(round=1, commit="c1"),
    ev.UnknownEvent(kind="telepathy"),
    ev.RunFinished(reason="done", champion=1),
]


def records(events: list[ev.Event]) -> list[ev.Record]:
    return [
        ev.Record(seq=seq, ts_wall=1000.0 + seq, ts_mono=seq, boot_id="b", event=event)
        for seq, event in enumerate(events, start=1)
    ]


def fold(some: list[ev.Record]) -> RunState:
    state = RunState()
    for record in some:
        state.apply(record)
    return state


def test_a_whole_history_ends_with_the_champion_and_nothing_in_flight():
    state = fold(records(HISTORY))
    assert (state.champion, state.champion_commit, state.in_flight, state.approval) == (1, "c1", None, None)
    assert (state.status, state.status_reason) == (Status.FINISHED, "done")
    assert state.level_of(1) == 200.0


def test_a_tree_that_comes_back_is_known_by_how_often_it_was_measured():
    def played(number: int, tree: str, **result: object) -> list[ev.Event]:
        task = ev.TaskPlan(title="again", kind="agent")
        ended = ev.RoundRecord(number=number, task=task, outcome="indecisive", reason="", tree=tree, **result)
        commit = ev.AttemptCommitted(round=number, attempt=1, commit=f"c{number}", tree=tree, parent="c0", ref="r")
        return [ev.RoundPlanned(number=number, task=task), commit, ev.RoundFinished(record=ended)]

    history = [started(), *played(1, "t", measured=measured()), *played(2, "t"), *played(3, "u", measured=measured())]
    counts = {tree: fold(records([*history, *played(4, tree)[:2]])).times_measured() for tree in ("t", "u", "new")}
    assert counts == {"t": 1, "u": 1, "new": 0}
    assert fold(records(history)).times_measured() == 0


def test_a_new_attempt_forgets_the_last_ones_results_but_not_its_reason():
    state = fold(records(HISTORY[:8]))
    assert state.in_flight is not None
    assert state.in_flight.committed is None and state.in_flight.verdict is None
    assert state.in_flight.failures == ["wrong"]


@given(st.lists(st.integers(0, len(HISTORY) - 1), max_size=40), st.integers(0, len(HISTORY)))
def test_repeated_and_overlapping_reading_changes_nothing(repeats, prefix):
    whole = records(HISTORY)
    state = fold(whole[:prefix])
    for index in repeats:
        if index < prefix:
            state.apply(whole[index])
    for record in whole[prefix:]:
        state.apply(record)
    assert state == fold(whole)


def test_every_event_names_the_parts_of_the_screen_that_it_changes():
    for before, record in itertools.pairwise(records(HISTORY)):
        state = fold(records(HISTORY)[: before.seq])
        state.take_dirty()
        state.apply(record)
        assert state.take_dirty() == set(record.event.views)


def test_lineage_lists_the_rounds_in_a_tree_oldest_first():
    state = RunState()
    parents = {1: 0, 2: 1, 3: 1, 4: 3}
    for number, parent in parents.items():
        task = ev.TaskPlan(title=str(number), parent=parent)
        state.rounds[number] = ev.RoundRecord(number=number, task=task, outcome="kept", reason="")
    assert state.lineage(4) == [1, 3, 4]
    assert state.lineage(0) == []


def test_a_round_that_is_kept_meanwhile_does_not_make_a_revert_forgotten():
    back_to_seed = ev.CommandAccepted(id="1", command="revert", round=0)
    *before, moved = HISTORY[:16]
    state = fold(records([*before, back_to_seed, moved]))
    assert (state.champion, state.revert_wished) == (1, 0)
    state = fold(records([*before, back_to_seed, moved, ev.ChampionMoved(round=0, commit="c0", by="operator")]))
    assert (state.champion, state.revert_wished) == (0, None)


def test_a_stop_after_a_stop_now_takes_nothing_back():
    stops = [ev.CommandAccepted(id=str(now), command="stop", now=now) for now in (True, False)]
    assert fold(records([*HISTORY[:3], *stops])).stop_now_wished


def test_an_ablation_takes_none_of_the_rounds_that_were_planned():
    ablated = ev.RoundRecord(number=2, task=ev.TaskPlan(title="without it", kind="ablation"), outcome="kept", reason="")
    state = fold(records([*HISTORY[:16], ev.SettingChanged(name="max_rounds", value="1")]))
    assert (state.rounds_played, state.rounds_left) == (1, 0)
    state = fold(
        records([*HISTORY[:16], ev.RoundFinished(record=ablated), ev.SettingChanged(name="max_rounds", value="3")])
    )
    assert (state.rounds_played, state.rounds_left) == (1, 2)
