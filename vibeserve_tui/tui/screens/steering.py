"""What an operator can do to a run from any screen that shows one: each key becomes one command to the engine."""

from __future__ import annotations

from functools import partial

from textual.screen import Screen

from vibeserve_tui.client import Liveness, RunClient
from vibeserve_tui.commands import CancelStep, Command, EditIssue, Pause, Pin, Resume, RevertTo, Steer, Stop
from vibeserve_tui.events import Issue, IssueStatus
from vibeserve_tui.state.run_dir import RunDir, lock_holder
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.outbox import Outbox
from vibeserve_tui.tui.screens.budget import BudgetScreen
from vibeserve_tui.tui.screens.dialogs import Confirm, Leave, Leaving, Prompt, told
from vibeserve_tui.tui.screens.editors import IssueEditor, MemoryEditor
from vibeserve_tui.tui.shell import shell_of
from vibeserve_tui.tui.view import RunView

OVER = "the run is over and takes no commands: `vibeserve export RUN DIR --round N` takes any of its servers"


class Steering(Screen[str]):
    """A screen over one run."""

    def __init__(self, client: RunClient, view: RunView) -> None:
        super().__init__()
        self.client, self.view = client, view
        self.outbox = Outbox(client, self.tell)

    def tell(self, words: str, *, bad: bool) -> None:
        self.app.notify(content(words, self).plain, severity="error" if bad else "information", markup=False)

    def send(self, command: Command, words: str) -> None:
        if self.is_open():
            self.outbox.send(command, f"{words}; answered once an engine is back" if self.engine_is_gone else words)

    def is_open(self) -> bool:
        """Whether it still takes commands; says so before anybody writes one in vain."""
        if self.view.state.is_over:
            self.tell(OVER, bad=True)
        return not self.view.state.is_over

    @property
    def takes_commands(self) -> bool:
        """Neither a run that is over nor a recording of one can be steered."""
        return not self.view.state.is_over and self.view.liveness is not Liveness.REPLAY

    # ---- the run -----------------------------------------------------------------------------------------------

    @property
    def engine_is_gone(self) -> bool:
        """Whether no process works on this run, so that a command would wait for ever."""
        if self.view.liveness is Liveness.CRASHED:
            return True
        run_dir = self.client.run_dir
        return self.view.liveness is Liveness.PAUSED and run_dir is not None and lock_holder(RunDir(run_dir)) is None

    def action_pause(self) -> None:
        if not self.is_open():
            return
        if self.engine_is_gone:
            self.resume_run()
        elif self.view.is_paused:
            self.send(Resume(), "resume")
        else:
            self.send(Pause(), "pause after this round")

    def resume_run(self) -> None:
        """Bring an engine back to a run that has none; the journal tells it where it was."""
        shell, run = shell_of(self), self.view.state.run
        shell.ask(partial(shell.services.resume, run), lambda _: None, partial(self.tell, bad=True))
        self.tell("starting an engine for this run", bad=False)

    def action_steer(self) -> None:
        def note(text: str | None) -> None:
            if text:
                self.send(Steer(note=text), "a note for the next plans")

        if self.is_open():
            self.app.push_screen(Prompt("Steer", "⏎ sends it: every later plan sees this note"), note)

    def action_budget(self) -> None:
        """What the run may still take, and who has the last word."""
        if self.is_open():
            self.app.push_screen(BudgetScreen(self.view.state, self.send))

    def action_ask(self) -> None:
        """A question about the run, answered from its records on a page of its own."""
        shell, run = shell_of(self), self.view.state.run

        def show(answer: str) -> None:
            self.app.push_screen(told("Answer", answer))

        def put(question: str | None) -> None:
            if question:
                self.tell("looking it up …", bad=False)
                shell.ask(partial(shell.services.ask, run, question), show, partial(self.tell, bad=True))

        self.app.push_screen(Prompt("Ask", "⏎ asks, for instance: why was round 4 rejected?"), put)

    def action_cancel_step(self) -> None:
        here = self.view.state.in_flight
        if here is None:
            self.tell("no round is in flight", bad=True)
            return
        self._confirm(
            f"Cancel round {here.number}",
            f"Give up round {here.number}, {here.task.title}? It ends as reverted by the operator.",
            "cancel it",
            CancelStep(),
        )

    # ---- rounds ------------------------------------------------------------------------------------------------

    @property
    def chosen_round(self) -> int:
        """The round that the keys mean."""
        return self.view.selected

    def action_revert(self) -> None:
        if not self.is_open():
            return
        number, state = self.chosen_round, self.view.state
        record = state.rounds.get(number)
        if record is None or not state.may_lead(number):
            self.tell(
                f"round {number} is {record.outcome if record else 'not over'}: it cannot be the champion", bad=True
            )
        elif number == state.champion:
            self.tell(f"round {number} is the champion already", bad=True)
        else:
            self._confirm(
                f"Revert to round {number}",
                f"Make round {number}, {record.task.title}, the champion again? Later rounds stay in the history.",
                "revert",
                RevertTo(round=number),
            )

    def action_pin(self) -> None:
        number = self.chosen_round
        pinned = number not in self.view.state.pinned
        self.send(Pin(round=number, pinned=pinned), f"{'pin' if pinned else 'unpin'} round {number}")

    # ---- issues ------------------------------------------------------------------------------------------------

    def action_new_issue(self) -> None:
        if self.is_open():
            self.app.push_screen(IssueEditor(self.send))

    def edit_issue(self, issue: Issue) -> None:
        self.app.push_screen(IssueEditor(self.send, issue))

    def edit_memory(self) -> None:
        if self.is_open():
            self.app.push_screen(MemoryEditor(lambda: self.client.state, self.send))

    def change_priority(self, issue: Issue, step: int) -> None:
        priority = min(3, max(1, issue.priority + step))
        if priority != issue.priority:
            self.send(EditIssue(issue=issue.id, priority=priority), f"{issue.id} to P{priority}")

    def toggle_blocked(self, issue: Issue) -> None:
        blocked = issue.status is IssueStatus.BLOCKED
        status = IssueStatus.OPEN if blocked else IssueStatus.BLOCKED
        mechanism = "" if blocked else "blocked by the operator"
        self.send(EditIssue(issue=issue.id, status=status, mechanism=mechanism), f"{issue.id} {status}")

    # ---- leaving -----------------------------------------------------------------------------------------------

    def action_leave(self) -> None:
        if self.view.state.is_over or self.view.liveness in (Liveness.REPLAY, Liveness.CRASHED):
            self._go_back()
        else:
            self.app.push_screen(Leave(), self._leave)

    def action_detach(self) -> None:
        """Out of the app at once; the run is not touched."""
        self.app.exit()

    def _go_back(self) -> None:
        """To the start screen when this one was opened from there, else out of the app."""
        # The stack holds Textual's own first screen, then ours.
        if len(self.app.screen_stack) > 2:
            self.client.close()
            self.dismiss("")
        else:
            self.app.exit()

    def _leave(self, choice: Leaving | None) -> None:
        match choice:
            case "pause":
                self.send(Pause(), "pause")
            case "stop":
                self.send(Stop(), "stop after this round")
            case "kill":
                self._confirm(
                    "Stop now", "Stop at once? The round in flight is discarded.", "stop", Stop(now=True), leave=True
                )
                return
            case "detach":
                pass
            case _:
                return
        self._exit(asked_to_end=choice != "detach")

    def _exit(self, *, asked_to_end: bool) -> None:
        self.view.asked_to_end = asked_to_end
        self.app.exit()

    def _confirm(self, title: str, text: str, yes: str, command: Command, *, leave: bool = False) -> None:
        def answer(agreed: bool | None) -> None:
            if agreed:
                self.send(command, title.lower())
                if leave:
                    self._exit(asked_to_end=True)

        self.app.push_screen(Confirm(title, text, yes), answer)
