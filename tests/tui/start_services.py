"""Services with something to show: targets, a machine, runs and skills as a user of the quick start meets them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.tui import journals
from tests.tui.fakes import DIFF, ScriptClient
from vibeserve_tui.client import Liveness, RunClient, RunSummary
from vibeserve_tui.errors import EnvironmentFault, TargetError
from vibeserve_tui.run_state import RunState
from vibeserve_tui.tui.services import (
    Choice,
    Finding,
    NewTarget,
    PlanForm,
    Player,
    RunPair,
    SkillEntry,
    TargetCheck,
    TargetEntry,
)

TARGETS = (
    TargetEntry(
        "tiny-llama-chat", Path("targets/tiny-llama-chat"), "Chat on a tiny Llama, 16 at a time",
        description="A small Llama (2.2 M parameters, weights included) behind an OpenAI-compatible chat server, 16 requests at "
        "a time. Goal: the highest output throughput, greedy output equal to the reference. Round 0 is the simplest correct server.",
        workload="chat, 16 at a time",
    ),
    TargetEntry("tiny-llama-json", Path("targets/tiny-llama-json"), "JSON", workload="JSON schema"),
    TargetEntry("tiny-edit", Path("targets/tiny-edit"), "Edits", workload="predicted outputs"),
    TargetEntry("qwen3-4b-mlx", Path("targets/qwen3-4b-mlx"), "Chat on a Mac", blocked="needs metal"),
    TargetEntry("llama-8b-chat", Path("targets/llama-8b-chat"), "Chat on a GPU", blocked="needs cuda; weights not here"),
)  # fmt: skip
AGENTS = ("anthropic", "claude", "openai", "playbook")
FINDINGS = (
    Finding("cpu", "ok", "2 cores, AVX2, 24 GiB"),
    Finding("git", "ok", "2.39.5"),
    Finding("torch", "ok", "2.13.0+cpu"),
    Finding("sandbox", "ok", "bubblewrap 0.8"),
    Finding("cuda", "missing", "no NVIDIA driver", "install driver 550 or newer, then press u"),
    Finding("metal", "absent", "not an Apple machine"),
    Finding("xgrammar", "attention", "missing; tiny-llama-json uses it", "pip install 'vibeserve-tui[grammar]'"),
    Finding("disk", "ok", "41 GiB free in ~/.local/share/vibeserve"),
)
SKILLS = (
    SkillEntry(
        "prefix-cache", "Reuse the KV of a shared prompt prefix across requests.", ("cpu", "cuda", "metal"), has_recipe=True,
        applies="workload.shared_prefix_tokens ≥ 64", expected="TTFT −15…−60 %, risk low", history="used in 7 runs: kept 6, indecisive 1",
        source="built in", text="# How\n1. Hash the prompt in blocks of 16 tokens.\n2. Keep the KV of each block.\n",
    ),
    SkillEntry("paged-kv", "Keep the KV cache in pages.", ("cuda",), has_recipe=True, text="# How\n"),
    SkillEntry("ssm-snapshot-cache", "Snapshots of recurrent state.", ("cuda", "metal"), text="# How\n"),
    SkillEntry("prefill-step-size", "How many tokens a prefill step takes.", ("metal",), has_recipe=True, text="# How\n"),
)  # fmt: skip


def run_summary(name: str, liveness: Liveness, **changes: object) -> RunSummary:
    facts: dict[str, object] = {
        "run": name, "path": Path(name), "target": "tiny-llama-chat", "liveness": liveness, "status_reason": "", "rounds": 9, "max_rounds": 12,
        "metric": "output_throughput", "unit": "tok/s", "baseline": 67.9, "champion": 388.1, "gain": 5.53,
        "started_wall": journals.START - 720, "active_s": 540.0, "waiting": False, "fault": "",
    }  # fmt: skip
    return RunSummary(**(facts | changes))  # type: ignore[arg-type]


RUNS = (
    run_summary("r1", Liveness.RUNNING),
    run_summary(
        "r2",
        Liveness.RUNNING,
        target="tiny-edit",
        rounds=2,
        max_rounds=8,
        waiting=True,
        started_wall=journals.START - 4000,
    ),
    run_summary("r3", Liveness.FINISHED, target="tiny-llama-json", rounds=12, started_wall=journals.START - 90_000),
    run_summary("r4", Liveness.CRASHED, rounds=3, status_reason="", started_wall=journals.START - 200_000),
)


@dataclass
class FakeCheck:
    """Two steps, the second as the test wants it."""

    passes: bool = True
    passed: bool = False
    stopped: bool = False

    def lines(self) -> Iterator[str]:
        yield "✓ J1 protocol and errors"
        yield "✓ T2 canned answers are rejected" if self.passes else "✗ T2 canned answers pass"
        self.passed = self.passes

    def stop(self) -> None:
        self.stopped = True


@dataclass
class Library:
    """Answers like the program would, and remembers what was asked of it."""

    version: str = "0.1.0"
    crash_dir: Path = Path("/nonexistent")
    past: tuple[RunSummary, ...] = RUNS
    refuses: str = ""
    started: list[PlanForm] = field(default_factory=list)
    attached: list[str] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    compared: list[tuple[str, str]] = field(default_factory=list)
    made: list[NewTarget] = field(default_factory=list)
    own: tuple[TargetEntry, ...] = ()
    check: FakeCheck = field(default_factory=FakeCheck)

    def targets(self) -> Sequence[TargetEntry]:
        return (*TARGETS, *self.own)

    def doctor(self) -> Sequence[Finding]:
        return FINDINGS

    def runs(self) -> Sequence[RunSummary]:
        return self.past

    def skills(self) -> Sequence[SkillEntry]:
        return SKILLS

    def plan(self, target: str, changes: dict[str, str]) -> PlanForm:
        entry = next(entry for entry in self.targets() if entry.name == target)
        agent = changes.get("agent", "playbook")
        choices = (
            Choice("backend", "cpu", (), "the only usable one"),
            Choice("profile", changes.get("profile", "quick"), ("quick", "thorough"), "2 × 60 requests"),
            Choice("agent", agent, AGENTS, changes.get("model", "") or "offline, no key, $0"),
            Choice("policy", "agent", (), "issue board"),
            Choice("approve", changes.get("approve", "each-round"), ("each-round", "on-regression", "auto")),
            Choice("budget", "12 rounds · 30 min · $0"),
        )
        roles = ("orchestrator", "implementer", "judge", "evaluator", "mutator")
        players = [Player("", agent, changes.get("model", ""))]
        for role in roles:
            own = changes.get(f"agent.{role}", ""), changes.get(f"model.{role}", "")
            players.append(Player(role, own[0] or agent, own[1], own=any(own)))
        command = f"vibeserve run {target} --profile {choices[1].value} --approve {choices[4].value}"
        command += f" --agent {agent}" if "agent" in changes else ""
        command += f" --model-name {changes['model']}" if "model" in changes else ""
        command += "".join(f" --role {p.role}={p.agent}:{p.model}".rstrip(":") for p in players if p.own)
        ready = "" if entry.blocked else "ready, ⏎ starts"
        return PlanForm(
            target, choices, dict(changes), tuple(players), AGENTS, "≈ 14 min, 480 MiB", command, ready, entry.blocked
        )

    def start(self, form: PlanForm) -> RunClient:
        if self.refuses:
            raise EnvironmentFault(self.refuses)
        self.started.append(form)
        return ScriptClient(journals.running())

    def attach(self, run: str) -> RunClient:
        self.attached.append(run)
        return ScriptClient(journals.finished())

    def resume(self, run: str) -> None:
        self.resumed.append(run)

    def delete(self, run: str) -> None:
        self.past = tuple(summary for summary in self.past if summary.run != run)

    def compare_runs(self, a: str, b: str) -> RunPair:
        states = []
        for script in (journals.finished(), journals.running()):
            state = RunState()
            for record in journals.records(script):
                state.apply(record)
            states.append(state)
        return RunPair(states[0], states[1], DIFF)

    def measure_runs(self, a: str, b: str) -> RunClient:
        if self.refuses:
            raise EnvironmentFault(self.refuses)
        self.compared.append((a, b))
        return ScriptClient(journals.running())

    def ask(self, run: str, question: str) -> str:
        return f"{question}\nround 4 failed: 3 of 64 prompts differ from the reference (r4)\njudge J2 failed"

    def look_at_model(self, folder: Path) -> str:
        if not (folder / "config.json").exists():
            raise TargetError("config.json is missing", where=str(folder))
        return "llama · 2.2 M parameters · 4 layers of 192"

    def new_target(self, wanted: NewTarget) -> TargetEntry:
        self.made.append(wanted)
        entry = TargetEntry(wanted.name, Path("targets", wanted.name), "made here", workload="chat at c1, c16")
        self.own += (entry,)
        return entry

    def check_target(self, entry: TargetEntry) -> TargetCheck:
        return self.check
