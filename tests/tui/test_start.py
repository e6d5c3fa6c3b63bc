from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot

from tests.tui import journals
from tests.tui.fakes import screen_text
from tests.tui.stage import assert_snapshot
from tests.tui.start_services import Library
from vibeserve_tui.inputs.config import Config, Ui
from vibeserve_tui.tui.app import VibeServeApp
from vibeserve_tui.tui.screens.run import RunScreen
from vibeserve_tui.tui.screens.skills import SkillsScreen
from vibeserve_tui.tui.screens.start import StartScreen
from vibeserve_tui.tui.services import PlanForm


@asynccontextmanager
async def start_screen(
    library: Library | None = None, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[VibeServeApp, Pilot[int]]]:
    app = VibeServeApp(
        library or Library(), config=Config(ui=Ui(glyphs="unicode", hints=False)), clock=lambda: journals.START
    )
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(app, pilot, "✓ ready")
        yield app, pilot


async def until(app: VibeServeApp, pilot: Pilot[int], text: str) -> None:
    for _ in range(200):
        if text in screen_text(app):
            return
        await pilot.pause(0.02)
    raise AssertionError(f"{text!r} is not on the screen:\n{screen_text(app)}")


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40), (200, 60)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_start_screen_looks_as_stored(size: tuple[int, int]) -> None:
    async with start_screen(size=size) as (app, pilot):
        await until(app, pilot, "2 cores, AVX2")
        await until(app, pilot, "yesterday")
        assert_snapshot(f"start-{size[0]}x{size[1]}", screen_text(app))


async def test_enter_starts_the_plan_as_it_is_shown() -> None:
    library = Library()
    async with start_screen(library) as (app, pilot):
        await pilot.press("2", "down", "right")
        await until(app, pilot, "thorough --approve")
        await pilot.press("enter")
        await until(app, pilot, "round 9 of 12")
        assert isinstance(app.screen, RunScreen)
        assert [(form.target, form.choices[1].value) for form in library.started] == [("tiny-llama-chat", "thorough")]


async def test_a_target_that_cannot_run_here_says_why_and_does_not_start() -> None:
    library = Library()
    async with start_screen(library) as (app, pilot):
        await pilot.press("down", "down", "down")
        await until(app, pilot, "✗ needs metal")
        await pilot.press("enter")
        assert library.started == []
        assert isinstance(app.screen, StartScreen)


async def test_a_start_that_fails_is_told_on_the_screen() -> None:
    async with start_screen(Library(refuses="another engine holds this machine")) as (app, pilot):
        await pilot.press("enter")
        await until(app, pilot, "another engine holds this machine")
        assert isinstance(app.screen, StartScreen)


async def test_a_past_run_opens_and_leaving_it_comes_back() -> None:
    library = Library()
    async with start_screen(library) as (app, pilot):
        await until(app, pilot, "2 days ago")
        await pilot.press("4", "down", "down", "enter")
        await until(app, pilot, "✓ finished")
        assert library.attached == ["r3"]
        await pilot.press("q")
        await until(app, pilot, "4 Past runs")


async def test_a_crashed_run_is_resumed_before_it_is_shown() -> None:
    library = Library()
    async with start_screen(library) as (app, pilot):
        await until(app, pilot, "2 days ago")
        await pilot.press("4", "end", "r")
        await until(app, pilot, "1 Rounds")
        assert (library.resumed, library.attached) == (["r4"], ["r4"])


async def test_a_past_run_is_deleted_once_that_is_confirmed() -> None:
    library = Library()
    async with start_screen(library) as (app, pilot):
        await until(app, pilot, "2 days ago")
        await pilot.press("X")
        await until(app, pilot, "go to the past runs")
        await pilot.press("4", "end", "X")
        await until(app, pilot, "cannot be undone")
        await pilot.press("n")
        assert len(library.past) == 4
        await pilot.press("X", "y")
        await pilot.pause(0.1)
        assert [run.run for run in library.past] == ["r1", "r2", "r3"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_two_past_runs_are_compared(size: tuple[int, int]) -> None:
    async with start_screen(Library(), size) as (app, pilot):
        await until(app, pilot, "2 days ago")
        await pilot.press("c")
        await until(app, pilot, "mark a past run with m")
        await pilot.press("4", "m")
        await until(app, pilot, "r1 marked")
        await pilot.press("end", "c")
        await until(app, pilot, "champion against champion")
        assert_snapshot(f"compare-runs-{size[0]}x{size[1]}", screen_text(app))
        await pilot.press("escape")
        assert isinstance(app.screen, StartScreen)


async def test_two_past_runs_are_measured_beside_one_another_once_that_is_confirmed() -> None:
    library = Library()
    async with start_screen(library) as (app, pilot):
        await until(app, pilot, "2 days ago")
        await pilot.press("4", "m", "end", "c")
        await until(app, pilot, "b measures both")
        await pilot.press("b", "n")
        await until(app, pilot, "b measures both")
        assert library.compared == []
        library.refuses = "the two runs are not of the same target"
        await pilot.press("b", "y")
        await until(app, pilot, "not of the same target")
        library.refuses = ""
        await pilot.press("b", "y")
        await until(app, pilot, "1 Rounds")
        assert library.compared == [("r1", "r4")]


async def test_without_runs_the_screen_says_what_enter_does() -> None:
    async with start_screen(Library(past=())) as (app, pilot):
        await until(app, pilot, "No runs yet")


async def test_doctor_shows_every_fix() -> None:
    async with start_screen() as (app, pilot):
        await until(app, pilot, "41 GiB")
        await pilot.press("d")
        await until(app, pilot, "fix: pip install 'vibeserve-tui[grammar]'")


async def test_skills_are_listed_filtered_and_read() -> None:
    async with start_screen(size=(120, 24)) as (app, pilot):
        await pilot.press("s")
        await until(app, pilot, "applies when")
        assert_snapshot("skills-120x24", screen_text(app))
        await pilot.press("b", "b")
        await until(app, pilot, "Skills · cuda")
        await pilot.press("b", "b", "slash", *"fill", "enter")
        await until(app, pilot, "1 of 4")
        await pilot.press("escape")
        await until(app, pilot, "4 of 4")
        await pilot.press("enter")
        await until(app, pilot, "1. Hash the prompt")
        await pilot.press("escape", "escape")
        assert not isinstance(app.screen, SkillsScreen)


async def test_the_plan_can_be_copied_as_a_command() -> None:
    async with start_screen() as (app, pilot):
        await pilot.press("y")
        assert app.clipboard == "vibeserve run tiny-llama-chat --profile quick --approve each-round"


async def test_the_start_screen_draws_without_colour_and_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = VibeServeApp(Library(), config=Config(ui=Ui(glyphs="ascii", hints=False)), clock=lambda: journals.START)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(app, pilot, "v ready")
        await until(app, pilot, "2 days ago")
        app.export_screenshot()
        assert screen_text(app).isascii()


async def test_the_plan_of_another_target_is_never_started() -> None:
    library = Library()
    slow = threading.Event()
    plan = library.plan

    def answer(target: str, changes: dict[str, str]) -> PlanForm:
        if target == "tiny-llama-json":
            slow.wait(10)
        return plan(target, changes)

    library.plan = answer  # type: ignore[method-assign]
    async with start_screen(library) as (app, pilot):
        await pilot.press("down", "enter")
        await until(app, pilot, "reading the target")
        assert library.started == []
        await pilot.press("down")
        await until(app, pilot, "vibeserve run tiny-edit")
        slow.set()
        await pilot.pause(0.2)
        await pilot.press("enter")
        await until(app, pilot, "1 Rounds")
        assert [form.target for form in library.started] == ["tiny-edit"]


async def test_every_role_may_have_its_own_agent_and_model() -> None:
    library = Library()
    async with start_screen(library) as (app, pilot):
        await until(app, pilot, "✓ ready")
        await pilot.press("a")
        await until(app, pilot, "all roles     playbook")
        await pilot.press("right", "m", *"big", "enter")
        await until(app, pilot, "--agent anthropic --model-name big")
        await pilot.press("down", "down", "right", "right")
        await until(app, pilot, "--role implementer=claude")
        await pilot.press("down", "enter", *"small", "enter")
        await until(app, pilot, "--role judge=anthropic:small")
        await pilot.press("up", "left", "left")
        await until(app, pilot, "--model-name big --role judge")
        await pilot.press("escape", "enter")
        await until(app, pilot, "1 Rounds")
        assert library.started[0].changes == {"agent": "anthropic", "model": "big", "model.judge": "small"}
