"""What an operator can do to a run from any screen that shows one: each key becomes one command to the engine."""

from __future__ import annotations

from textual.screen import Screen

from vibeserve_tui.client import Liveness, RunClient
from vibeserve_tui.commands import CancelStep, Command, EditIssue, NewIssue, Pause, Pin, Resume, RevertTo, Steer, Stop
from vibeserve_tui.events import Issue, IssueStatus, Outcome
from vibeserve_tui.run_state import Status
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.outbox import Outbox
from vibeserve_tui.tui.screens.dialogs import Confirm, Leave, Leaving, Prompt
from vibeserve_tui.tui.view import RunView


class Steering(Screen[str]):
    """A screen over one run."""

    def __init__(self, client: RunClient, view: RunView) -> None:
        super().__init__()
        self.client, self.view = client, view
        self.outbox = Outbox(client, self.tell)

    def tell(self, words: str, bad: bool) -> None:
        self.app.notify(content(words, self).plain, severity="error" if bad else "information", markup=False)

    def send(self, command: Command, words: str) -> None:
        self.outbox.send(command, words)

    # ---- the run -----------------------------------------------------------------------------------------------

    def action_pause(self) -> None:
        state = self.view.state
        if self.view.liveness is Liveness.CRASHED or (
            self.view.liveness is Liveness.PAUSED and state.status is Status.PAUSED
        ):
            self.resume_run()
        elif state.is_over:
            self.tell("the run is over", True)
        elif self.view.is_paused:
            self.send(Resume(), "resume")
        else:
            self.send(Pause(), "pause after this step")

    def resume_run(self) -> None:
        """Bring an engine back to a run that has none. Screens that can start one say how."""
        self.send(Resume(), "resume")

    def action_steer(self) -> None:
        def note(text: str | None) -> None:
            if text:
                self.send(Steer(note=text), "a note for the next plans")

        self.app.push_screen(Prompt("Steer", "every later plan sees this note · ⏎ sends · esc"), note)

    def action_cancel_step(self) -> None:
        here = self.view.state.in_flight
        if here is None:
            self.tell("no round is in flight", True)
            return
        self._confirm(
            f"Cancel round {here.number}",
            f"Give up round {here.number}, {here.task.title}? It ends as reverted by the operator.",
            "cancel it",
            CancelStep(),
        )

    # ---- rounds ------------------------------------------------------------------------------------------------

    def action_revert(self) -> None:
        number = self.view.selected
        record = self.view.state.rounds.get(number)
        if record is None or record.outcome is not Outcome.KEPT:
            self.tell(f"round {number} was not kept, so it cannot be the champion", True)
        elif number == self.view.state.champion:
            self.tell(f"round {number} is the champion already", True)
        else:
            self._confirm(
                f"Revert to round {number}",
                f"Make round {number}, {record.task.title}, the champion again? Later rounds stay in the history.",
                "revert",
                RevertTo(round=number),
            )

    def action_pin(self) -> None:
        number = self.view.selected
        pinned = number not in self.view.state.pinned
        self.send(Pin(round=number, pinned=pinned), f"{'pin' if pinned else 'unpin'} round {number}")

    # ---- issues ------------------------------------------------------------------------------------------------

    def action_new_issue(self) -> None:
        def file(title: str | None) -> None:
            if title:
                self.send(NewIssue(title=title[:200]), "a new issue")

        self.app.push_screen(Prompt("New issue", "what should be tried or fixed · ⏎ files it · esc"), file)

    def edit_issue(self, issue: Issue) -> None:
        def change(title: str | None) -> None:
            if title and title != issue.title:
                self.send(EditIssue(issue=issue.id, title=title[:200]), f"a new title for {issue.id}")

        self.app.push_screen(Prompt(f"Issue {issue.id}", "title · ⏎ saves · esc", issue.title), change)

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
            self.app.exit()
        else:
            self.app.push_screen(Leave(), self._leave)

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
        self.app.exit()

    def _confirm(self, title: str, text: str, yes: str, command: Command, *, leave: bool = False) -> None:
        def answer(agreed: bool | None) -> None:
            if agreed:
                self.send(command, title.lower())
                if leave:
                    self.app.exit()

        self.app.push_screen(Confirm(title, text, yes), answer)
