"""Small questions over a screen: confirm, one line of text, read a text, and how to leave."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import ClassVar, Literal, TypeVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widgets import Input

from vibeserve_tui.safe_text import clean
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.ink import Ink, Line, line, text_of
from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.panes.bars import Footer
from vibeserve_tui.tui.panes.diff import DiffPane
from vibeserve_tui.tui.panes.memory import draw_markdown
from vibeserve_tui.tui.shell import shell_of, stands
from vibeserve_tui.tui.widgets.line_view import LineView

Leaving = Literal["detach", "pause", "stop", "kill", ""]
Answer = TypeVar("Answer")


class Question(LineView, can_focus=False):
    """Lines that take no keys: the list keys would hide the dialog's own."""


def show_keys(dialog: ModalScreen[Answer], scope: str) -> None:
    """The dialog's keys in place of those of the screen below, which mean nothing now."""
    dialog.call_after_refresh(dialog.query_one(Footer).show, shell_of(dialog).keys_of(scope))


class Confirm(ModalScreen[bool]):
    """A question with consequences; Enter alone never says yes."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("confirm")

    def __init__(self, title: str, text: str, yes: str) -> None:
        super().__init__()
        self._title, self._text, self._yes = title, text, yes

    def compose(self) -> ComposeResult:
        with Vertical(classes="box dialog"):
            yield Question(id="question")
        yield Footer(id="footer")

    def on_mount(self) -> None:
        box = self.query_one(".dialog", Vertical)
        box.border_title = content(self._title, self)
        show_keys(self, "confirm")
        view = self.query_one("#question", LineView)
        keys = line(("y", Ink.KEY), f" {self._yes}   ", ("n esc", Ink.KEY), " no")
        lines = [*draw_markdown(self._text, 60), (), keys]
        view.styles.height = len(lines)
        view.set_lines(lines)

    def action_answer(self, answer: int) -> None:
        self.dismiss(bool(answer))


class Prompt(ModalScreen[str]):
    """One line of text; Enter sends it, esc gives none."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("prompt")

    def __init__(self, title: str, hint: str, value: str = "") -> None:
        super().__init__()
        self._title, self._hint, self._value = title, hint, value

    def compose(self) -> ComposeResult:
        with Vertical(classes="box dialog"):
            yield Input(self._value, max_length=4000)
            yield Question(id="question")
        yield Footer(id="footer")

    def on_mount(self) -> None:
        box = self.query_one(".dialog", Vertical)
        box.border_title = content(self._title, self)
        show_keys(self, "prompt")
        view = self.query_one("#question", LineView)
        view.styles.height = 1
        view.set_lines([line((self._hint, Ink.MUTED))])
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value.strip())

    def action_close(self) -> None:
        self.dismiss(None)


def ask_find(pane: DiffPane) -> None:
    """Ask what to look for in a diff; an empty answer ends the search."""
    pane.app.push_screen(
        Prompt("Find in the diff", "⏎ finds, n and N go on · an empty one ends the search", pane.wanted), pane.find
    )


class Page(ModalScreen[None]):
    """Lines that a function draws for the width, on a screen of their own."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("reader")

    def __init__(self, title: str, draw: Callable[[int], list[Line]]) -> None:
        super().__init__()
        self._title, self._draw_lines = title, draw

    def compose(self) -> ComposeResult:
        with Vertical(classes="box full"):
            yield LineView(id="text")
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self.query_one(".box", Vertical).border_title = content(self._title, self)
        self.query_one("#text", LineView).focus()

    def on_resize(self, event: Resize) -> None:
        del event
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        if not stands(self, ("text", "footer")):
            return
        view = self.query_one("#text", LineView)
        view.set_lines(self._draw_lines(view.text_width))
        self.query_one(Footer).show(shell_of(self).keys_of("reader"))

    def action_copy(self) -> None:
        lines = self._draw_lines(10_000)
        self.app.copy_to_clipboard("\n".join(text_of(parts) for parts in lines))

    def action_close(self) -> None:
        self.dismiss(None)


def reader(title: str, text: str) -> Page:
    """A page for a text that is too long for its line."""
    return Page(title, lambda width: draw_markdown(text, width))


def told(title: str, text: str) -> Page:
    """A page for what a program says: its lines stay lines, and only those too long for the page go on below."""

    def draw(width: int) -> list[Line]:
        rows = clean(text).rstrip().split("\n")
        return [
            line(part) for row in rows for part in textwrap.wrap(row, max(20, width), subsequent_indent="  ") or [""]
        ]

    return Page(title, draw)


class Leave(ModalScreen[Leaving]):
    """What should become of the run when the app goes: the default leaves it alone."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("leave")

    def compose(self) -> ComposeResult:
        with Vertical(classes="box dialog"):
            yield Question(id="question")
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self.query_one(".dialog", Vertical).border_title = content("Leave", self)
        show_keys(self, "leave")
        lines: list[Line] = [
            line(("d", Ink.KEY), "  detach: the run goes on without this app ", ("⏎", Ink.KEY)),
            line(("p", Ink.KEY), "  pause and leave: resume it when you like"),
            line(("s", Ink.KEY), "  stop after this round, and leave"),
            line(("k", Ink.KEY), "  stop now: the round in flight is discarded"),
            line(("esc", Ink.KEY), " stay"),
        ]
        view = self.query_one("#question", LineView)
        view.styles.height = len(lines)
        view.set_lines(lines)

    def action_choose(self, choice: Leaving) -> None:
        self.dismiss(choice)
