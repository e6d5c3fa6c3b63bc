"""The skill library: what is known, for which hardware, with what history; a skill can become an issue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Input

from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.editor import open_in_editor
from vibeserve_tui.tui.ink import BLANK, Ink, Line, Span, cut, fit, line
from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.panes.bars import Footer
from vibeserve_tui.tui.panes.memory import draw_markdown
from vibeserve_tui.tui.screens.dialogs import reader
from vibeserve_tui.tui.services import SkillEntry
from vibeserve_tui.tui.shell import shell_of, stands
from vibeserve_tui.tui.widgets.line_view import LineView

FileIssue = Callable[[SkillEntry], None]


def draw_skill_row(skill: SkillEntry, width: int) -> Line:
    name = max(16, width - 12 - 18)
    sign = (f"{glyphs.KEPT} recipe  ", Ink.GOOD) if skill.has_recipe else (f"{glyphs.OPEN} text    ", Ink.MUTED)
    return cut(line(fit(skill.name, name), " ", sign, (" ".join(skill.backends), Ink.MUTED)), width)


def draw_skill(skill: SkillEntry, width: int) -> list[Line]:
    """What the skill is, when it applies, what it has done, then its text."""
    facts = (
        ("applies when", skill.applies),
        ("expected", skill.expected),
        ("recipe", "the playbook can apply it" if skill.has_recipe else "for agents with a model only"),
        ("history", skill.history),
        ("source", skill.source),
    )
    lines = [*draw_markdown(skill.title, width), BLANK]
    for label, text in facts:
        if text:
            wrapped = draw_markdown(text, width - 15)
            lines += [(Span(fit(label if at == 0 else "", 15), Ink.MUTED), *row) for at, row in enumerate(wrapped)]
    return [*lines, BLANK, *draw_markdown(skill.text, width)]


class SkillsScreen(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = bindings("skills")

    def __init__(self, skills: Sequence[SkillEntry], file_issue: FileIssue | None = None) -> None:
        super().__init__()
        self._all = list(skills)
        self._shown = list(skills)
        self._file_issue = file_issue
        self._backend = ""
        self._wanted = ""

    @property
    def chosen(self) -> SkillEntry | None:
        at = self.query_one("#list", LineView).cursor
        return self._shown[at] if at is not None and at < len(self._shown) else None

    def compose(self) -> ComposeResult:
        with Horizontal(id="columns"):
            with Vertical(classes="box", id="left"):
                yield LineView(id="list")
            with Vertical(classes="box", id="right"):
                yield LineView(id="text")
        yield Input(id="filter", placeholder="show only names with these letters", compact=True)
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self.query_one("#filter").display = False
        self.query_one("#list").focus()

    def on_resize(self, event: Resize) -> None:
        del event
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        if not stands(self, ("list", "text", "left", "right", "footer")):
            return
        self._shown = [
            skill
            for skill in self._all
            if self._wanted in skill.name and (not self._backend or self._backend in skill.backends)
        ]
        view = self.query_one("#list", LineView)
        at = min(view.cursor or 0, max(0, len(self._shown) - 1))
        rows = [draw_skill_row(skill, view.text_width) for skill in self._shown]
        none = [line(("No skill matches. esc clears.", Ink.MUTED))]
        view.set_lines(rows or none, cursor=at if rows else None)
        parts = [
            "Skills",
            *([self._backend] if self._backend else []),
            *([f"filter: {self._wanted}"] if self._wanted else []),
        ]
        self.query_one("#left").border_title = content(" · ".join(parts), self)
        self.query_one("#left").border_subtitle = content(f"{len(self._shown)} of {len(self._all)}", self)
        self.query_one(Footer).show(shell_of(self).keys_of("skills"))
        self.show_chosen()

    def show_chosen(self) -> None:
        view, chosen = self.query_one("#text", LineView), self.chosen
        self.query_one("#right").border_title = content(chosen.name if chosen else "", self)
        view.set_lines(draw_skill(chosen, view.text_width) if chosen else [])
        view.scroll_to(y=0, animate=False)

    def on_line_view_moved(self, event: LineView.Moved) -> None:
        if event.view.id == "list":
            self.show_chosen()

    def action_read(self) -> None:
        if self.chosen:
            self.app.push_screen(reader(self.chosen.name, self.chosen.text))

    def action_backend(self) -> None:
        names = ["", *sorted({backend for skill in self._all for backend in skill.backends})]
        self._backend = names[(names.index(self._backend) + 1) % len(names)]
        self._draw()

    def action_issue(self) -> None:
        if self._file_issue is None:
            self.notify("open a run first: issues belong to a run", markup=False)
        elif self.chosen:
            self._file_issue(self.chosen)

    def action_editor(self) -> None:
        if self.chosen and self.chosen.path:
            open_in_editor(self.app, self.chosen.path)

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._wanted = event.value.strip().lower()
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one("#filter").display = False
        self.query_one("#list").focus()

    def action_close(self) -> None:
        field = self.query_one("#filter", Input)
        if field.display or self._wanted:
            field.value = ""
            field.display = False
            self.query_one("#list").focus()
        else:
            self.dismiss(None)
