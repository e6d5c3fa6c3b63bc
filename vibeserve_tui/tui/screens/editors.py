"""Writing for the run: its memory file and its issues. What is written here goes out as one command."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, TextArea

from vibeserve_tui.commands import LONGEST_BODY, LONGEST_MEMORY, Command, EditIssue, EditMemory, NewIssue
from vibeserve_tui.events import Issue, IssueType
from vibeserve_tui.run_state import RunState
from vibeserve_tui.safe_text import clean
from vibeserve_tui.state.memory import digest
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.ink import Ink, Line, line
from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.panes.bars import Footer
from vibeserve_tui.tui.screens.dialogs import Confirm
from vibeserve_tui.tui.shell import shell_of
from vibeserve_tui.tui.widgets.line_view import LineView

Send = Callable[[Command, str], None]


def is_too_long(screen: Screen[Any], text: str, longest: int) -> bool:
    """Whether no engine would take the text; then it is said here, where it can still be shortened."""
    if len(text) > longest:
        words = f"{len(text):,} characters are too many: {longest:,} are taken at most"
        screen.notify(content(words, screen).plain, severity="error", markup=False)
    return len(text) > longest


class MemoryEditor(ModalScreen[None]):
    """The memory as text. If the run writes it meanwhile, saving shows both versions before anything is sent."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("memory")

    def __init__(self, current: Callable[[], RunState], send: Send) -> None:
        super().__init__()
        self._current, self._send = current, send
        self._base = current().memory
        self._seen = self._base

    def compose(self) -> ComposeResult:
        with Vertical(classes="box full", id="page"):
            yield TextArea(clean(self._base), id="text", show_line_numbers=False, soft_wrap=True)
        with Vertical(classes="box", id="conflict"):
            yield LineView(id="changes")
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self.query_one("#page").border_title = content("Memory · progress.md", self)
        self.query_one("#conflict").display = False
        self.query_one(TextArea).focus()
        self.call_after_refresh(self.query_one(Footer).show, shell_of(self).keys_of("memory"))

    def action_save(self) -> None:
        """Send the text; a version that the operator has not seen yet is shown first."""
        memory = self._current().memory
        if memory != self._seen:
            self._seen = memory
            self._show_conflict(memory)
            return
        text = self.query_one(TextArea).text
        if is_too_long(self, text, LONGEST_MEMORY):
            return
        if text != clean(self._base) or memory != self._base:
            self._send(EditMemory(text=text, base_sha256=digest(memory)), "the memory")
        self.dismiss(None)

    def _show_conflict(self, theirs: str) -> None:
        self.query_one("#conflict").display = True
        title = "the run wrote it meanwhile · ^s saves yours over it · ^t takes the run's"
        self.query_one("#conflict").border_title = content(title, self)
        self.query_one("#changes", LineView).set_lines(draw_changes(self._base, theirs))

    def action_theirs(self) -> None:
        self._base = self._seen = self._current().memory
        self.query_one(TextArea).text = clean(self._base)
        self.query_one("#conflict").display = False

    def action_close(self) -> None:
        if self.query_one(TextArea).text == clean(self._base):
            self.dismiss(None)
            return

        def answer(agreed: bool | None) -> None:
            if agreed:
                self.dismiss(None)

        self.app.push_screen(Confirm("Close", "Close without saving the changes?", "close"), answer)


def draw_changes(before: str, after: str) -> list[Line]:
    """What the other version adds and takes away, line by line."""
    inks = {"+": Ink.ADDED, "-": Ink.REMOVED, " ": Ink.MUTED}
    rows = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line((row, inks[row[0]])) for row in rows if row[0] in inks and (row[0] != " " or row.strip())]


class IssueEditor(ModalScreen[None]):
    """Title, type, priority and text of an issue, new or known."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("issue")

    def __init__(self, send: Send, issue: Issue | None = None) -> None:
        super().__init__()
        self._send, self._issue = send, issue

    def compose(self) -> ComposeResult:
        issue = self._issue
        with Vertical(classes="box full", id="page"):
            yield Input(
                clean(issue.title) if issue else "",
                id="title",
                placeholder="what should be tried or fixed",
                max_length=200,
            )
            yield Input(
                f"P{issue.priority}" if issue else "P2 perf",
                id="kind",
                placeholder="P1 to P3, and perf, feature or bug",
            )
            yield TextArea(clean(issue.body) if issue else "", id="text", show_line_numbers=False, soft_wrap=True)
        yield Footer(id="footer")

    def on_mount(self) -> None:
        title = f"Issue {self._issue.id}" if self._issue else "New issue"
        self.query_one("#page").border_title = content(title, self)
        self.query_one("#page").border_subtitle = content(
            "title · priority and type · text · tab moves · ⏎ saves from the title", self
        )
        self.query_one("#title").focus()
        self.call_after_refresh(self.query_one(Footer).show, shell_of(self).keys_of("issue"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_save()

    def action_save(self) -> None:
        title = self.query_one("#title", Input).value.strip()
        if not title:
            self.notify("an issue needs a title", severity="error", markup=False)
            return
        words = self.query_one("#kind", Input).value.lower().split()
        priority = next((int(word[1]) for word in words if word in ("p1", "p2", "p3")), 2)
        body = self.query_one("#text", TextArea).text
        if is_too_long(self, body, LONGEST_BODY):
            return
        if self._issue is None:
            kind = next((kind for kind in IssueType if kind in words), IssueType.PERF)
            self._send(NewIssue(title=title, type=kind, priority=priority, body=body), "a new issue")
        elif changed := self._changes(self._issue, title, priority, body):
            self._send(changed, f"a change of {self._issue.id}")
        self.dismiss(None)

    @staticmethod
    def _changes(issue: Issue, title: str, priority: int, body: str) -> EditIssue | None:
        edit = EditIssue(
            issue=issue.id,
            title=title if title != clean(issue.title) else None,
            priority=priority if priority != issue.priority else None,
            body=body if body != clean(issue.body) else None,
        )
        return edit if (edit.title, edit.priority, edit.body) != (None, None, None) else None

    def action_close(self) -> None:
        self.dismiss(None)
