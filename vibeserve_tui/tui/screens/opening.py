"""What the run screen opens: the review of a round, a comparison, the skills, a text in full, an editor."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vibeserve_tui.client import ReplayClient
from vibeserve_tui.commands import LONGEST_MEMORY, EditMemory, NewIssue
from vibeserve_tui.errors import VibeServeError
from vibeserve_tui.state.memory import digest
from vibeserve_tui.tui.editor import open_in_editor
from vibeserve_tui.tui.ink import text_of
from vibeserve_tui.tui.panes.agents import AgentsPane
from vibeserve_tui.tui.panes.board import BoardPane, described
from vibeserve_tui.tui.panes.diff import DiffPane
from vibeserve_tui.tui.panes.memory import MemoryPane
from vibeserve_tui.tui.panes.pane import Pane
from vibeserve_tui.tui.screens.compare import CompareScreen
from vibeserve_tui.tui.screens.dialogs import reader
from vibeserve_tui.tui.screens.editors import is_too_long
from vibeserve_tui.tui.screens.review import ReviewScreen
from vibeserve_tui.tui.screens.skills import SkillsScreen
from vibeserve_tui.tui.screens.steering import Steering
from vibeserve_tui.tui.services import SkillEntry
from vibeserve_tui.tui.shell import shell_of


class Opening(Steering):
    """The part of the run screen that leads to other screens."""

    def diff_text(self, number: int) -> str:
        """What this round changed against the one it started from; nothing when there is no such thing yet."""
        parent = self.view.parent_of(number)
        if parent is None:
            return ""
        try:
            return self.client.diff(parent, number)
        except VibeServeError:
            return ""

    def action_open(self) -> None:
        focused = self.focused
        if isinstance(focused, AgentsPane) and focused.chosen:
            entry = focused.chosen
            self.app.push_screen(reader(f"{entry.role} · {entry.kind}", f"{entry.text}\n\n{entry.detail}"))
        elif isinstance(focused, BoardPane) and focused.chosen:
            issue = focused.chosen
            self.app.push_screen(reader(f"{issue.id} · {issue.title}", described(issue)))
        else:
            self.open_review(self.view.selected)

    def action_review(self) -> None:
        approval = self.view.state.approval
        self.open_review(approval.round if approval else self.view.selected)

    def open_review(self, number: int) -> None:
        if self.view.task_of(number) is None:
            self.tell("no round to review yet", bad=True)
            return
        review = ReviewScreen(self.view, number, self.diff_text(number), self.send)
        self.app.push_screen(review, partial(self._reviewed, number))

    def _reviewed(self, number: int, result: str | None) -> None:
        task = self.view.task_of(number)
        if result == "edit" and task and task.issue in self.view.state.issues:
            self.edit_issue(self.view.state.issues[task.issue])

    def action_compare(self) -> None:
        """The marked round, or else the parent, against the selected one."""
        b = self.view.selected
        a = self.view.marked if self.view.marked is not None else self.view.parent_of(b)
        if a is None or a == b or b not in self.view.state.rounds:
            self.tell("mark another finished round with m, then c compares", bad=True)
            return
        self.app.push_screen(CompareScreen(self.client, self.view, self.outbox, (a, b)))

    def action_skills(self) -> None:
        services = shell_of(self).services

        def file(skill: SkillEntry) -> None:
            self.send(NewIssue(title=skill.title[:200] or skill.name, skill=skill.name), f"an issue for {skill.name}")

        def show(skills: Sequence[SkillEntry]) -> None:
            self.app.push_screen(SkillsScreen(skills, file))

        shell_of(self).ask(services.skills, show, partial(self.tell, bad=True))

    # ---- issues, memory ----------------------------------------------------------------------------------------

    def action_edit(self) -> None:
        """The memory while it has the focus, else the issue under the board's cursor."""
        chosen = self.query_one(BoardPane).chosen
        if isinstance(self.focused, MemoryPane):
            self.edit_memory()
        elif chosen:
            self.edit_issue(chosen)

    def action_priority(self, step: int) -> None:
        if chosen := self.query_one(BoardPane).chosen:
            self.change_priority(chosen, step)

    def action_block(self) -> None:
        if chosen := self.query_one(BoardPane).chosen:
            self.toggle_blocked(chosen)

    # ---- copy, editor ------------------------------------------------------------------------------------------

    def action_copy(self) -> None:
        """The diff in focus as text, or the line under the cursor."""
        focused = self.focused
        if isinstance(focused, DiffPane):
            self.app.copy_to_clipboard(self.diff_text(self.view.selected))
        elif isinstance(focused, Pane):
            self.app.copy_to_clipboard(text_of(focused.current_line))
        self.tell("copied", bad=False)

    def action_editor(self) -> None:
        """The memory comes back as a command; a diff is only read."""
        with tempfile.TemporaryDirectory(prefix="vibeserve-") as folder:
            if isinstance(self.focused, MemoryPane):
                before = self.view.state.memory
                path = Path(folder, "progress.md")
                path.write_text(before, encoding="utf-8")
                opened = open_in_editor(shell_of(self), path)
                text = path.read_text(encoding="utf-8", errors="replace")
                if opened and text != before and not is_too_long(self, text, LONGEST_MEMORY):
                    self.send(EditMemory(text=text, base_sha256=digest(before)), "the memory")
            else:
                path = Path(folder, f"round-{self.view.selected}.diff")
                path.write_text(self.diff_text(self.view.selected), encoding="utf-8")
                open_in_editor(shell_of(self), path)

    # ---- replay ------------------------------------------------------------------------------------------------

    def action_speed(self, factor: float) -> None:
        if isinstance(self.client, ReplayClient):
            self.client.speed = min(1000.0, max(0.25, self.client.speed * factor))

    def action_seek(self, share: float) -> None:
        if isinstance(self.client, ReplayClient):
            self.client.seek(min(1.0, max(0.0, self.client.fraction + share)))

    def action_pause(self) -> None:
        if isinstance(self.client, ReplayClient):
            self.client.paused = not self.client.paused
        else:
            super().action_pause()
