"""Compare, editors, help, settings, replay: the screens around the run screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import TextArea

from tests.tui import journals
from tests.tui.fakes import DIFF, FakeServices, screen_text
from tests.tui.stage import assert_snapshot, stage
from tests.tui.start_services import Library
from vibeserve_tui import commands as cmd
from vibeserve_tui import events as ev
from vibeserve_tui.client import Liveness, ReplayClient
from vibeserve_tui.errors import ProfileError
from vibeserve_tui.inputs.config import Config, Ui
from vibeserve_tui.state.memory import digest
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.tui.app import VibeServeApp
from vibeserve_tui.tui.crash import last_words, write_report
from vibeserve_tui.tui.keymap import SCREENS, TABLE
from vibeserve_tui.tui.layout import PANES
from vibeserve_tui.tui.screens.compare import CompareScreen, compared_figures
from vibeserve_tui.tui.screens.editors import IssueEditor, MemoryEditor
from vibeserve_tui.tui.settings import write_setting
from vibeserve_tui.tui.shell import Shell


@pytest.mark.parametrize("size", [(80, 24), (120, 26)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_compare_looks_as_stored(size: tuple[int, int]) -> None:
    async with stage("finished", size) as opened:
        opened.screen.select_round(11)
        await opened.press("c")
        await opened.settle()
        assert_snapshot(f"compare-{size[0]}x{size[1]}", opened.text)


async def test_compare_takes_the_marked_round_swaps_and_moves() -> None:
    async with stage("finished") as opened:
        opened.screen.select_round(6)
        await opened.press("m")
        opened.screen.select_round(8)
        await opened.press("c")
        screen = opened.app.screen
        assert isinstance(screen, CompareScreen)
        assert (screen._a, screen._b) == (6, 8)
        await opened.press("x")
        assert (screen._a, screen._b) == (8, 6)
        await opened.press("right_square_bracket", "less_than_sign")
        assert (screen._a, screen._b) == (7, 7)
        await opened.press("y")
        assert opened.app.clipboard == ""
        await opened.press("right_square_bracket", "y")
        assert opened.app.clipboard == DIFF
        await opened.press("escape")
        assert opened.app.screen is opened.screen


async def test_the_keys_of_compare_mean_b_wherever_the_selection_below_has_gone() -> None:
    async with stage("running") as opened:
        opened.screen.select_round(8)
        await opened.press("c")
        opened.screen.action_follow()
        assert opened.screen.view.selected == 9
        await opened.press("p")
        sent = opened.client.sent[0]
        assert isinstance(sent, cmd.Pin) and sent.round == 8


async def test_figures_of_different_measurements_carry_no_interval() -> None:
    async with stage("finished") as opened:
        apart, together = compared_figures(opened.screen.view, 6, 11)
        assert not together
        assert apart[0].a == 214.8
        assert apart[0].b == 399.0
        assert all(figure.ci_low is None for figure in apart)
        assert compared_figures(opened.screen.view, 8, 11)[1]


# editors


async def test_an_edited_memory_is_sent_with_the_digest_of_what_was_edited() -> None:
    async with stage("running") as opened:
        await opened.press("5", "e", "x", "ctrl+s")
        assert opened.client.sent == [
            cmd.EditMemory(
                id=opened.client.sent[0].id,
                text="x" + journals.MEMORY.rstrip("\n") + "\n",
                base_sha256=digest(journals.MEMORY),
            )
        ]


async def test_an_unchanged_memory_is_not_sent() -> None:
    async with stage("running") as opened:
        await opened.press("5", "e", "ctrl+s")
        assert opened.client.sent == []
        assert opened.app.screen is opened.screen


async def test_a_memory_that_the_run_wrote_meanwhile_is_shown_before_it_is_replaced() -> None:
    async with stage("running") as opened:
        await opened.press("5", "e", "x")
        theirs = journals.MEMORY + "- a note of the run\n"
        written = ev.MemoryChanged(text=theirs, by="evaluator")
        opened.client.feed(
            ev.Record(seq=100_000, ts_wall=opened.screen.view.now, ts_mono=0, boot_id="boot", event=written)
        )
        await opened.settle()
        await opened.press("ctrl+s")
        assert opened.client.sent == []
        await opened.until("a note of the run")
        await opened.press("ctrl+s")
        sent = opened.client.sent[0]
        assert isinstance(sent, cmd.EditMemory)
        assert sent.base_sha256 == digest(theirs)


async def test_the_run_s_version_can_be_taken_instead() -> None:
    async with stage("running") as opened:
        await opened.press("5", "e", "x", "ctrl+t", "ctrl+s")
        assert opened.client.sent == []


async def test_closing_a_changed_memory_asks() -> None:
    async with stage("running") as opened:
        await opened.press("5", "e", "x", "escape")
        await opened.until("Close without saving")
        await opened.press("n")
        assert isinstance(opened.app.screen, MemoryEditor)
        await opened.press("escape", "y")
        assert opened.app.screen is opened.screen


async def test_a_new_issue_takes_type_and_priority_from_its_line() -> None:
    async with stage("running") as opened:
        await opened.press("i", *"SSE", "tab", "ctrl+u", *"P1 bug", "ctrl+s")
        sent = opened.client.sent[0]
        assert isinstance(sent, cmd.NewIssue)
        assert (sent.title, sent.priority, sent.type) == ("SSE", 1, ev.IssueType.BUG)


async def test_an_issue_without_a_title_is_not_sent() -> None:
    async with stage("running") as opened:
        await opened.press("i", "enter")
        assert opened.client.sent == []
        await opened.until("an issue needs a title")


async def test_an_issue_that_no_engine_would_take_stays_in_the_editor() -> None:
    async with stage("running") as opened:
        await opened.press("i", *"SSE")
        opened.app.screen.query_one(TextArea).text = "x" * (cmd.LONGEST_BODY + 1)
        await opened.press("ctrl+s")
        assert opened.client.sent == []
        await opened.until("8,000 are taken at most")
        assert isinstance(opened.app.screen, IssueEditor)


# help, palette, settings


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_help_looks_as_stored(size: tuple[int, int]) -> None:
    async with stage("running", size) as opened:
        await opened.press("question_mark")
        await opened.settle()
        assert_snapshot(f"help-{size[0]}x{size[1]}", opened.text)


async def test_help_can_be_searched() -> None:
    async with stage("running") as opened:
        await opened.press("question_mark", "slash", *"ste", "enter")
        assert "a note for all later plans" in opened.text
        assert "zoom the pane" not in opened.text
        await opened.press("escape")
        assert opened.app.screen is opened.screen


async def test_the_palette_knows_every_action_of_the_screen_and_every_pane() -> None:
    async with stage("running") as opened:
        titles = {command.title for command in opened.app.get_system_commands(opened.screen)}
        scopes = set(SCREENS["run"]) - {"lines"}
        assert {key.help for scope in scopes for key in TABLE[scope] if key.action} <= titles
        assert {f"go to {name}" for name in PANES} <= titles
        await opened.press("ctrl+p", *"go to trend", "enter")
        await opened.until("[8 Trend]")


async def test_settings_take_effect_at_once_and_only_changed_lines_are_written(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('# mine\n[ui]\ntheme = "nord"  # blue\n\n[run]\nprofile = "quick"\n', encoding="utf-8")
    app = VibeServeApp(
        FakeServices(), config=Config(ui=Ui(theme="nord", glyphs="unicode", hints=False)), config_dir=tmp_path
    )
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("comma", "right")
        assert app.theme != "nord"
        await pilot.press("down", "left")
        assert app.ui.glyphs == "auto"
        await pilot.press("escape")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# mine\n[ui]\n")
    assert f'theme = "{app.theme}"' in text
    assert 'glyphs = "auto"' in text
    assert "bell" not in text
    assert '[run]\nprofile = "quick"\n' in text


def test_a_setting_is_written_into_a_file_that_is_not_there(tmp_path: Path) -> None:
    write_setting(tmp_path / "new" / "config.toml", "ui", "bell", False)
    assert (tmp_path / "new" / "config.toml").read_text(encoding="utf-8") == "[ui]\nbell = false\n"


def test_a_setting_that_would_make_the_file_invalid_is_refused_and_a_link_stays_one(tmp_path: Path) -> None:
    path, link = tmp_path / "real.toml", tmp_path / "config.toml"
    path.write_text("ui = { bell = true }\n", encoding="utf-8")
    link.symlink_to(path)
    with pytest.raises(ProfileError, match=r"write ui as a table of its own, \[ui\]"):
        write_setting(link, "ui", "bell", False)
    assert path.read_text(encoding="utf-8") == "ui = { bell = true }\n"
    path.write_text("[ui]\nbell = true\n", encoding="utf-8")
    write_setting(link, "ui", "bell", False)
    assert link.is_symlink() and path.read_text(encoding="utf-8") == "[ui]\nbell = false\n"


def test_a_crash_leaves_three_lines_and_nothing_that_was_read(tmp_path: Path) -> None:
    error = ValueError("1 field is wrong\x1b[2J\nfield: the prompt")
    words = last_words(error, tmp_path / "crash.json", "vibeserve attach a-run")
    assert len(words.splitlines()) == 3
    assert "\x1b" not in words and "the prompt" not in words
    assert "the prompt" not in write_report(error, tmp_path, seq=None).read_text(encoding="utf-8")


# replay


async def test_a_replay_pauses_speeds_up_and_seeks(tmp_path: Path) -> None:
    run = RunDir(journals.write_run(journals.finished(), tmp_path / "run"))
    clock = [0.0]
    client = ReplayClient(run, speed=1.0, clock=lambda: clock[0])
    app = VibeServeApp(FakeServices(), client, config=Config(ui=Ui(glyphs="unicode", hints=False)))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("greater_than_sign", "greater_than_sign")
        assert client.speed == 4.0
        await pilot.press("ctrl+right", "ctrl+right")
        assert 0.09 < client.fraction < 0.11
        assert client.state.rounds
        await pilot.press("ctrl+left", "space")
        assert client.paused
        assert 0.04 < client.fraction < 0.06
        for _ in range(100):
            if "replay ×4, paused · 5 %" in screen_text(app):
                break
            await pilot.pause(0.02)
        else:
            raise AssertionError(screen_text(app))


async def test_a_lost_engine_is_brought_back_by_the_pause_key() -> None:
    library = Library()
    async with stage("engine_lost", liveness=Liveness.CRASHED, services=library) as opened:
        await opened.press("space")
        for _ in range(50):
            if library.resumed:
                break
            await opened.pilot.pause(0.02)
        assert library.resumed == ["20261120-0814-tiny-llama-chat"]
        assert opened.client.sent == []


async def test_a_skill_can_be_filed_as_an_issue_of_the_run() -> None:
    async with stage("running", services=Library()) as opened:
        await opened.press("L")
        await opened.until("prefix-cache")
        await opened.press("i")
        sent = opened.client.sent[0]
        assert isinstance(sent, cmd.NewIssue)
        assert sent.skill == "prefix-cache"


async def test_copy_puts_the_selected_line_on_the_clipboard() -> None:
    async with stage("finished") as opened:
        await opened.press("left_square_bracket", "y")
        assert isinstance(opened.app, Shell)
        assert "memoryview for the SSE" in opened.app.clipboard


async def test_the_screen_is_saved_as_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with stage("running") as opened:
        await opened.press("S")
        saved = list(tmp_path.iterdir())  # noqa: ASYNC240
        assert [path.suffix for path in saved] == [".svg"]


async def test_a_diff_goes_to_the_editor_and_an_edited_memory_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    async with stage("running") as opened:
        monkeypatch.setenv("EDITOR", "no-such-editor-here")
        await opened.press("o")
        await opened.until("terminal cannot be handed over")
