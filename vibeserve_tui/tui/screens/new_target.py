"""A target of one's own in one page: a model folder and the traffic in three numbers, written out and checked at once.

What is found in the folder shows while it is typed, and every step of the check as it ends; nothing is measured here.
"""

from __future__ import annotations

import re
import textwrap
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Input, Static

from vibeserve_tui.errors import InputError
from vibeserve_tui.safe_text import clean_line
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.ink import BLANK, Ink, Line, Span
from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.panes.bars import Footer
from vibeserve_tui.tui.services import NewTarget, TargetCheck, TargetEntry
from vibeserve_tui.tui.shell import shell_of, stands
from vibeserve_tui.tui.widgets.line_view import LineView

FIELDS = (
    ("model", "model folder", "", "config.json and safetensors; → completes"),
    ("name", "name", "", "how you call it from now on"),
    ("clients", "clients at once", "16", "the level that counts"),
    ("prompt", "longest prompt", "199", "tokens"),
    ("answers", "answer lengths", "32, 48, 64", "tokens; each is equally likely"),
)
INTRODUCTION = (
    "The new target gets the shipped example's seed server, reference and prompts, and a benchmark with your numbers. "
    "Everything can be changed later in its folder: replace benchmark/corpus.jsonl by prompts like those of your traffic."
)


class Folders(Suggester):
    """The first folder that goes on like what was typed."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        return going_on(value)


def going_on(value: str) -> str | None:
    """What was typed and the rest of the first folder's name that begins so."""
    path = folder_of(value)
    parent, begun = (path, "") if value.endswith("/") else (path.parent, path.name)
    try:
        names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir())
    except OSError:
        return None
    fitting = (name for name in names if name.startswith(begun) and (begun or not name.startswith(".")))
    found = next(fitting, None)
    return None if found is None or not value else f"{value}{found[len(begun) :]}/"


def folder_of(typed: str) -> Path:
    """The path that was typed, with `~` for a home where there is such a user."""
    path = Path(typed)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def name_for(folder: str) -> str:
    """A target's name from its model's folder."""
    return re.sub(r"[^a-z0-9_.-]+", "-", Path(folder).name.lower()).strip("-._")[:40]


def numbers_in(text: str, field: str) -> tuple[int, ...]:
    """The numbers of a field. Raises InputError when there is anything else in it, or nothing."""
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() and int(word) for word in words):
        raise InputError(f"{field}: {text.strip() or 'nothing'} is not what is needed", fix="numbers from 1 up")
    return tuple(int(word) for word in words)


def number_in(text: str, field: str) -> int:
    found = numbers_in(text, field)
    if len(found) > 1:
        raise InputError(f"{field}: one number is enough", fix="give one")
    return found[0]


def wrapped(span: Span, width: int) -> list[Line]:
    """The text over as many lines as it takes, those after the first indented below its sign."""
    parts = textwrap.wrap(clean_line(span.text), max(20, width), subsequent_indent="  ", break_on_hyphens=False)
    return [(Span(part, span.ink),) for part in parts]


class NewTargetScreen(ModalScreen[TargetEntry | None]):
    """Ends with the new target, or with nothing when none was made."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("wizard")

    def __init__(self) -> None:
        super().__init__()
        self._suggested = ""
        self._found: Span | None = None
        self._entry: TargetEntry | None = None
        self._check: TargetCheck | None = None
        self._steps: list[Span] = []
        self._busy = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="box full", id="page"):
            for name, label, value, hint in FIELDS:
                with Horizontal(classes="field"):
                    yield Static(content(label, self), classes="label")
                    suggester = Folders() if name == "model" else None
                    yield Input(value, id=name, placeholder=hint, max_length=400, suggester=suggester)
            yield LineView(id="facts")
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self.query_one("#page").border_title = content("New target", self)
        self.query_one("#facts", LineView).can_focus = False
        self.query_one("#model").focus()
        self.call_after_refresh(self._draw)

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def on_unmount(self) -> None:
        if self._check is not None:
            self._check.stop()

    # ---- drawing -----------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        if not stands(self, ("facts", "footer", "page")):
            return
        facts = self.query_one("#facts", LineView)
        found = [*wrapped(self._found, facts.text_width), BLANK] if self._found else []
        steps = self._steps or [Span(INTRODUCTION, Ink.MUTED)]
        facts.set_lines([BLANK, *found, *(row for step in steps for row in wrapped(step, facts.text_width))])
        facts.scroll_end(animate=False, force=True)
        self.query_one("#page").border_subtitle = content(self._state(), self)
        self.query_one(Footer).show(shell_of(self).keys_of("wizard"))

    def _state(self) -> str:
        if self._busy:
            return "checking: the seed server is started, judged and tempted" if self._entry else "writing the target"
        if self._entry is None:
            return "^s makes and checks it"
        passed = self._check is not None and self._check.passed
        return f"{self._entry.name} is ready · esc goes back to it" if passed else "esc keeps it as it is"

    def _say(self, text: str, ink: Ink = Ink.PLAIN) -> None:
        self._steps.append(Span(text, ink))
        self._draw()

    # ---- while it is typed -------------------------------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id != "model":
            return
        typed = event.value.strip()
        name = self.query_one("#name", Input)
        if name.value in ("", self._suggested):
            self._suggested = name_for(typed)
            name.value = self._suggested
        folder = folder_of(typed)
        if not typed or not folder.is_dir():
            self._show_found(Span("no such folder yet", Ink.MUTED) if typed else None)
            return

        def show(text: str, sign: str, ink: Ink) -> None:
            if self.query_one("#model", Input).value.strip() == typed:
                self._show_found(Span(f"{sign} {text}", ink))

        look = partial(shell_of(self).services.look_at_model, folder)
        shell_of(self).ask(
            look, lambda text: show(text, glyphs.OK, Ink.GOOD), lambda text: show(text, glyphs.FAILED, Ink.BAD)
        )

    def _show_found(self, found: Span | None) -> None:
        self._found = found
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to the next field, and from the last one on."""
        event.stop()
        if event.input.id == FIELDS[-1][0]:
            self.action_make()
        else:
            self.focus_next()

    # ---- making and checking -----------------------------------------------------------------------------------

    def _wanted(self) -> NewTarget:
        value = {name: self.query_one(f"#{name}", Input).value.strip() for name, *_ in FIELDS}
        if not value["model"] or not value["name"]:
            raise InputError("a target needs a model folder and a name", fix="fill in the first two fields")
        return NewTarget(
            name=value["name"],
            model=folder_of(value["model"]),
            clients=number_in(value["clients"], "clients at once"),
            longest_prompt=number_in(value["prompt"], "longest prompt"),
            answers=numbers_in(value["answers"], "answer lengths"),
        )

    def action_make(self) -> None:
        if self._busy or self._entry is not None:
            return
        try:
            wanted = self._wanted()
        except InputError as error:
            self._fail(str(error))
            return
        self._busy, self._steps = True, []
        self._draw()
        shell_of(self).ask(partial(shell_of(self).services.new_target, wanted), self._made, self._fail)

    def _fail(self, fault: str) -> None:
        self._busy = False
        self._say(f"{glyphs.FAILED} {fault}", Ink.BAD)

    def _made(self, entry: TargetEntry) -> None:
        self._entry = entry
        self._say(f"{glyphs.OK} written to {entry.path}", Ink.GOOD)
        shell_of(self).ask(partial(shell_of(self).services.check_target, entry), self._follow, self._fail)

    def _follow(self, check: TargetCheck) -> None:
        """Show what the check says, from the thread that reads it."""
        self._check = check
        if not self.is_attached:
            check.stop()
            return

        def read() -> bool:
            for text in check.lines():
                self.app.call_later(self._say, text)
            return check.passed

        shell_of(self).ask(read, self._ended, self._fail)

    def _ended(self, passed: bool) -> None:
        self._busy = False
        words = "it can be run" if passed else "mend what failed in its folder, then: vibeserve target check"
        sign, ink = (glyphs.OK, Ink.GOOD) if passed else (glyphs.FAILED, Ink.BAD)
        self._say(f"{sign} {words}", ink)

    def action_close(self) -> None:
        self.dismiss(self._entry)
