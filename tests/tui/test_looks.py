"""Keys, themes, colours and the one road for foreign text: laws over the whole app."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.app import App
from textual.color import Color
from textual.dom import DOMNode
from textual.theme import Theme

import vibeserve_tui.tui
from tests.tui import journals
from tests.tui.fakes import FakeServices, ScriptClient, screen_text
from tests.tui.stage import stage
from tests.tui.start_services import Library
from vibeserve_tui.errors import ProfileError
from vibeserve_tui.inputs.config import Config, Ui
from vibeserve_tui.tui import themes
from vibeserve_tui.tui.app import VibeServeApp
from vibeserve_tui.tui.ink import Ink, Span
from vibeserve_tui.tui.keymap import SCREENS, TABLE, clash_in, shown, shown_keys, with_user_keys
from vibeserve_tui.tui.layout import PANES
from vibeserve_tui.tui.palette import ink_styles, span_style
from vibeserve_tui.tui.panes.diff import DiffPane
from vibeserve_tui.tui.screens.budget import BudgetScreen
from vibeserve_tui.tui.screens.compare import CompareScreen
from vibeserve_tui.tui.screens.compare_runs import CompareRunsScreen
from vibeserve_tui.tui.screens.dialogs import Confirm, Leave, Page, Prompt
from vibeserve_tui.tui.screens.editors import IssueEditor, MemoryEditor
from vibeserve_tui.tui.screens.help import HelpScreen
from vibeserve_tui.tui.screens.new_target import NewTargetScreen
from vibeserve_tui.tui.screens.players import PlayersScreen
from vibeserve_tui.tui.screens.review import ReviewScreen
from vibeserve_tui.tui.screens.run import RunScreen
from vibeserve_tui.tui.screens.settings import SettingsScreen
from vibeserve_tui.tui.screens.skills import SkillsScreen
from vibeserve_tui.tui.screens.start import StartScreen
from vibeserve_tui.tui.widgets.line_view import LineView

SOURCES = sorted(Path(vibeserve_tui.tui.__file__).parent.rglob("*.py"))


# keys


@pytest.mark.parametrize("screen", SCREENS)
def test_no_two_bindings_of_a_screen_share_a_key(screen: str) -> None:
    assert clash_in(screen, TABLE) == ""


OWNERS: dict[str, type[DOMNode]] = {
    "app": VibeServeApp, "lines": LineView, "diff": DiffPane, "run": RunScreen, "replay": RunScreen, "review": ReviewScreen,
    "start": StartScreen, "compare": CompareScreen, "compare-runs": CompareRunsScreen, "skills": SkillsScreen,
    "settings": SettingsScreen, "wizard": NewTargetScreen, "budget": BudgetScreen, "memory": MemoryEditor, "issue": IssueEditor,
    "players": PlayersScreen, "help": HelpScreen, "confirm": Confirm, "prompt": Prompt, "reader": Page, "leave": Leave,
}  # fmt: skip


@pytest.mark.parametrize("scope", TABLE)
def test_every_key_has_an_action_that_exists(scope: str) -> None:
    for key in TABLE[scope]:
        owner, _, action = key.action.partition("(")[0].rpartition(".")
        node = VibeServeApp if owner == "app" else OWNERS[scope]
        assert not action or hasattr(node, f"action_{action}"), key.id


def test_binding_ids_are_unique_and_helps_are_short() -> None:
    keys = [key for scope in TABLE.values() for key in scope]
    assert len({key.id for key in keys}) == len(keys)
    assert [key.help for key in keys if len(key.help) > 30] == []


async def test_no_focused_pane_hides_a_key_of_its_screen() -> None:
    async with stage("finished", (200, 60)) as opened:
        own = {key for binding in opened.screen._bindings for key in [binding[0]]}
        for name in PANES:
            await opened.press(str(PANES.index(name) + 1))
            focused = opened.screen.focused
            assert focused is not None
            assert not own & set(focused._bindings.key_to_bindings), name


def test_a_users_key_replaces_ours() -> None:
    table = with_user_keys({"run.steer": "ctrl+n"})
    assert [key.keys for key in table["run"] if key.id == "run.steer"] == ["ctrl+n"]


def test_a_users_key_that_is_taken_is_refused_with_both_owners() -> None:
    with pytest.raises(ProfileError, match=r"the key a means both run\.review and run\.steer"):
        with_user_keys({"run.steer": "a"})


def test_an_unknown_binding_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ProfileError, match=r"did you mean 'run\.steer'"):
        with_user_keys({"run.stear": "ctrl+n"})


async def test_a_users_key_works_and_stands_in_the_footer() -> None:
    client = ScriptClient(journals.running())
    config = Config(ui=Ui(glyphs="unicode", hints=False), keymap={"run.pause": "ctrl+o"})
    app = VibeServeApp(FakeServices(), client, config=config)
    async with app.run_test(size=(200, 60)) as pilot:
        await pilot.pause(0.3)
        assert "^o pause" in screen_text(app)
        await pilot.press("ctrl+o")
        assert [command.kind for command in client.sent] == ["pause"]


def test_keys_read_as_people_write_them() -> None:
    assert [shown(key) for key in ("ctrl+p", "enter", "question_mark", "alt+up", "G")] == ["^p", "⏎", "?", "alt+↑", "G"]
    digits = next(key for key in TABLE["run"] if key.id == "run.pane")
    assert shown_keys(digits) == "1–9"


# colours


def contrast(one: Color, other: Color) -> float:
    """WCAG 2 contrast ratio."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: Color) -> float:
    parts = [part / 255 for part in color.rgb]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [theme for theme in themes.OWN if not theme.ansi], ids=lambda theme: theme.name)
def test_every_ink_can_be_read_on_its_ground(theme: Theme) -> None:
    variables = theme.to_color_system().generate() | theme.variables
    least = 7.0 if theme.name.endswith("contrast") else 4.5
    styles = ink_styles(variables, ansi=False, no_color=False)
    seen = {
        ink: round(contrast(*(Color.from_rich_color(c) for c in (style.color, style.bgcolor))), 2)
        for ink, style in styles.items()
    }
    tinted = {Ink.ADDED, Ink.ADDED_WORD, Ink.REMOVED, Ink.REMOVED_WORD, Ink.FILE, Ink.CURSOR}
    assert {ink: ratio for ink, ratio in seen.items() if ratio < (4.5 if ink in tinted else least)} == {}
    ground, plain = Color.parse(variables["background"]), Color.parse(variables["foreground"])
    assert contrast(ground.blend(plain, 0.62), ground) >= 4.5, "borders"


CODE = (Ink.KEYWORD, Ink.NAME, Ink.STRING, Ink.NUMBER, Ink.COMMENT)


@pytest.mark.parametrize("theme", [theme for theme in themes.OWN if not theme.ansi], ids=lambda theme: theme.name)
def test_code_can_be_read_on_the_ground_of_a_change(theme: Theme) -> None:
    styles = ink_styles(theme.to_color_system().generate() | theme.variables, ansi=False, no_color=False)
    for ground in (Ink.ADDED, Ink.ADDED_WORD, Ink.REMOVED, Ink.REMOVED_WORD):
        for ink in CODE:
            style = span_style(styles, Span("x", ink, ground))
            assert style.color is not None and style.bgcolor is not None
            ratio = contrast(Color.from_rich_color(style.color), Color.from_rich_color(style.bgcolor))
            assert ratio >= 4.5, (ink, ground, round(ratio, 2))


def test_without_colours_of_its_own_code_keeps_the_look_of_the_change() -> None:
    ansi = ink_styles(themes.ANSI.to_color_system().generate(), ansi=True, no_color=False)
    assert span_style(ansi, Span("def", Ink.KEYWORD, Ink.ADDED)) == ansi[Ink.ADDED]


def hard_to_read(app: App[int], least: float) -> dict[str, float]:
    """Every run of cells with something in it whose letters stand out less than this from their ground."""
    found: dict[str, float] = {}
    # What a dialog covers is dimmed on purpose.
    regions = [child.region for child in app.screen.children if child.display]
    for y, strip in enumerate(app.screen._compositor.render_strips()):
        x = 0
        for text, style, _ in strip:
            here = any(region.contains(x, y) for region in regions)
            x += cell_len(text)
            if here and text.strip() and style and style.color and style.bgcolor:
                ratio = contrast(*(Color.from_rich_color(color) for color in (style.color, style.bgcolor)))
                if ratio < least:
                    found[text.strip()[:30]] = round(ratio, 2)
    return found


PLACES = (
    (), ("3", "z"), ("4", "z"), ("c",), ("enter",), ("question_mark",), ("comma",), ("5", "e"), ("i",), ("q",), ("s",), ("B",),
    ("L",), ("x",), ("3", "slash"), ("4", "slash"), ("ctrl+p",),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("theme", [theme.name for theme in themes.OWN if not theme.ansi])
async def test_no_cell_of_a_screen_is_hard_to_read(theme: str) -> None:
    faults: dict[str, dict[str, float]] = {}
    async with stage(
        "running", (120, 40), ui=Ui(theme=theme, glyphs="unicode", hints=False), services=Library()
    ) as opened:
        for keys in PLACES:
            await opened.press(*keys)
            await opened.pilot.pause(0.05)
            if found := hard_to_read(opened.app, 4.5):
                faults[" ".join(keys)] = found
            await opened.press("escape", "escape", "escape")
            opened.screen._zoomed = False
            opened.screen.place()
    app = VibeServeApp(Library(), config=Config(ui=Ui(theme=theme, glyphs="unicode", hints=False)))
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        for keys in ((), ("2",), ("n",), ("d",)):
            await pilot.press(*keys)
            await pilot.pause(0.2)
            if found := hard_to_read(app, 4.5):
                faults["start " + " ".join(keys)] = found
            await pilot.press("escape") if keys else None
    assert faults == {}


@pytest.mark.slow
async def test_the_run_screen_draws_in_every_theme() -> None:
    async with stage("running", (80, 24)) as opened:
        for theme in opened.app.available_themes:
            opened.app.apply_ui(Ui(theme=theme, glyphs="unicode", hints=False))
            await opened.pilot.pause()
            assert "continuous batching" in opened.text


async def test_the_theme_key_goes_round() -> None:
    async with stage("running", (80, 24)) as opened:
        names = []
        for _ in range(len(opened.app.theme_names) + 1):
            names.append(opened.app.theme)
            await opened.pilot.press("T")
        assert names[0] == names[-1]
        assert len(set(names)) == len(opened.app.theme_names)


@pytest.mark.slow
async def test_every_screen_draws_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with stage("running", (80, 24), services=Library()) as opened:
        assert opened.app.no_color
        for keys in (
            (),
            ("a",),
            ("c",),
            ("question_mark",),
            ("comma",),
            ("5", "e"),
            ("i",),
            ("q",),
            ("s",),
            ("L",),
            ("3",),
        ):
            await opened.press(*keys)
            opened.app.export_screenshot()
            await opened.press("escape")


def test_a_users_theme_is_read_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    good = "\n".join(
        f'{name} = "#123456"'
        for name in ("primary", "foreground", "background", "accent", "success", "warning", "error")
    )
    (tmp_path / "mine.toml").write_text(good, encoding="utf-8")
    assert [theme.name for theme in themes.user_themes(tmp_path)] == ["mine"]
    (tmp_path / "mine.toml").write_text(good.replace("#123456", "blue", 1), encoding="utf-8")
    with pytest.raises(ProfileError, match="primary"):
        themes.user_themes(tmp_path)
    (tmp_path / "mine.toml").write_bytes(b"\xff")
    with pytest.raises(ProfileError, match="not UTF-8"):
        themes.user_themes(tmp_path)


def test_colours_live_in_theme_files_only() -> None:
    for path in (*SOURCES, SOURCES[0].parent / "app.tcss"):
        if "themes" not in path.parts:
            for number, row in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                assert not any(f"#{digit}" in row for digit in "0123456789"), f"{path.name}:{number}: {row}"


# foreign text

WIDGET_TEXT = {"Static": 0, "Label": 0, "notify": 0, "update": 0, "push_notification": 0}
SAFE_CALLS = {"content", "block", "clean", "clean_line"}


def unsafe_texts(tree: ast.Module) -> list[str]:
    """Calls and assignments that hand Textual a text which is neither a literal nor cleaned."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else node.func.id
                if isinstance(node.func, ast.Name)
                else ""
            )
            if name in WIDGET_TEXT and node.args and not is_safe(node.args[0]):
                found.append(f"line {node.lineno}: {name}")
            if name == "notify" and not any(keyword.arg == "markup" for keyword in node.keywords):
                found.append(f"line {node.lineno}: notify with markup")
        elif isinstance(node, ast.Assign):
            titles = [
                t
                for t in node.targets
                if isinstance(t, ast.Attribute) and t.attr in ("border_title", "border_subtitle")
            ]
            if titles and not is_safe(node.value):
                found.append(f"line {node.lineno}: {titles[0].attr}")
    return found


def is_safe(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute):  # content(…).plain
        node = node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in SAFE_CALLS
    return isinstance(node, ast.Constant)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_widget_gets_text_that_was_not_cleaned(path: Path) -> None:
    assert unsafe_texts(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_the_check_itself_finds_a_bypass() -> None:
    tree = ast.parse(
        "self.notify(answer)\nbox.border_title = task.title\nStatic(f'{x}')\nself.notify('fixed', markup=False)"
    )
    assert len(unsafe_texts(tree)) == 4


def test_opening_the_app_loads_no_heavy_library() -> None:
    code = """
import sys
import vibeserve_tui.tui.app
heavy = {"numpy", "torch", "transformers", "anthropic", "openai", "jinja2"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
