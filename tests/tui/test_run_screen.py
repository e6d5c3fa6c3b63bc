from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tui import fakes, journals
from tests.tui.fakes import FakeServices, screen_text
from tests.tui.stage import assert_snapshot, stage
from tests.tui.start_services import Library
from vibeserve_tui import commands as cmd
from vibeserve_tui import events as ev
from vibeserve_tui.client import AttachedClient, Liveness
from vibeserve_tui.inputs.config import Config, Ui
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.tui.app import VibeServeApp
from vibeserve_tui.tui.keymap import SCREENS, TABLE
from vibeserve_tui.tui.layout import PANES
from vibeserve_tui.tui.panes.agents import AgentsPane
from vibeserve_tui.tui.panes.diff import DiffPane
from vibeserve_tui.tui.panes.pane import Drawing
from vibeserve_tui.tui.panes.trend import TrendPane
from vibeserve_tui.tui.screens.review import ReviewScreen
from vibeserve_tui.tui.view import RunView

SIZES = ((80, 24), (120, 40), (200, 60))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("journal", ["running", "finished"])
async def test_run_screen_looks_as_stored(journal: str, size: tuple[int, int]) -> None:
    async with stage(journal, size) as opened:
        assert_snapshot(f"run-{journal}-{size[0]}x{size[1]}", opened.text)


@pytest.mark.parametrize(
    ("doubt", "moved", "title", "words"),
    [
        ("", False, "Confirmed · r11 against r0", "the figures to quote"),
        ("the machine was too busy to measure", False, "Not confirmed · r11 against r0", "the machine was too busy"),
        ("", True, "Not confirmed · r11 against r0", "the gain did not hold"),
    ],
    ids=["confirmed", "in doubt", "no gain"],
)
async def test_figures_that_may_not_be_quoted_say_so_beside_the_reason(
    monkeypatch: pytest.MonkeyPatch, doubt: str, moved: bool, title: str, words: str
) -> None:
    def ended() -> journals.Script:
        script = journals.rounds_through(journals.with_baseline(journals.started()), 12)
        shown = journals.figures(68.3, 391.2, 5.73, 0.09)
        script.say(ev.Confirmed(champion=11, baseline=0, figures=shown, blocks=4, doubt=doubt))
        if moved:
            script.say(ev.ChampionMoved(round=0, commit="c0", reason="not confirmed"))
        script.say(ev.RunFinished(reason="all 12 rounds played", champion=0 if moved else 11))
        return script

    monkeypatch.setitem(journals.ALL, "ended", ended)
    async with stage("ended", (80, 24)) as opened:
        await opened.press("2")
        assert f"─ {title} ─" in opened.text
        assert words in opened.text
        assert ("the figures to quote" in opened.text) is (title.startswith("Confirmed"))


async def test_a_lost_engine_is_named_with_the_key_that_brings_it_back() -> None:
    async with stage("engine_lost", (80, 24), liveness=Liveness.CRASHED) as opened:
        assert "crashed" in opened.text.splitlines()[0]
        assert "space resumes" in opened.text.splitlines()[0]


async def test_a_silent_engine_is_named_with_the_time_since_its_last_word() -> None:
    async with stage("running", liveness=Liveness.NOT_RESPONDING) as opened:
        assert "engine not responding   00:42" in opened.text


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_every_digit_opens_its_pane(size: tuple[int, int]) -> None:
    async with stage("finished", size) as opened:
        for digit, name in enumerate(PANES, 1):
            await opened.press(str(digit))
            assert opened.app.screen.focused is opened.screen.query_one(f"#{name}")
            assert opened.screen.query_one(f"#{name}").region.area > 0


async def test_zoom_gives_a_pane_the_whole_body_and_escape_takes_it_back() -> None:
    async with stage("running", (120, 40)) as opened:
        await opened.press("4", "z")
        assert opened.screen.query_one("#board").region.size == (120, 37)
        await opened.press("escape")
        assert opened.screen.query_one("#board").region.width == 66


async def test_selection_and_pane_survive_a_storm_of_sizes() -> None:
    async with stage("finished", (120, 40)) as opened:
        await opened.press("left_square_bracket", "left_square_bracket", "8")
        for size in ((80, 24), (5, 2), (200, 60), (60, 16), (59, 16), (100, 32), (160, 30), (120, 40)):
            await opened.pilot.resize_terminal(*size)
        await opened.settle()
        assert opened.screen.view.selected == 10
        assert "8 Trend" in opened.text


async def test_a_terminal_that_is_too_small_says_so() -> None:
    async with stage("running", (50, 10)) as opened:
        assert "the run goes on" in opened.text


async def test_panes_that_did_not_change_are_not_drawn() -> None:
    async with stage("running") as opened:
        drawn: list[str] = []
        for pane in opened.screen.query(AgentsPane):
            pane.draw = lambda view: drawn.append("agents") or Drawing([], "Agents")  # type: ignore[method-assign,func-returns-value]
        record = ev.Record(
            seq=100_000, ts_wall=opened.screen.view.now, ts_mono=0, boot_id="boot", event=ev.Warned(text="hot")
        )
        opened.client.feed(record)
        await opened.settle()
        assert drawn == []


async def test_a_fault_in_one_pane_leaves_the_others_alone() -> None:
    def broken(view: RunView) -> Drawing:
        raise ZeroDivisionError("no rounds")

    async with stage("running", (200, 60)) as opened:
        opened.screen.query_one(TrendPane).draw = broken  # type: ignore[method-assign]
        opened.screen.action_follow()
        await opened.pilot.pause()
        assert "this pane failed" in opened.text
        assert "continuous batching" in opened.text


async def test_while_the_engine_measures_every_other_tick_draws_nothing() -> None:
    async with stage("running") as opened:
        seen: list[bool] = []
        opened.screen.repaint = lambda **_: seen.append(True)  # type: ignore[method-assign]
        for _ in range(8):
            opened.screen.tick()
        assert len(seen) == 4


async def test_ascii_signs_draw_nothing_else() -> None:
    for journal in ("running", "finished"):
        async with stage(journal, (200, 60), ui=Ui(glyphs="ascii", hints=False)) as opened:
            assert opened.text.isascii(), {c for c in opened.text if not c.isascii()}


async def test_filter_keeps_matching_rounds_and_escape_clears_it() -> None:
    async with stage("finished") as opened:
        await opened.press("slash", *"ix c", "enter")
        assert "prefix cache" in opened.text
        assert "uvloop" not in opened.text
        await opened.press("escape")
        assert "uvloop" in opened.text


async def test_a_waiting_round_opens_its_review_once() -> None:
    async with stage("waiting") as opened:
        assert isinstance(opened.app.screen, ReviewScreen)
        await opened.press("escape")
        await opened.settle()
        assert opened.app.screen is opened.screen


async def test_a_waiting_round_never_opens_over_a_text_field() -> None:
    async with stage("running") as opened:
        await opened.press("slash")
        request = ev.ApprovalRequested(id="r9", round=9, default="approve")
        opened.client.feed(
            ev.Record(seq=100_000, ts_wall=opened.screen.view.now, ts_mono=0, boot_id="boot", event=request)
        )
        await opened.settle()
        assert opened.app.screen is opened.screen


async def test_each_steering_key_sends_its_command() -> None:
    back = ("left_square_bracket",) * 3
    async with stage("running") as opened:
        for keys, expected in (
            (("space",), cmd.Pause),
            (("s", *"p9", "enter"), cmd.Steer),
            (("x", "y"), cmd.CancelStep),
            (("i", *"fa", "enter"), cmd.NewIssue),
            (("p",), cmd.Pin),
            ((*back, "v", "y"), cmd.RevertTo),
            (("4", "j", "plus"), cmd.EditIssue),
            (("b",), cmd.EditIssue),
            (("e", *"!", "enter"), cmd.EditIssue),
        ):
            opened.client.sent.clear()
            await opened.press(*keys)
            assert [type(command) for command in opened.client.sent] == [expected], keys


@pytest.mark.parametrize(
    ("keys", "expected"), [("p", cmd.Pause()), ("s", cmd.Stop()), ("ky", cmd.Stop(now=True))], ids=["p", "s", "ky"]
)
async def test_leaving_can_pause_or_stop_the_run(keys: str, expected: cmd.Command) -> None:
    async with stage("running") as opened:
        for key in ("q", *keys):
            await opened.pilot.press(key)
            await opened.pilot.pause()
        assert [c.model_dump(exclude={"id"}) for c in opened.client.sent] == [expected.model_dump(exclude={"id"})]
        assert opened.app._exit


async def test_a_question_answered_with_no_sends_nothing() -> None:
    async with stage("running") as opened:
        for keys in (("x", "n"), ("q", "k", "escape"), ("q", "escape"), ("s", "escape"), ("v",)):
            await opened.press(*keys)
            assert opened.client.sent == [], keys
            assert opened.app.screen is opened.screen
        assert opened.app.is_running


@pytest.mark.slow
async def test_no_key_of_the_run_screen_fails() -> None:
    leaving = {"run.detach", "app.leave", "app.interrupt", "app.suspend", "app.screenshot", "run.editor"}
    async with stage("running", services=Library()) as opened:
        for key in (key for scope in SCREENS["run"] for key in TABLE[scope] if key.id not in leaving):
            for name in key.keys.split(","):
                await opened.pilot.press(name)
                await opened.pilot.pause()
                while opened.app.screen is not opened.screen:
                    opened.app.pop_screen()
                    await opened.pilot.pause()
        assert opened.app.is_running


async def test_the_diff_s_keys_move_and_change_it() -> None:
    async with stage("finished", (120, 24)) as opened:
        await opened.press("3", "z")
        pane = opened.screen.query_one(DiffPane)
        rows = pane.line_count
        await opened.press("d")
        assert pane.line_count < rows
        assert any("│" in row[40:80] for row in opened.text.splitlines()[3:20])
        await opened.press("d", "w")
        assert pane.line_count == rows
        opened.screen.query_one(DiffPane).set_diff(fakes.DIFF * 6, "Diff", "")
        starts = []
        for key in ("n", "n", "right_curly_bracket", "N", "left_curly_bracket"):
            await opened.press(key)
            starts.append(pane.scroll_offset.y)
        assert starts[0] > 0
        assert starts[1] > starts[0]
        assert starts[2] > starts[1]
        assert starts[3] < starts[2]
        assert starts[4] < starts[3]


async def test_following_starts_again_with_f() -> None:
    async with stage("finished") as opened:
        await opened.press("6", "g")
        agents = opened.screen.query_one(AgentsPane)
        assert agents.cursor == 0
        assert not agents.follow
        await opened.press("f")
        assert agents.cursor == len(agents.entries) - 1


async def test_a_long_line_opens_in_full() -> None:
    async with stage("running", (80, 24)) as opened:
        await opened.press("6", "k", "enter")
        assert "greatest gap 3.1e-4" in opened.text


async def test_detaching_leaves_the_run_alone_and_tells_the_way_back() -> None:
    async with stage("running") as opened:
        await opened.pilot.press("q", "d")
        assert opened.client.sent == []
        assert opened.app._exit
        assert opened.app.way_back == "vibeserve attach 20261120-0814-tiny-llama-chat"


async def test_leaving_a_run_that_is_over_needs_no_way_back() -> None:
    async with stage("finished") as opened:
        await opened.pilot.press("q")
        assert opened.app._exit
        assert opened.app.way_back == ""


async def test_a_run_that_is_over_offers_no_key_that_steers_it() -> None:
    async with stage("finished") as opened:
        assert "s steer" not in opened.text
        assert "c compare" in opened.text


async def test_a_refused_command_is_told_with_its_reason() -> None:
    async with stage("running") as opened:
        await opened.press("p")
        rejected = ev.CommandRejected(id=opened.client.sent[0].id, command="pin", reason="round 9 is not finished")
        opened.client.feed(
            ev.Record(seq=100_000, ts_wall=opened.screen.view.now, ts_mono=0, boot_id="boot", event=rejected)
        )
        await opened.settle()
        await opened.until("refused, round 9 is not finished")


async def test_a_hostile_task_title_cannot_reach_the_terminal() -> None:
    async with stage("running") as opened:
        task = journals.task_of(journals.ROUNDS[8]).model_copy(
            update={"title": "x\x1b[2J\x1b]0;owned\x07\u202egnp[bold]"}
        )
        planned = ev.RoundPlanned(number=9, task=task)
        opened.client.feed(
            ev.Record(seq=100_000, ts_wall=opened.screen.view.now, ts_mono=0, boot_id="boot", event=planned)
        )
        await opened.settle()
        assert "xgnp[bold]" in opened.text
        assert "\x1b" not in opened.text
        assert "\u202e" not in opened.text


async def test_a_damaged_journal_is_named_and_not_read_again(tmp_path: Path) -> None:
    run = RunDir(journals.write_run(journals.finished(), tmp_path / "run"))
    lines = run.journal.read_bytes().splitlines(keepends=True)
    run.journal.write_bytes(b"".join(lines[:200]))
    app = VibeServeApp(FakeServices(), AttachedClient(run), config=Config(ui=Ui(glyphs="unicode", hints=False)))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause(0.4)
        with run.journal.open("ab") as file:
            file.write(b"".join(lines[205:]))
        await pilot.pause(0.6)
        assert "✗ the journal cannot be read" in screen_text(app)
        assert app.is_running


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is per thread on Linux only")
def test_what_the_app_starts_does_not_inherit_its_low_priority() -> None:
    code = """
import os, queue
from vibeserve_tui.tui.outside import Outside
outside, seen = Outside(), queue.Queue()
os.setpriority(os.PRIO_PROCESS, 0, 10)
outside.do(lambda: seen.put(os.popen("nice").read().strip()))
print(seen.get(), os.popen("nice").read().strip())
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert int(shown[0]) < int(shown[1])


async def test_a_click_selects_and_the_wheel_is_not_undone() -> None:
    async with stage("finished", (120, 40)) as opened:
        await opened.pilot.click("#rounds", offset=(10, 4))
        await opened.settle()
        assert opened.screen.view.selected == 2
        agents = opened.screen.query_one(AgentsPane)
        bottom = agents.scroll_offset.y
        agents.on_mouse_scroll_up()
        agents.scroll_to(y=3, animate=False)
        warned = ev.AgentSaid(role="judge", text="one more")
        opened.client.feed(
            ev.Record(seq=100_000, ts_wall=opened.screen.view.now, ts_mono=0, boot_id="boot", event=warned)
        )
        await opened.settle()
        assert agents.scroll_offset.y == 3 < bottom
