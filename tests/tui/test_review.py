from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui import journals
from tests.tui.fakes import FakeServices
from tests.tui.stage import Stage, assert_snapshot, stage
from vibeserve_tui import commands as cmd
from vibeserve_tui import events as ev
from vibeserve_tui.client import AttachedClient
from vibeserve_tui.inputs.config import Config, Ui
from vibeserve_tui.reasons import in_words
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.tui.app import VibeServeApp
from vibeserve_tui.tui.screens.review import GRACE_S, ReviewScreen

SIZES = ((80, 24), (120, 40))


def past_grace(opened: Stage) -> None:
    """Pretend that the review has been open for a while."""
    screen = opened.app.screen
    assert isinstance(screen, ReviewScreen)
    screen._opened -= 2 * GRACE_S


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_review_looks_as_stored(size: tuple[int, int]) -> None:
    async with stage("waiting", size) as opened:
        assert_snapshot(f"review-{size[0]}x{size[1]}", opened.text)


@pytest.mark.parametrize("tab", ["2", "3"])
async def test_review_tabs_at_80x24_look_as_stored(tab: str) -> None:
    async with stage("waiting", (80, 24)) as opened:
        await opened.press(tab)
        assert_snapshot(f"review-tab{tab}-80x24", opened.text)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("a",), [cmd.Approve]),
        (("r",), [cmd.RevertTo]),
        (("t", *"go", "enter"), [cmd.Retry]),
        (("A",), [cmd.SetApprovalMode, cmd.Approve]),
    ],
    ids=["a", "r", "t", "A"],
)
async def test_each_decision_sends_its_commands(keys: tuple[str, ...], expected: list[type[cmd.Command]]) -> None:
    async with stage("waiting") as opened:
        past_grace(opened)
        await opened.press(*keys)
        assert [type(command) for command in opened.client.sent] == expected
        assert opened.app.screen is opened.screen


async def test_no_key_decides_within_the_grace_period() -> None:
    async with stage("waiting") as opened:
        screen = opened.app.screen
        assert isinstance(screen, ReviewScreen)
        screen._clock = lambda: screen._opened + GRACE_S / 2
        await opened.press("a", "r", "A")
        assert opened.client.sent == []
        assert opened.app.screen is screen


async def test_enter_does_not_approve() -> None:
    async with stage("waiting") as opened:
        past_grace(opened)
        await opened.press("enter", "space")
        assert opened.client.sent == []


async def test_a_comment_goes_with_an_approval() -> None:
    async with stage("waiting") as opened:
        past_grace(opened)
        await opened.press("t", *"ok", "escape", "a")
        assert opened.client.sent == [cmd.Approve(id=opened.client.sent[0].id, approval="r9", comment="ok")]


async def test_letters_typed_into_the_comment_decide_nothing() -> None:
    async with stage("waiting") as opened:
        past_grace(opened)
        await opened.press("t", "a", "r", "A", "p")
        assert opened.client.sent == []


async def test_a_decision_by_someone_else_takes_the_choice_away() -> None:
    async with stage("waiting") as opened:
        past_grace(opened)
        decided = ev.ApprovalDecided(id="r9", round=9, action="approve", by="headless")
        opened.client.feed(
            ev.Record(seq=100_000, ts_wall=opened.screen.view.now, ts_mono=0, boot_id="boot", event=decided)
        )
        await opened.settle()
        assert "a approve" not in opened.text
        await opened.press("a")
        assert opened.client.sent == []


async def test_any_finished_round_can_be_read_but_not_decided() -> None:
    async with stage("finished") as opened:
        for number in (4, 7, 9):
            opened.screen.open_review(number)
            await opened.settle()
            record = opened.client.state.rounds[number]
            assert f"decided: {record.outcome}" in opened.text
            assert in_words(record.reason) in opened.text
            assert "comment" not in opened.text
            await opened.press("escape")


async def test_pinning_from_the_review_keeps_it_open() -> None:
    async with stage("waiting") as opened:
        await opened.press("p")
        assert opened.client.sent[0].kind == "pin"
        assert isinstance(opened.app.screen, ReviewScreen)


async def test_an_approval_reaches_the_inbox_of_a_real_run(tmp_path: Path) -> None:
    run = RunDir(journals.write_run(journals.waiting(), tmp_path / "run"))
    run.create()
    app = VibeServeApp(FakeServices(), AttachedClient(run), config=Config(ui=Ui(glyphs="unicode", hints=False)))
    async with app.run_test(size=(120, 40)) as pilot:
        for _ in range(100):
            if isinstance(app.screen, ReviewScreen):
                break
            await pilot.pause(0.05)
        screen = app.screen
        assert isinstance(screen, ReviewScreen)
        screen._opened -= 2 * GRACE_S
        await pilot.press("a")
    sent = [command for _, command in run.waiting_commands()]
    assert [(command.kind, command.approval) for command in sent if isinstance(command, cmd.Approve)] == [
        ("approve", "r9")
    ]
