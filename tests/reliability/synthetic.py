"""A whole run that takes half a second: the real loop, policy, desk, journal and store around a scripted crew.

Only what would start programs is replaced: implementer, judge, evaluator, sandbox. Each of their calls is logged in a
file beside the run, so that a test can count what was done twice after a crash.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from tests.execution.conftest import DAEMONS, python, spec
from tests.fakes import measured, plan, started
from vibeserve_tui import commands as cmd
from vibeserve_tui import engine
from vibeserve_tui import events as ev
from vibeserve_tui.agents.replies import IssueDraft, PreparedPlan
from vibeserve_tui.execution.ladder import SandboxReport, Tier
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.policies.agent import Policy
from vibeserve_tui.recipes.ablation import Variant
from vibeserve_tui.recipes.situation import Choice
from vibeserve_tui.round import Crew, Operator, Work
from vibeserve_tui.state import durable, place
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.steering import Desk

ROUNDS = 3
START = 1_700_000_000
OUTCOMES = {1: "accepted", 2: "rejected", 3: "accepted"}
ACKNOWLEDGED = "acknowledged"
CALLS = "calls"


def prepare(folder: Path, *, rounds: int = ROUNDS, approval: str = "each-round") -> RunDir:
    """A run as a client leaves it for the engine: directory, order, and three commands that wait."""
    directory = RunDir(folder / "run")
    directory.create()
    order = plan(max_rounds=rounds, max_minutes=600, approval=approval)
    durable.write_atomic(directory.order, order.model_dump_json().encode())
    (folder / "seed").mkdir()
    (folder / "seed" / "server.py").write_text("speed = 1\n")
    for command in (
        cmd.Steer(id="steer", note="mind the tail"),
        cmd.NewIssue(id="issue", title="lower the tail"),
        cmd.Pin(id="pin", round=99),
    ):
        directory.post(command)
    durable.write_atomic(directory.inbox / "broken.json", b"{")
    return directory


def work_on(folder: Path, step: Step | None = None) -> int:
    """What the engine process does with a run, from its lock to its exit code; `step` takes the place of a measurement."""
    directory = RunDir(folder / "run")
    engine.open_workshop = _open_workshop(folder, step)
    engine.variants = lambda book, situation: book
    engine.made_of_recipes = lambda state: True
    engine.Desk = PromptDesk if step is None else Desk
    engine.Launcher = NoLauncher if step is None else _marked_launcher(folder.name, step.tier)
    place.RESERVE = 1 << 16
    _log_acknowledgements(folder)
    try:
        return engine.own(directory, engine.read_order(directory))
    except OSError as error:
        return exit_code(durable.fault_of(error, folder))
    except engine.VibeServeError as error:
        return exit_code(error)


def exit_code(error: engine.VibeServeError | None) -> int:
    return 70 if error is None else error.exit_code


def _log_acknowledgements(folder: Path) -> None:
    """Every record that `emit` returned for is noted, outside of what the run itself writes."""
    emit = Run.emit

    def logged(run: Run, *events: ev.Event) -> None:
        emit(run, *events)
        _append(folder / ACKNOWLEDGED, str(run.state.seq))

    Run.emit = logged


def _append(file: Path, line: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


class PromptDesk(Desk):
    """Looks into the inbox at each boundary and never on a clock, so that two runs do the same in the same order."""

    async def boundary(self) -> None:
        self.scan()
        await super().boundary()

    async def watch(self) -> None:
        await asyncio.Event().wait()


@dataclass(frozen=True)
class Step:
    """A measurement that does not end: in round 1 it opens a pod with a server and daemons, if there is a tier for it."""

    tier: Tier | None

    async def __call__(self, folder: Path, launcher: Launcher) -> None:
        up: dict[str, object] = {}
        server = None
        if self.tier is not None:
            pod = await launcher.open_pod()
            server = await pod.start(
                "server", spec(python(SERVER, pod.port), folder, log=folder / "server", serves=True)
            )
            helper = await pod.start("helper", spec(python(DAEMONS, 60), folder, log=folder / "helper"))
            while not all("ready" in (folder / name).read_text() for name in ("server", "helper")):
                await asyncio.sleep(0.01)
            up = {"port": pod.port, "boxes": [server.pid, helper.pid], "scratch": launcher._connection._scratch}
            up["launcher"] = launcher._connection._process.pid
        (folder / "up.new").write_text(json.dumps(up))
        (folder / "up.new").rename(folder / "up")
        if server is not None:
            await server.wait()
        await asyncio.Event().wait()


SERVER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
while True:
    server.accept()
"""


def _marked_launcher(run_id: str, tier: Tier | None):
    """The real launcher under a name of the test's own, by which its processes are found."""
    if tier is None:
        return NoLauncher

    class Marked(Launcher):
        @classmethod
        def start(cls, _run_id: str, *, tiers: Sequence[Tier]) -> Launcher:
            return Launcher.start(run_id, tiers=(tier,))

    return Marked


class NoLauncher:
    report = SandboxReport(Tier.NONE, ())

    @classmethod
    def start(cls, run_id: str, *, tiers: tuple[Tier, ...]) -> NoLauncher:
        return cls()

    async def close(self) -> None:
        pass


@dataclass
class Shop:
    """As much of a workshop as the outer loop asks for."""

    run: Run
    folder: Path
    launcher: Launcher | NoLauncher
    step: Step | None = None
    profile: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(attempts=2, plateau=0, confirmation=SimpleNamespace(every=0))
    )
    target: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(spec=SimpleNamespace(goal_speedup=None)))
    approval_timeout_s: float = 0.0

    @property
    def seed(self) -> Path:
        return self.folder / "seed"

    @property
    def judge(self) -> Judge:
        return Judge(self)

    @property
    def evaluator(self) -> Evaluator:
        return Evaluator(self)

    @property
    def book(self) -> list[Variant]:
        """One simpler tree to try, once something was kept."""
        return [Variant("idea-1", (Choice("idea-3", {}),))] if self.run.state.champion else []

    def situation(self) -> None:
        return None

    def policy(self) -> Policy:
        return Policy(self.run, Orchestrator(self))

    def crew(self, operator: Operator) -> Crew:
        return Crew(Implementer(self), self.judge, self.evaluator, operator)

    def rounds_left(self) -> int:
        played = [record for n, record in self.run.state.rounds.items() if n and record.task.kind != "ablation"]
        return self.run.state.max_rounds - len(played)

    def seconds_left(self) -> float:
        return 1000.0

    def speedup_so_far(self) -> float:
        return 1.0

    def remember(self, record: ev.RoundRecord) -> None:
        pass

    def called(self, *what: object) -> None:
        _append(self.folder / CALLS, " ".join(map(str, what)))


@dataclass
class Orchestrator:
    shop: Shop

    async def plan(self, **_: object) -> PreparedPlan:
        number = max(self.shop.run.state.rounds) + 1
        self.shop.called("plan", number)
        later = IssueDraft(title=f"idea {number + 1}", skill=f"idea-{number + 1}")
        # The first task is free-form, which has two attempts.
        skill = "" if number == 1 else f"idea-{number}"
        task = ev.TaskPlan(title=f"idea {number}", skill=skill, parent=self.shop.run.state.champion)
        return PreparedPlan(action="task", backlog=(later,), task=task)

    def task_of(self, reply: PreparedPlan) -> ev.TaskPlan | None:
        return reply.task

    def spares(self, record: ev.RoundRecord) -> bool:
        return False


@dataclass
class Implementer:
    shop: Shop

    async def implement(self, work: Work) -> ev.AttemptCommitted:
        self.shop.called("implement", work.round, work.attempt)
        run = self.shop.run
        run.store.checkout(work.parent, run.dir.workspace)
        with (run.dir.workspace / "server.py").open("a") as out:
            out.write(f"speed = {work.round}.{work.attempt}  # {work.feedback}\n")
        ref = f"attempts/{work.round:03d}/{work.attempt}"
        done = run.store.snapshot(run.dir.workspace, ref=ref, parent=work.parent, message="try", when=START)
        return ev.AttemptCommitted(
            round=work.round, attempt=work.attempt, commit=done.sha, tree=done.tree, parent=work.parent, ref=ref
        )


@dataclass
class Judge:
    """Turns down the first attempt of the first round."""

    shop: Shop

    async def judge(self, work: Work, commit: str) -> ev.Verdict:
        self.shop.called("judge", work.round, work.attempt)
        wrong = (work.round, work.attempt) == (1, 1)
        return ev.Verdict(outcome="fail" if wrong else "pass", reason="3 of 64 answers differ" if wrong else "")


@dataclass
class Evaluator:
    shop: Shop

    async def baseline(self, commit: str) -> ev.Measured:
        self.shop.called("baseline")
        return measured(ratio=1.0)

    async def evaluate(self, number: int, champion: str, candidate: str) -> ev.Measured:
        self.shop.called("evaluate", number)
        if self.shop.step is not None:
            await self.shop.step(self.shop.folder, self.shop.launcher)
        evidence = self.shop.run.dir.put_blob(f"the windows of round {number}".encode() * 20)
        return measured(OUTCOMES.get(number, "rejected"), ratio=1.5, evidence=evidence)

    async def profile(self, number: int, commit: str) -> None:
        self.shop.called("profile", number)
        self.shop.run.emit(ev.ProfileTaken(round=number, tool="none", quality="none"))

    async def confirm(self, champion: str, baseline: str, *, certain: float = 1.0) -> ev.Confirmed:
        self.shop.called("confirm")
        return ev.Confirmed(
            champion=self.shop.run.state.champion, baseline=0, figures=measured(ratio=2.0).figures, blocks=4
        )


def _open_workshop(folder: Path, step: Step | None):
    @asynccontextmanager
    async def open_workshop(run: Run, order: ev.RunPlan, launcher: Launcher | NoLauncher) -> AsyncIterator[Shop]:
        if run.state.status == "new":
            run.emit(started(**order.model_dump()))
        yield Shop(run, folder, launcher, step)

    return open_workshop


def main() -> int:
    """`python -m tests.reliability.synthetic FOLDER [waits|TIER]`: an engine process."""
    folder, *how = sys.argv[1:]
    step = Step(None if how == ["waits"] else Tier(how[0])) if how else None
    return work_on(Path(folder), step)


if __name__ == "__main__":
    sys.exit(main())
