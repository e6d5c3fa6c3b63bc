"""The start screen: choose a target, look at the plan and the machine, start it, or go back to an earlier run.

Everything it shows comes from `Services`, asked for in threads, so that a slow probe never holds a key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.events import Resize
from textual.screen import Screen

from vibeserve_tui.client import Liveness, RunClient, RunSummary
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.ink import BLANK, Ink, Line, line
from vibeserve_tui.tui.keymap import bindings
from vibeserve_tui.tui.panes import start as draw
from vibeserve_tui.tui.panes.bars import Footer
from vibeserve_tui.tui.screens.compare_runs import CompareRunsScreen
from vibeserve_tui.tui.screens.dialogs import Confirm, Page
from vibeserve_tui.tui.screens.new_target import NewTargetScreen
from vibeserve_tui.tui.screens.players import PlayersScreen
from vibeserve_tui.tui.screens.run import RunScreen
from vibeserve_tui.tui.screens.skills import SkillsScreen
from vibeserve_tui.tui.services import Finding, PlanForm, RunPair, Services, SkillEntry, TargetEntry
from vibeserve_tui.tui.shell import shell_of, stands
from vibeserve_tui.tui.widgets.line_view import LineView

BOXES = {"targets": "1 Target", "plan": "2 Plan", "machine": "3 This machine", "runs": "4 Past runs"}
WIDE_FROM = 100
SHORT_BELOW = 22
RELOAD_S = 5.0


Answer = TypeVar("Answer")


class Box(LineView):
    """One of the four boxes, with a border of its own."""


class StartScreen(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("start"),
        *(Binding(str(at), f"go('{name}')", name, show=False) for at, name in enumerate(BOXES, 1)),
    ]

    def __init__(self, services: Services, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._services, self._clock = services, clock
        self.targets: Sequence[TargetEntry] = ()
        self.findings: Sequence[Finding] = ()
        self.runs: Sequence[RunSummary] = ()
        self.form: PlanForm | None = None
        self._changes: dict[str, str] = {}
        self._at = {"targets": 0, "plan": 0, "runs": 0}
        self._listed = False
        self._fault = ""
        self._busy = ""
        self._marked = ""
        self._wanted_target = ""
        """A target that was just made, to be chosen once it is listed."""

    def compose(self) -> ComposeResult:
        yield LineView(id="slogan")
        with Container(id="boxes"):
            for name in BOXES:
                yield Box(id=name, classes="box")
        yield Footer(id="footer")

    def on_mount(self) -> None:
        self.query_one("#slogan", LineView).can_focus = False
        self.query_one("#targets").focus()
        self.action_reload()
        self.set_interval(RELOAD_S, self._reload_runs)

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width >= WIDE_FROM, "-wide")
        self.set_class(event.size.height < SHORT_BELOW, "-short")
        self.call_after_refresh(self.draw_all)

    # ---- asking ------------------------------------------------------------------------------------------------

    def action_reload(self) -> None:
        self._ask(self._services.targets, self._set_targets)
        self._ask(self._services.doctor, self._set_findings)
        self._reload_runs()

    def _reload_runs(self) -> None:
        if self.app.screen is self:
            self._ask(self._services.runs, self._set_runs)

    def _ask(self, question: Callable[[], Answer], then: Callable[[Answer], None]) -> None:
        shell_of(self).ask(question, then, self._set_fault)

    def _set_fault(self, fault: str) -> None:
        self._fault, self._busy = fault, ""
        self.notify(content(fault, self).plain, severity="error", markup=False)
        self.draw_all()

    def _set_targets(self, targets: Sequence[TargetEntry]) -> None:
        self.targets, self._listed = targets, True
        names = [target.name for target in targets]
        if self._wanted_target in names:
            self._at["targets"], self._wanted_target = names.index(self._wanted_target), ""
        self._plan()

    def _set_findings(self, findings: Sequence[Finding]) -> None:
        self.findings = findings
        self.draw_all()

    def _set_runs(self, runs: Sequence[RunSummary]) -> None:
        self.runs = runs
        self._at["runs"] = max(0, min(self._at["runs"], len(runs) - 1))
        if self._marked not in {run.run for run in runs}:
            self._marked = ""
        self.draw_all()

    def _plan(self) -> None:
        """Ask for the chosen target's plan; until it comes, the plan of another target cannot be started."""
        target, changes = self.target, dict(self._changes)
        if target is None or (self.form is not None and self.form.target != target.name):
            self.form = None
        self.draw_all()
        if target is None:
            return

        def take(form: PlanForm) -> None:
            if (self.target, self._changes) == (target, changes):
                self.form = form
                self.draw_all()
                for screen in self.app.screen_stack:
                    if isinstance(screen, PlayersScreen):
                        screen.show(form)

        self._ask(partial(self._services.plan, target.name, changes), take)

    # ---- drawing -----------------------------------------------------------------------------------------------

    @property
    def target(self) -> TargetEntry | None:
        at = self._at["targets"]
        return self.targets[at] if at < len(self.targets) else None

    @property
    def run_chosen(self) -> RunSummary | None:
        at = self._at["runs"]
        return self.runs[at] if at < len(self.runs) else None

    def draw_all(self) -> None:
        if not stands(self, (*BOXES, "slogan", "footer")):
            return
        slogan = self.query_one("#slogan", LineView)
        slogan.set_lines([draw.draw_slogan(self._services.version, slogan.text_width)])
        boxes = {name: self.query_one(f"#{name}", Box) for name in BOXES}
        for name, box in boxes.items():
            box.border_title = content(BOXES[name], self)
        self._draw_targets(boxes["targets"])
        plan = boxes["plan"]
        if self.form is not None:
            lines = draw.draw_plan(self.form, plan.text_width, plan.size.height)
            plan.set_lines(lines, cursor=min(self._at["plan"], len(self.form.choices) - 1))
        else:
            words = (
                "reading the target …" if self.target or not self._listed else "⏎ makes a target from a model folder"
            )
            plan.set_lines([line((self._fault or words, Ink.MUTED))])
        machine = boxes["machine"]
        machine.set_lines(draw.draw_machine(self.findings, machine.text_width, machine.size.height))
        runs = boxes["runs"]
        rows = draw.draw_runs(self.runs, runs.text_width, self._clock())
        runs.set_lines(rows, cursor=min(self._at["runs"], len(rows) - 1) if self.runs else None)
        self._draw_feet(boxes)
        self.query_one(Footer).show(shell_of(self).keys_of("start", "app"))

    def _draw_targets(self, box: Box) -> None:
        lines: list[Line] = draw.draw_targets(self.targets, box.text_width)
        if self.targets:
            lines.append(draw.NEW_TARGET)
        if (target := self.target) and box.size.height > len(lines) + 3:
            lines += draw.draw_description(target, box.text_width)
        cursor = min(self._at["targets"], len(self.targets)) if self.targets else None
        nothing = "no target yet: n makes one" if self._listed else "reading the targets …"
        box.set_lines(lines or [line((nothing, Ink.MUTED)), BLANK], cursor=cursor)

    def _draw_feet(self, boxes: dict[str, Box]) -> None:
        feet = {
            "targets": "n new target",
            "plan": self._plan_foot(boxes["plan"]),
            "machine": "d details and fixes",
            "runs": self._runs_foot(),
        }
        for name, foot in feet.items():
            boxes[name].border_subtitle = content(foot, self)

    def _plan_foot(self, box: Box) -> str:
        """Whether it can start, where the plan's own last line is out of sight; else the keys."""
        form = self.form
        if self._busy or form is None:
            return self._busy
        if box.size.height - len(form.choices) < draw.ROOM_BELOW:
            return draw.readiness(form)
        return "←→ change · a agents and models · y copy the command"

    def _runs_foot(self) -> str:
        if not self.runs:
            return ""
        if self._marked:
            return f"{self._marked} marked · c compares"
        forms = (
            "⏎ opens · r resumes · m c compare two · X deletes",
            "⏎ opens · m c compare two · X deletes",
            "⏎ opens",
        )
        room = self.query_one("#runs", Box).text_width
        return next((form for form in forms if len(form) <= room), "")

    def on_line_view_moved(self, event: LineView.Moved) -> None:
        name, cursor = event.view.id or "", event.view.cursor
        if name not in self._at or cursor is None:
            return
        limit = {
            "targets": len(self.targets) + 1,
            "plan": len(self.form.choices) if self.form else 0,
            "runs": len(self.runs),
        }[name]
        moved = self._at[name] != min(cursor, limit - 1)
        self._at[name] = max(0, min(cursor, limit - 1))
        if name == "targets" and moved:
            self._plan()
        else:
            self.draw_all()

    # ---- keys --------------------------------------------------------------------------------------------------

    def action_go(self, name: str) -> None:
        """To the box with this digit."""
        self.query_one(f"#{name}").focus()

    def action_open(self) -> None:
        """What the box in focus is for: open the run, see the machine, else start the plan."""
        if self.focused is not None and self.focused.id == "runs":
            self._open_run()
        elif self.focused is not None and self.focused.id == "targets" and self.target is None and self.targets:
            self.action_new_target()
        elif self.focused is not None and self.focused.id == "machine":
            self.action_doctor()
        elif self.form is None or not self.form.ready:
            self.notify(
                content(self.form.blocked if self.form else "choose a target first", self).plain,
                severity="error",
                markup=False,
            )
        elif not self._busy:
            self._busy = "starting …"
            self.draw_all()
            self._ask(partial(self._services.start, self.form), self._show_run)

    def _open_run(self) -> None:
        if run := self.run_chosen:
            self._ask(partial(self._services.attach, run.run), self._show_run)

    def _show_run(self, client: RunClient) -> None:
        self._busy = ""
        self.app.push_screen(RunScreen(client, self._clock))

    def action_resume(self) -> None:
        """Bring the chosen run's engine back, then attach to it."""
        run = self.run_chosen
        if run is None:
            return
        if run.liveness not in (Liveness.CRASHED, Liveness.PAUSED):
            self._open_run()
            return

        def resume() -> RunClient:
            self._services.resume(run.run)
            return self._services.attach(run.run)

        self._ask(resume, self._show_run)

    def action_change(self, step: int) -> None:
        """The next value of the plan's line under the cursor."""
        if self.form is None:
            return
        choice = self.form.choices[min(self._at["plan"], len(self.form.choices) - 1)]
        if not choice.options:
            return
        value = self._changes.get(choice.name, choice.value)  # a key does not wait for the plan that it changes
        at = choice.options.index(value) if value in choice.options else 0
        if choice.name == "agent":
            self._changes.pop("model", None)  # it was the other agent's
        self._choose(choice.name, choice.options[(at + step) % len(choice.options)])

    def _choose(self, name: str, value: str) -> None:
        """Set one of the plan's choices; an empty value takes the choice back."""
        self._changes.pop(name, None)
        if value:
            self._changes[name] = value
        self._plan()

    def action_agents(self) -> None:
        """Who plays each role, with which model."""
        if self.form is None:
            self.notify("there is no plan yet: who plays is a part of it", markup=False)
        else:
            self.app.push_screen(PlayersScreen(self.form, self._changes, self._choose))

    def action_copy(self) -> None:
        if self.form is not None:
            self.app.copy_to_clipboard(self.form.command)
            self.notify("the command is copied", markup=False)

    def action_new_target(self) -> None:
        """From a model folder to a target that is chosen here."""

        def choose(entry: TargetEntry | None) -> None:
            if entry is not None:
                self._wanted_target = entry.name
                self.query_one("#targets").focus()
                self._ask(self._services.targets, self._set_targets)

        self.app.push_screen(NewTargetScreen(), choose)

    def action_delete(self) -> None:
        """Remove the chosen run for good, when it is the past runs that have the focus."""
        run = self.run_chosen
        if run is None or self.focused is None or self.focused.id != "runs":
            self.notify("go to the past runs (4) to delete one", markup=False)
            return

        def answer(agreed: bool | None) -> None:
            if agreed:
                self._ask(partial(self._services.delete, run.run), lambda _: self._reload_runs())

        text = f"Delete {run.run} with its history, servers and measurements? This cannot be undone."
        self.app.push_screen(Confirm("Delete a run", text, "delete it"), answer)

    def action_mark(self) -> None:
        """Remember the chosen run, or forget it again."""
        run = self.run_chosen
        if run is not None:
            self._marked = "" if self._marked == run.run else run.run
            self.app.clear_notifications()  # advice to mark a run would hide that one is
            self.draw_all()

    def action_compare(self) -> None:
        """The marked run beside the chosen one."""
        run = self.run_chosen
        if run is None or not self._marked or run.run == self._marked:
            self.notify("mark a past run with m, choose another, then c compares", markup=False)
            return

        a, b = self._marked, run.run

        def show(pair: RunPair) -> None:
            measure = partial(self._ask, partial(self._services.measure_runs, a, b), self._show_run)
            self.app.push_screen(CompareRunsScreen(pair, measure))

        self._ask(partial(self._services.compare_runs, a, b), show)

    def action_doctor(self) -> None:
        self.app.push_screen(Page("This machine", lambda width: draw.draw_doctor(self.findings, width)))

    def action_skills(self) -> None:
        def show(skills: Sequence[SkillEntry]) -> None:
            self.app.push_screen(SkillsScreen(skills))

        self._ask(self._services.skills, show)
