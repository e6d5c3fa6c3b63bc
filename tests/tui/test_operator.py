"""What an operator sees and asks beyond the rounds: gain, spending, budget, questions, hints, board, window title."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tui import journals
from tests.tui.stage import Stage, assert_snapshot, stage
from tests.tui.start_services import Library
from tests.tui.test_drawing import view_of
from vibeserve_tui import commands as cmd
from vibeserve_tui import events as ev
from vibeserve_tui.client import Liveness
from vibeserve_tui.evaluation import gate
from vibeserve_tui.inputs.config import Ui
from vibeserve_tui.reasons import WORDS, in_words
from vibeserve_tui.run_state import RunState, Spend
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui.hints import HINTS, Hints
from vibeserve_tui.tui.ink import text_of
from vibeserve_tui.tui.panes.board import BoardPane
from vibeserve_tui.tui.panes.header import draw_header, window_title
from vibeserve_tui.tui.panes.live import draw_sparks
from vibeserve_tui.tui.screens.budget import Budget
from vibeserve_tui.tui.screens.compare import CompareScreen, compared_figures


def feed(opened: Stage, *events: ev.Event) -> None:
    now = opened.screen.view.now
    first = opened.client.state.seq + 1
    opened.client.feed(
        *(
            ev.Record(seq=first + at, ts_wall=now, ts_mono=0, boot_id="boot", event=event)
            for at, event in enumerate(events)
        )
    )


# gain


def test_the_gain_is_the_product_of_what_each_champion_gained_on_the_one_before() -> None:
    state = view_of("running").state
    ratios = [1.42, 1.78, 1.034, 1.21, 1.81]
    expected = 1.0
    for ratio in ratios:
        expected *= ratio
    assert state.champion == 8
    assert state.gain(8) == pytest.approx(expected)
    assert state.gain(4) is None, "a failed round was never measured"
    assert state.gain(0) == 1.0


def test_a_round_is_multiplied_with_the_champion_it_was_measured_against_not_with_its_parent() -> None:
    state = RunState()
    seq = 0

    def say(*events: ev.Event) -> None:
        nonlocal seq
        for event in events:
            seq += 1
            state.apply(ev.Record(seq=seq, ts_wall=seq, ts_mono=seq, boot_id="b", event=event))

    def play(number: int, parent: int, ratio: float, *, kept: bool) -> None:
        task = ev.TaskPlan(title=f"r{number}", parent=parent)
        measured = ev.Measured(
            outcome="accepted", reason="", blocks=3, figures=journals.figures(1.0, ratio, ratio, 0.01)
        )
        outcome = ev.Outcome.KEPT if kept else ev.Outcome.INDECISIVE
        record = ev.RoundRecord(number=number, task=task, outcome=outcome, reason="", measured=measured)
        say(
            ev.RoundPlanned(number=number, task=task),
            ev.AttemptStarted(round=number, attempt=1),
            ev.MeasurementFinished(round=number, measured=measured),
            ev.RoundFinished(record=record),
        )
        if kept:
            say(ev.ChampionMoved(round=number, commit="c"))

    play(1, 0, 2.0, kept=True)
    play(2, 1, 1.01, kept=False)
    play(3, 2, 1.5, kept=True)  # built on the indecisive round 2, but measured against round 1
    assert state.gain(3) == pytest.approx(3.0)


def test_the_header_divides_no_levels_of_different_hours() -> None:
    view = view_of("running")
    second = text_of(draw_header(view, 120)[1])
    assert "+471.6 %" not in second
    assert f"+{100 * ((view.state.total_gain or 0) - 1):.1f} %" in second
    assert "67.9 → 388.1" not in second
    finished = text_of(draw_header(view_of("finished"), 120)[1])
    assert "68.3 → 391.2 tok/s" in finished, "measured beside one another at the end"
    assert "×5.7" in finished


# money


@pytest.mark.parametrize(
    ("spend", "text"),
    [
        (Spend(10, 0.12), "$0.12"),
        (Spend(10, 0.12, unpriced=True), "$0.12+"),
        (Spend(10, 0.0, unpriced=True), "$ unknown"),
    ],
)
def test_a_price_that_is_not_known_is_said(spend: Spend, text: str) -> None:
    assert fig.cost(spend) == text


async def test_tokens_and_money_stand_in_the_header_and_by_role_below_the_agents() -> None:
    async with stage("running", (120, 40)) as opened:
        feed(
            opened,
            ev.SettingChanged(name="max_usd", value="5"),
            ev.AgentCalling(id="t1", role="implementer", round=9, model="model-x", tokens=500, usd=0.01),
        )
        await opened.settle()
        assert "waiting for impl: model-x" in opened.text
        feed(opened, ev.AgentSpent(id="t1", role="implementer", model="model-x", input=40_000, output=5_000, usd=0.42))
        await opened.settle()
        await opened.press("f")
        assert "45k tok   $0.42 of $5.00" in opened.text
        assert "impl 27 calls 45k tok $0.42" in opened.text


# budget and questions


async def test_the_budget_dialog_sends_only_what_was_changed() -> None:
    async with stage("running") as opened:
        await opened.press("B")
        await opened.until("every measured round waits for you")
        await opened.press("right", "down", "right", "right", "enter")
        assert [command.model_dump(exclude={"id"}, exclude_none=True) for command in opened.client.sent] == [
            {"kind": "set_approval_mode", "by": "operator", "mode": "on-regression"},
            {"kind": "set_budget", "by": "operator", "max_rounds": 14},
        ]
        opened.client.sent.clear()
        await opened.press("B", "right", "escape")
        assert opened.client.sent == []


def test_money_gets_a_limit_with_its_first_step_and_time_never_goes_below_a_minute() -> None:
    budget = Budget("auto", 3, 4.0, None)
    assert budget.changed(3, 1).usd == 1.0
    assert budget.changed(2, -1).minutes == 1.0
    assert budget.changed(0, -1).mode == "on-regression"
    assert budget.commands(budget) == []


async def test_a_question_is_answered_on_a_page() -> None:
    async with stage("running", services=Library()) as opened:
        await opened.press("A", *"why", "enter")
        await opened.until("3 of 64 prompts differ from the reference (r4) ")
        assert "│ judge J2 failed" in opened.text, "lines stay lines"
        await opened.press("escape")
        assert opened.app.screen is opened.screen


# bench both again


async def test_two_rounds_are_measured_again_when_that_is_confirmed() -> None:
    async with stage("running", (120, 40)) as opened:
        opened.screen.select_round(2)
        await opened.press("m")
        opened.screen.select_round(8)
        await opened.press("c")
        assert "b benches both again" in opened.text
        await opened.press("b", "y")
        assert [command.model_dump(exclude={"id", "by"}) for command in opened.client.sent] == [
            {"kind": "measure_again", "a": 2, "b": 8}
        ]
        feed(opened, ev.MeasurementAsked(a=2, b=8))
        await opened.settle()
        await opened.until("both are measured again before the next round")
        started = ev.MeasurementStarted(round=8, label_a="r2", label_b="r8", level="c16", purpose="again")
        feed(opened, started, ev.BlockFinished(round=8, block=1, d=0.7))
        await opened.settle()
        await opened.until("measured again now, interleaved: 1 block done")
        measured = ev.Measured(
            outcome="accepted", reason="", blocks=3, figures=journals.figures(210.0, 420.0, 2.0, 0.1)
        )
        feed(opened, ev.MeasuredAgain(a=2, b=8, measured=measured))
        await opened.settle()
        await opened.until("measured again, interleaved")
        assert isinstance(opened.app.screen, CompareScreen)
        assert "[+90.0, +110.0]" in opened.text
        turned, together = compared_figures(opened.screen.view, 8, 2)
        assert together
        assert (turned[0].a, turned[0].b, turned[0].ratio) == (420.0, 210.0, 0.5)
        assert turned[0].ci_low == pytest.approx(1 / 2.1)


async def test_a_recording_measures_nothing() -> None:
    async with stage("running", liveness=Liveness.REPLAY) as opened:
        opened.screen.select_round(8)
        await opened.press("c", "b")
        assert opened.client.sent == []
        await opened.until("a recording measures nothing")


# board


@pytest.mark.parametrize("size", [(120, 40), (200, 60)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_zoomed_board_has_columns(size: tuple[int, int]) -> None:
    async with stage("running", size) as opened:
        await opened.press("4", "z")
        assert_snapshot(f"kanban-{size[0]}x{size[1]}", opened.text)


async def test_the_keys_walk_through_cards_and_columns() -> None:
    async with stage("running", (120, 40)) as opened:
        await opened.press("4", "z")
        board = opened.screen.query_one(BoardPane)
        seen = []
        for key in ("j", "pagedown", "pageup", "G", "k", "g"):
            await opened.press(key)
            seen.append(board.chosen.id if board.chosen else "")
        assert seen == ["I-10", "I-5", "I-10", "I-3", "I-9", "I-7"]
        await opened.press("j", "plus")
        assert [type(command) for command in opened.client.sent] == [cmd.EditIssue]
        await opened.press("enter")
        await opened.until("I-10 · speculative n-gram draft")


async def test_a_narrow_zoomed_board_stays_a_list() -> None:
    async with stage("running", (80, 24)) as opened:
        await opened.press("4", "z")
        assert "Done and dropped" not in opened.text


# hints


def test_a_hint_is_shown_once_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "state" / "seen"
    first = Hints(file, wanted=True)
    assert first.take("zoom") == HINTS["zoom"]
    assert first.take("zoom") == ""
    assert Hints(file, wanted=True).take("zoom") == ""
    assert Hints(file, wanted=True).take("detach") == HINTS["detach"]


def test_hints_can_be_turned_off_and_wait_for_their_time(tmp_path: Path) -> None:
    assert Hints(tmp_path / "seen", wanted=False).take("zoom") == ""
    hints = Hints(tmp_path / "seen", wanted=True)
    assert hints.due(0) == ""
    assert hints.due(5) == "help"
    hints.take("help")
    assert hints.due(5) == ""
    assert hints.due(30) == "zoom"


def test_hints_that_cannot_be_remembered_are_still_shown(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    hints = Hints(tmp_path / "file" / "seen", wanted=True)
    assert hints.take("zoom") == HINTS["zoom"]
    assert hints.take("zoom") == ""


async def test_putting_an_approval_off_says_how_to_come_back(tmp_path: Path) -> None:
    library = Library(crash_dir=tmp_path)
    async with stage("waiting", ui=Ui(glyphs="unicode"), services=library) as opened:
        await opened.press("escape")
        await opened.until("a opens it again")
    assert (tmp_path / "hints-seen").read_text().split() == ["later"]


# window title and sparks


@pytest.mark.parametrize(
    ("journal", "liveness", "title"),
    [
        ("running", Liveness.RUNNING, "◐ tiny-llama-chat r9/12 measuring ×5.7"),
        ("waiting", Liveness.RUNNING, "‖ tiny-llama-chat: round 9 waits for you"),
        ("finished", Liveness.FINISHED, "✓ tiny-llama-chat finished ×5.7"),
        ("engine_lost", Liveness.CRASHED, "✗ tiny-llama-chat r3/12 engine crashed ×2.5"),
        ("empty", Liveness.RUNNING, "◐ tiny-llama-chat starting"),
    ],
)
def test_the_window_title_tells_the_run_in_a_few_words(journal: str, liveness: Liveness, title: str) -> None:
    view = view_of(journal)
    view.liveness = liveness
    assert window_title(view) == title


def test_an_ablation_is_none_of_the_rounds_that_were_planned() -> None:
    view = view_of("running")
    ablation = ev.TaskPlan(title="without it", kind="ablation")
    for seq, event in enumerate(
        (ev.RoundPlanned(number=13, task=ablation), ev.PhaseStarted(phase=ev.Phase.MEASURE, round=13)), 100_000
    ):
        view.state.apply(ev.Record(seq=seq, ts_wall=view.now, ts_mono=0, boot_id="boot", event=event))
    assert window_title(view).startswith("◐ tiny-llama-chat r13 measuring")
    assert "round 13 · measuring" in text_of(draw_header(view, 120)[0])


async def test_the_app_s_title_follows_the_run() -> None:
    async with stage("running") as opened:
        assert opened.app.title.startswith("◐ tiny-llama-chat r9/12")


def test_load_and_memory_have_their_course_their_value_and_its_unit() -> None:
    view = view_of("running")
    assert view.state.live is not None
    load, memory = (text_of(row) for row in draw_sparks(view, view.state.live, 50))
    assert load.endswith("  0.9 of 2 cores")
    assert memory.endswith(" MiB")
    assert "█" in memory


async def test_sparks_stand_where_there_is_room_and_push_nothing_out() -> None:
    async with stage("running", (200, 60)) as opened:
        assert "of 2 cores" in opened.text
    async with stage("running", (120, 40)) as opened:
        assert "provisional, 1 of 3 blocks" in opened.text


# reasons


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("leap", "so much better that few blocks were enough"),
        ("guard:peak_rss_mib", "another figure got worse than is tolerated: peak_rss_mib"),
        ("environment: load 3.1", "the machine was too busy to measure: load 3.1"),
        ("3 of 64 prompts differ", "3 of 64 prompts differ"),
    ],
)
def test_the_gates_codes_are_put_into_words_and_other_text_is_left_alone(reason: str, words: str) -> None:
    assert in_words(reason) == words


def test_every_reason_that_the_gate_gives_has_words() -> None:
    source = (Path(gate.__file__)).read_text(encoding="utf-8")
    given = set(re.findall(r'(?:_accept|_last_word)\((?:usable, )?"([a-z_]+)"', source))
    given |= set(re.findall(r'_end\(Outcome\.[A-Z]+, "([a-z_]+)"', source))
    given |= {str(closed) for closed in gate.Closed} - {"noise_run"}
    assert len(given) > 5
    assert given <= set(WORDS)


@pytest.mark.parametrize("key", ["v", "s", "B", "i", "space"])
async def test_a_run_that_is_over_says_so_before_anything_is_asked(key: str) -> None:
    async with stage("finished") as opened:
        await opened.press("home", key)
        assert opened.app.screen is opened.screen, "a dialog asks for what cannot be sent"
        assert "vibeserve export" in "".join(notice.message for notice in opened.app._notifications)
