"""A client over a script of events, services without a program behind them, and the screen as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from textual.app import App

from tests.tui import journals
from vibeserve_tui.client import Liveness, RunClient, RunSummary
from vibeserve_tui.commands import Command
from vibeserve_tui.events import Record
from vibeserve_tui.run_state import RunState, Status
from vibeserve_tui.tui.services import Finding, NewTarget, PlanForm, RunPair, SkillEntry, TargetCheck, TargetEntry

DIFF = """\
diff --git a/server/config.py b/server/config.py
index 1111111..2222222 100644
--- a/server/config.py
+++ b/server/config.py
@@ -12,2 +12,4 @@ class Config
 MAX_BATCH = 16
+BUCKETS = (1, 2, 4, 8, 16)
+WARM_UP = True
 PORT = 8000
diff --git a/server/engine.py b/server/engine.py
index 3333333..4444444 100644
--- a/server/engine.py
+++ b/server/engine.py
@@ -88,4 +88,5 @@ class Engine
     def start(self) -> None:
-        self.model.eval()
+        self.model.eval().requires_grad_(False)
+        self._warm_up(BUCKETS)  # one pass for each bucket
         self.loop.start()
\x20
@@ -140,3 +142,5 @@ class Engine
     def _bucket(self, n: int) -> int:
-        return n
+        for bucket in BUCKETS:
+            if bucket >= n:
+                return bucket
\x20
"""


class ScriptClient:
    """Plays a script's records at once; what is sent is kept, and answered when the test says so."""

    def __init__(self, script: journals.Script, liveness: Liveness | None = None) -> None:
        self.run_dir: Path | None = None
        self.state = RunState()
        self.sent: list[Command] = []
        self._records: list[Record] = list(journals.records(script))
        self._liveness = liveness

    def poll(self) -> int:
        waiting, self._records = self._records, []
        for record in waiting:
            self.state.apply(record)
        return len(waiting)

    def feed(self, *records: Record) -> None:
        self._records += records

    def send(self, command: Command) -> str:
        self.sent.append(command)
        return command.id

    def liveness(self) -> Liveness:
        if self._liveness:
            return self._liveness
        known = {Status.FINISHED: Liveness.FINISHED, Status.FAILED: Liveness.FAILED, Status.PAUSED: Liveness.PAUSED}
        return known.get(self.state.status, Liveness.RUNNING)

    def diff(self, older: int, newer: int) -> str:
        return "" if older == newer else DIFF

    def read_file(self, number: int, path: str) -> str:
        return f"# {path} of round {number}\n"

    def close(self) -> None:
        self._records = []


@dataclass
class FakeServices:
    version: str = "0.1.0"
    crash_dir: Path = Path("/nonexistent")
    started: list[PlanForm] = field(default_factory=list)

    def targets(self) -> Sequence[TargetEntry]:
        return ()

    def doctor(self) -> Sequence[Finding]:
        return ()

    def runs(self) -> Sequence[RunSummary]:
        return ()

    def skills(self) -> Sequence[SkillEntry]:
        return ()

    def plan(self, target: str, changes: dict[str, str]) -> PlanForm:
        raise NotImplementedError

    def start(self, form: PlanForm) -> RunClient:
        raise NotImplementedError

    def attach(self, run: str) -> RunClient:
        raise NotImplementedError

    def resume(self, run: str) -> None:
        raise NotImplementedError

    def delete(self, run: str) -> None:
        raise NotImplementedError

    def compare_runs(self, a: str, b: str) -> RunPair:
        raise NotImplementedError

    def measure_runs(self, a: str, b: str) -> RunClient:
        raise NotImplementedError

    def ask(self, run: str, question: str) -> str:
        raise NotImplementedError

    def look_at_model(self, folder: Path) -> str:
        raise NotImplementedError

    def new_target(self, wanted: NewTarget) -> TargetEntry:
        raise NotImplementedError

    def check_target(self, entry: TargetEntry) -> TargetCheck:
        raise NotImplementedError


def screen_text(app: App[int]) -> str:
    """The rows of the screen as text, without styles and trailing blanks."""
    rows = ("".join(segment.text for segment in strip).rstrip() for strip in app.screen._compositor.render_strips())
    return "\n".join(rows) + "\n"
