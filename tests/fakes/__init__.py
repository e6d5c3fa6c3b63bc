"""Small stand-ins for the parts of a round that are not under test; each is shorter than what it stands for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vibeserve_tui import events as ev
from vibeserve_tui.errors import AgentError
from vibeserve_tui.round import Crew, Decision, Work
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.run_dir import RunDir

THROUGHPUT = ev.MetricRef(name="output_throughput", level="c16", unit="tok/s", direction="max", headline=True)


def plan(**changes: object) -> ev.RunPlan:
    fields: dict[str, object] = {
        "target": "tiny", "target_path": "/nowhere", "target_digest": "0" * 64, "metrics": (THROUGHPUT,),
        "agents": {"orchestrator": "playbook"},
    }  # fmt: skip
    return ev.RunPlan.model_validate(fields | changes)


def started(**changes: object) -> ev.RunStarted:
    device = ev.DeviceSummary(id="cpu:0", name="test", backend="cpu", fingerprint="f", cores=2)
    return ev.RunStarted(run="run", plan=plan(**changes), device=device, sandbox="bwrap")


def measured(outcome: str = "accepted", ratio: float = 2.0, **changes: object) -> ev.Measured:
    figure = ev.Figure(
        metric="output_throughput", level="c16", unit="tok/s", direction="max", a=100.0, b=100.0 * ratio, ratio=ratio,
        ci_low=ratio * 0.97, ci_high=ratio * 1.03, headline=True,
    )  # fmt: skip
    fields = {"outcome": outcome, "reason": "bound", "blocks": 3, "figures": (figure,)} | changes
    return ev.Measured.model_validate(fields)


def open_run(folder: Path, **changes: object) -> Run:
    """A run with its baseline done: round 0 is committed and champion."""
    run = Run(_directory(folder))
    if run.state.status == "new":
        run.emit(started(**changes))
        (folder / "seed").mkdir(exist_ok=True)
        (folder / "seed" / "server.py").write_text("speed = 1\n")
        commit = run.store.snapshot(
            folder / "seed", ref="attempts/000/1", parent=None, message="seed", when=1_700_000_000
        )
        record = ev.RoundRecord(
            number=0, task=ev.TaskPlan(title="seed"), outcome="kept", reason="the baseline", commit=commit.sha,
            tree=commit.tree, measured=measured(ratio=1.0), fate="baseline",
        )  # fmt: skip
        run.emit(ev.RoundFinished(record=record), ev.ChampionMoved(round=0, commit=commit.sha))
    return run


def _directory(folder: Path) -> RunDir:
    folder.mkdir(exist_ok=True)
    directory = RunDir(folder / "run")
    directory.create()
    return directory


@dataclass
class FakeImplementer:
    """Writes a line into the tree; fails where `failures` says so (attempt number to reason)."""

    run: Run
    failures: dict[int, str] = field(default_factory=dict)
    seen: list[Work] = field(default_factory=list)

    async def implement(self, work: Work) -> ev.AttemptCommitted:
        self.seen.append(work)
        if work.attempt in self.failures:
            raise AgentError(self.failures[work.attempt])
        self.run.store.checkout(work.parent, self.run.dir.workspace)
        with (self.run.dir.workspace / "server.py").open("a") as out:
            out.write(f"speed = {work.round}.{work.attempt}\n")
        ref = f"attempts/{work.round:03d}/{work.attempt}"
        done = self.run.store.snapshot(
            self.run.dir.workspace, ref=ref, parent=work.parent, message="try", when=1_700_000_060
        )
        return ev.AttemptCommitted(
            round=work.round, attempt=work.attempt, commit=done.sha, tree=done.tree, parent=work.parent, ref=ref
        )


@dataclass
class FakeJudge:
    """Passes every attempt but those in `faults` (attempt number to reason)."""

    faults: dict[int, str] = field(default_factory=dict)
    judged: list[str] = field(default_factory=list)

    async def judge(self, work: Work, commit: str) -> ev.Verdict:
        self.judged.append(commit)
        reason = self.faults.get(work.attempt, "")
        return ev.Verdict(outcome="fail" if reason else "pass", reason=reason, first_failure="J3" if reason else "")


@dataclass
class FakeEvaluator:
    answer: ev.Measured = field(default_factory=measured)
    compared: list[tuple[str, str]] = field(default_factory=list)

    async def evaluate(self, number: int, champion: str, candidate: str) -> ev.Measured:
        self.compared.append((champion, candidate))
        return self.answer


@dataclass
class FakeOperator:
    """Answers in turn; afterwards the gate's default stands."""

    answers: list[Decision] = field(default_factory=list)

    async def decide(self, number: int, default: ev.Default) -> Decision:
        return self.answers.pop(0) if self.answers else Decision(default, "gate")


def crew(run: Run, **parts: object) -> Crew:
    defaults = {
        "implementer": FakeImplementer(run), "judge": FakeJudge(), "evaluator": FakeEvaluator(),
        "operator": FakeOperator(),
    }  # fmt: skip
    return Crew(**(defaults | parts))  # type: ignore[arg-type]
