"""The wizard: what is typed, what is found, what is made, and what the check says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui import journals
from tests.tui.fakes import screen_text
from tests.tui.stage import assert_snapshot
from tests.tui.start_services import Library
from vibeserve_tui.errors import InputError
from vibeserve_tui.inputs.config import Config, Ui
from vibeserve_tui.tui.app import VibeServeApp
from vibeserve_tui.tui.screens.new_target import NewTargetScreen, going_on, name_for, number_in, numbers_in
from vibeserve_tui.tui.screens.start import StartScreen


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "My Llama"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@asynccontextmanager
async def wizard(library: Library, size: tuple[int, int] = (100, 30)) -> AsyncIterator[tuple[VibeServeApp, Pilot[int]]]:
    ui = Ui(glyphs="unicode", hints=False)
    app = VibeServeApp(library, config=Config(ui=ui), clock=lambda: journals.START)
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(app, pilot, "✓ ready")
        await pilot.press("n")
        await until(app, pilot, "model folder")
        yield app, pilot


async def until(app: VibeServeApp, pilot: Pilot[int], text: str) -> None:
    for _ in range(200):
        if text in screen_text(app):
            return
        await pilot.pause(0.02)
    raise AssertionError(f"{text!r} is not on the screen:\n{screen_text(app)}")


async def test_a_model_folder_and_traffic_become_a_checked_target_that_is_chosen(model: Path) -> None:
    library = Library()
    async with wizard(library) as (app, pilot):
        app.screen.query_one("#model", Input).value = str(model)
        await until(app, pilot, "✓ llama · 2.2 M parameters")
        assert app.screen.query_one("#name", Input).value == "my-llama"
        await pilot.press("tab", "tab", "ctrl+u", *"8")
        await pilot.press("ctrl+s")
        await until(app, pilot, "✓ T2 canned answers are rejected")
        await until(app, pilot, "it can be run")
        assert [(made.name, made.clients, made.answers) for made in library.made] == [("my-llama", 8, (32, 48, 64))]
        await pilot.press("escape")
        await until(app, pilot, "▌my-llama")
        await until(app, pilot, "made here")
        assert isinstance(app.screen, StartScreen)


async def test_a_check_that_fails_says_so_and_keeps_the_target(model: Path) -> None:
    library = Library()
    library.check.passes = False
    async with wizard(library) as (app, pilot):
        app.screen.query_one("#model", Input).value = str(model)
        await pilot.press("ctrl+s")
        await until(app, pilot, "✗ T2 canned answers pass")
        await until(app, pilot, "mend what failed")


async def test_what_is_missing_is_named_and_nothing_is_made(model: Path, tmp_path: Path) -> None:
    library = Library()
    async with wizard(library) as (app, pilot):
        await pilot.press("ctrl+s")
        await until(app, pilot, "a target needs a model folder and a name")
        app.screen.query_one("#model", Input).value = str(tmp_path)
        await until(app, pilot, "config.json is")  # the rest may stand on the next line, behind a long path
        app.screen.query_one("#clients", Input).value = "many"
        await pilot.press("ctrl+s")
        await until(app, pilot, "clients at once: many is not what is needed")
        assert library.made == []
        await pilot.press("escape")
        assert isinstance(app.screen, StartScreen)


async def test_closing_stops_a_check_that_goes_on(model: Path) -> None:
    library = Library()
    async with wizard(library) as (app, pilot):
        app.screen.query_one("#model", Input).value = str(model)
        await pilot.press("ctrl+s")
        await until(app, pilot, "it can be run")
        await pilot.press("escape")
        await pilot.pause()
        assert library.check.stopped


@pytest.mark.parametrize("size", [(60, 16), (80, 24)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_wizard_looks_as_stored(size: tuple[int, int]) -> None:
    async with wizard(Library(), size) as (app, pilot):
        await pilot.pause()
        assert_snapshot(f"new-target-{size[0]}x{size[1]}", screen_text(app))


async def test_the_last_line_of_the_targets_opens_the_wizard() -> None:
    app = VibeServeApp(Library(), config=Config(ui=Ui(glyphs="unicode", hints=False)), clock=lambda: journals.START)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(app, pilot, "✓ ready")
        await pilot.press("end", "enter")
        await pilot.pause()
        assert isinstance(app.screen, NewTargetScreen)


def test_a_folder_is_suggested_as_it_is_typed(tmp_path: Path) -> None:
    (tmp_path / "llama-1b").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "llama.txt").write_text("")
    assert going_on(f"{tmp_path}/lla") == f"{tmp_path}/llama-1b/"
    assert going_on(f"{tmp_path}/") == f"{tmp_path}/llama-1b/"
    assert going_on(f"{tmp_path}/x") is None
    assert going_on("~no-such-user-here/x") is None
    assert going_on("") is None


def test_names_and_numbers_are_read_as_people_write_them() -> None:
    assert name_for("/models/Llama 3.2 1B_Instruct/") == "llama-3.2-1b_instruct"
    assert numbers_in("32, 48 64", "answers") == (32, 48, 64)
    assert number_in(" 7 ", "clients") == 7
    for text in ("", "0", "-3", "1.5", "many"):
        with pytest.raises(InputError, match="clients"):
            number_in(text, "clients")
    with pytest.raises(InputError, match="one number"):
        number_in("1 2", "clients")
