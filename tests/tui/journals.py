"""Recorded runs for the tests of the screens: built from typed events, with a clock of their own.

The figures are made up here and nowhere else; they exist to be drawn. Each builder returns the events with their
times; `write_run` makes a run directory of them that any client can open.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from vibeserve_tui import events as ev
from vibeserve_tui.state.journal import FIRST, encode_line

START = 1_795_162_440.0  # 2026-11-20 08:14:00 UTC
TARGET = "tiny-llama-chat"
METRICS = (
    ev.MetricRef(name="output_throughput", level="c16", unit="tok/s", direction="max", headline=True),
    ev.MetricRef(name="median_ttft_ms", level="c16", unit="ms", direction="min"),
    ev.MetricRef(name="p99_ttft_ms", level="c16", unit="ms", direction="min"),
    ev.MetricRef(name="median_tpot_ms", level="c16", unit="ms", direction="min"),
    ev.MetricRef(name="peak_rss_mib", level="c16", unit="MiB", direction="min"),
)
DEVICE = ev.DeviceSummary(
    id="cpu0", name="2 cores, AVX2", backend="cpu", fingerprint="f00d", cores=2, memory_mib=24_576
)

# number, title, issue, skill, parent, outcome, throughput, ratio, half width of the interval, reason
ROUNDS = (
    (1, "KV cache reuse across decode steps", "I-1", "kv-cache-preallocate", 0, "kept", 96.4, 1.42, 0.02, "its interval stays above +2 %"),
    (2, "continuous batching, 16 slots", "I-2", "continuous-batching", 1, "kept", 171.3, 1.78, 0.03, "its interval stays above +2 %"),
    (3, "chunked prefill, 64 tokens a step", "I-3", "chunked-prefill", 2, "indecisive", 173.0, 1.01, 0.03, "no look decided within 8 blocks"),
    (4, "int8 weights, per channel", "I-5", "int8-weights", 2, "failed", None, None, 0.0, "3 of 64 prompts differ from the reference"),
    (5, "fused argmax sampling", "I-6", "fused-sampling", 2, "kept", 177.2, 1.034, 0.016, "its interval stays above +2 %"),
    (6, "prefix cache for the system prompt", "I-4", "prefix-cache", 5, "kept", 214.8, 1.21, 0.02, "its interval stays above +2 %"),
    (7, "thread pinning, inter-op 1", "I-9", "thread-pinning", 6, "reverted", 197.0, 0.917, 0.02, "futile: cannot reach +2 % any more"),
    (8, "native decode kernel, AVX2", "I-8", "native-cpu-kernel", 6, "kept", 388.1, 1.81, 0.05, "its interval stays above +2 %"),
    (9, "uvloop and httptools front end", "I-11", "fast-http", 8, "void", None, None, 0.0, "clock jumped by 2.1 s during block 2"),
    (10, "speculative n-gram draft, k = 4", "I-10", "ngram-draft", 8, "reverted", 361.5, 0.93, 0.03, "futile: cannot reach +2 % any more"),
    (11, "memoryview for the SSE writer", "I-12", "sse-writer", 8, "kept", 399.0, 1.028, 0.011, "its interval stays above +2 %"),
    (12, "warm-up of every decode bucket", "I-7", "warmup-and-buckets", 11, "indecisive", 400.2, 1.003, 0.014, "no look decided within 8 blocks"),
)  # fmt: skip
BASELINE = 67.9
OTHERS = {"median_ttft_ms": 412.0, "p99_ttft_ms": 961.0, "median_tpot_ms": 22.4, "peak_rss_mib": 590.0}
MEMORY = """\
# Progress

## What works
- KV cache reuse: +42.0 % (r1)
- continuous batching: +78.0 % (r2); 16 slots fill the batch, 32 only add latency
- prefix cache: +21.0 % (r6); keep the block size at 16
- native decode kernel: +81.0 % (r8); falls back to torch without a compiler

## Dead ends
- int8 per channel: 3 of 64 prompts differ (r4); exact targets need bf16-exact weights
- thread pinning: −8.3 %, reverted (r7)

## Ideas
- warm-up of every decode bucket
- memoryview for the SSE writer
"""


class Script:
    """Events in the order of their times."""

    def __init__(self, start: float = START) -> None:
        self.now = start
        self.began = start
        self.events: list[tuple[float, ev.Event]] = []
        self.random = random.Random(7)

    def say(self, event: ev.Event, after: float = 0.2) -> None:
        self.now += after
        self.events.append((round(self.now, 3), event))

    def beat(self) -> None:
        self.say(ev.Heartbeat(active_s=round(self.now - self.began, 1), rss_mib=210.0, load=0.9))


def plan(approval: str = "each-round", max_rounds: int = 12) -> ev.RunPlan:
    return ev.RunPlan(
        target=TARGET, target_path=f"targets/{TARGET}", target_digest="5e1f", title="Chat on a tiny Llama, 16 at a time",
        agents={"orchestrator": "playbook", "implementer": "playbook", "judge": "playbook", "evaluator": "playbook"},
        approval=approval, max_rounds=max_rounds, max_minutes=30.0, metrics=METRICS,
    )  # fmt: skip


def started(approval: str = "each-round", max_rounds: int = 12) -> Script:
    script = Script()
    script.say(
        ev.RunStarted(
            run="20261120-0814-tiny-llama-chat", plan=plan(approval, max_rounds), device=DEVICE, sandbox="bwrap"
        ),
        0,
    )
    script.say(ev.PhaseStarted(phase=ev.Phase.STARTING, detail="preparing the workspace"))
    return script


def with_baseline(script: Script) -> Script:
    script.say(ev.PhaseStarted(phase=ev.Phase.BASELINE, round=0, detail="the seed against itself", expected_s=70))
    script.say(ev.RoundPlanned(number=0, task=ev.TaskPlan(title="the target's seed server", kind="agent")))
    script.say(
        ev.AttemptCommitted(round=0, attempt=1, commit="a0" * 20, tree="b0" * 20, parent="", ref="refs/attempts/000/1")
    )
    measured = ev.Measured(
        outcome="accepted", reason="baseline", blocks=2, figures=figures(BASELINE, BASELINE, None, 0), took_s=41.0
    )
    measure(script, 0, BASELINE, BASELINE, blocks=2, purpose="baseline")
    script.say(ev.MeasurementFinished(round=0, measured=measured, purpose="baseline"))
    task = ev.TaskPlan(title="the target's seed server", kind="agent")
    record = ev.RoundRecord(
        number=0, task=task, outcome=ev.Outcome.KEPT, reason="baseline", commit="a0" * 20, tree="b0" * 20,
        verdict=verdict(), measured=measured, fate="baseline", took_s=64.0,
    )  # fmt: skip
    script.say(ev.RoundFinished(record=record))
    script.say(ev.ChampionMoved(round=0, commit="a0" * 20))
    for number, issue in enumerate(issues(), 1):
        script.say(ev.IssueChanged(issue=issue), 0.01 * number)
    script.beat()
    return script


def issues() -> list[ev.Issue]:
    waiting = [
        ev.Issue(id=r[2], type=ev.IssueType.PERF, title=r[1], skill=r[3], priority=1 if r[7] and r[7] > 1.3 else 2)
        for r in ROUNDS
    ]
    extra = ev.Issue(
        id="I-13", type=ev.IssueType.BUG, title="stop strings across two tokens", status=ev.IssueStatus.PARKED, priority=3,
        mechanism="needs a protocol change", filed_by="judge",
    )  # fmt: skip
    return [*waiting, extra]


def figures(a: float | None, b: float | None, ratio: float | None, half: float) -> tuple[ev.Figure, ...]:
    """All metrics of a round from its headline."""
    headline = METRICS[0]
    low, high = (ratio - half, ratio + half) if ratio else (None, None)
    out = [
        ev.Figure(
            metric=headline.name,
            level="c16",
            unit="tok/s",
            direction="max",
            a=a,
            b=b,
            ratio=ratio,
            ci_low=low,
            ci_high=high,
            headline=True,
        )
    ]
    if a is None or b is None:
        return tuple(out)
    return (*out, *(other_figure(metric, a, b, ratio, half) for metric in METRICS[1:]))


def other_figure(metric: ev.MetricRef, a: float, b: float, ratio: float | None, half: float) -> ev.Figure:
    base = OTHERS[metric.name]
    if metric.name == "peak_rss_mib":
        return ev.Figure(
            metric=metric.name, level="c16", unit="MiB", direction="min", a=base + a / 8, b=base + b / 8, guard=True
        )
    weight = {"median_ttft_ms": 0.9, "p99_ttft_ms": 0.35, "median_tpot_ms": 0.2}[metric.name]
    value_a, value_b = base * (BASELINE / a) ** weight, base * (BASELINE / b) ** weight
    own = value_a / value_b if ratio else None
    wide = half * (1.0 if metric.name == "median_ttft_ms" else 2.5)
    return ev.Figure(
        metric=metric.name, level="c16", unit="ms", direction="min", a=round(value_a, 2), b=round(value_b, 2), ratio=own,
        ci_low=own - wide if own else None, ci_high=own + wide if own else None,
    )  # fmt: skip


def verdict(failure: str = "") -> ev.Verdict:
    steps = [
        ev.JudgeStep(id="J1", title="protocol and errors", passed=True, detail="completions, chat, streaming, 14 bad requests", tests=38, took_ms=2100),
        ev.JudgeStep(id="J2", title="greedy output equals the reference", passed=not failure, detail=failure or "64 of 64 prompts, greatest gap 3.1e-4 ≤ 2e-3", tests=64, took_ms=9200),
        ev.JudgeStep(id="J3", title="nothing is answered from memory", passed=True, detail="perturbed prompts change the answer", tests=16, took_ms=1900),
        ev.JudgeStep(id="J4", title="checker and benchmark untouched", passed=True, tests=4, took_ms=40),
    ]  # fmt: skip
    if failure:
        return ev.Verdict(outcome="fail", reason=failure, first_failure="J2", steps=tuple(steps[:2]), commit="c4" * 20)
    return ev.Verdict(outcome="pass", steps=tuple(steps), accuracy_class="exact", seed="91ab")


def task_of(row: tuple[object, ...]) -> ev.TaskPlan:
    _, title, issue, skill, parent, _, _, ratio, _, _ = row
    low = float(ratio) if isinstance(ratio, float) else 1.2
    return ev.TaskPlan(
        title=str(title), issue=str(issue), skill=str(skill), parent=int(str(parent)),
        hypothesis=ev.Hypothesis(
            claim=f"{title} raises throughput at c16", metric="output_throughput", expected_low=round(max(1.02, low * 0.9), 2),
            expected_high=round(max(1.1, low * 1.2), 2), minimum_effect=1.02, falsifier="the counter stays 0",
        ),
        why=(ev.WhyRow(what="share of the profile", value="38 %", source=f"profile r{parent}"), ev.WhyRow(what="prior", value="+29 % ± 10", source="recipe")),
    )  # fmt: skip


def worked_on(script: Script, row: tuple[object, ...]) -> ev.TaskPlan:
    """The round up to the judge's verdict."""
    number, title, issue, skill, parent = int(str(row[0])), str(row[1]), str(row[2]), str(row[3]), int(str(row[4]))
    task = task_of(row)
    script.say(ev.PhaseStarted(phase=ev.Phase.PLAN, round=number))
    script.say(ev.AgentStarted(role="orchestrator", provider="playbook", round=number, task="choose the next recipe"))
    script.say(
        ev.AgentSaid(
            role="orchestrator",
            text=f"plan {issue}: {title}; expect ×{task.hypothesis.expected_low if task.hypothesis else 1} or more, risk low",
        ),
        0.4,
    )
    script.say(ev.AgentFinished(role="orchestrator", status="ok"))
    script.say(ev.RoundPlanned(number=number, task=task))
    doing = next(i for i in issues() if i.id == issue).model_copy(
        update={"status": ev.IssueStatus.DOING, "rounds": (number,)}
    )
    script.say(ev.IssueChanged(issue=doing))
    script.say(ev.PhaseStarted(phase=ev.Phase.IMPLEMENT, round=number))
    script.say(ev.AttemptStarted(round=number, attempt=1))
    script.say(ev.AgentStarted(role="implementer", provider="playbook", round=number, task=f"apply {skill}"))
    script.say(ev.ToolUsed(role="implementer", call=ev.ToolCall(name="skill", arguments=skill, took_s=0.1)), 0.3)
    script.say(
        ev.ToolUsed(
            role="implementer",
            call=ev.ToolCall(
                name="apply_recipe", arguments=f"{skill} server/engine.py", output="2 files changed", took_s=0.2
            ),
        ),
        0.5,
    )
    script.say(
        ev.ToolUsed(
            role="implementer",
            call=ev.ToolCall(name="bash", arguments="python -m server --selftest", output="selftest ok", took_s=3.1),
        ),
        3.1,
    )
    script.say(ev.AgentFinished(role="implementer", status="ok"))
    commit = f"{number:02d}" * 20
    script.say(ev.AttemptCommitted(
        round=number, attempt=1, commit=commit, tree=commit, parent=f"{parent:02d}" * 20, ref=f"refs/attempts/{number:03d}/1",
        files_changed=2, lines_added=41, lines_removed=6, summary=title, skills=(skill,),
    ))  # fmt: skip
    script.say(ev.PhaseStarted(phase=ev.Phase.JUDGE, round=number, expected_s=15))
    failure = str(row[9]) if row[5] == "failed" else ""
    script.say(
        ev.ToolUsed(
            role="judge",
            call=ev.ToolCall(
                name="battery", arguments="64 prompts, 4 steps", ok=not failure, output=failure, took_s=13.2
            ),
        ),
        13.2,
    )
    script.say(ev.AttemptJudged(round=number, attempt=1, verdict=verdict(failure)))
    text = f"FAIL {failure}" if failure else "PASS 64 of 64 prompts equal to the reference, greatest gap 3.1e-4 ≤ 2e-3"
    script.say(ev.AgentSaid(role="judge", text=text))
    script.beat()
    return task


def measure(
    script: Script, number: int, a: float, b: float, *, blocks: float, purpose: str = "round", parent: int = 0
) -> None:
    """Blocks of ABBA and BAAB in turn; a fraction of a block leaves the measurement in its middle."""
    script.say(
        ev.PhaseStarted(
            phase=ev.Phase.BASELINE if purpose == "baseline" else ev.Phase.MEASURE, round=number, expected_s=32
        )
    )
    script.say(
        ev.MeasurementStarted(round=number, label_a=f"r{parent}", label_b=f"r{number}", level="c16", purpose=purpose)
    )
    total = max(3, int(blocks))
    for block in range(1, int(blocks + 0.999) + 1):
        script.say(ev.PhaseProgress(detail=f"block {block} of {total}", done=block - 1, total=total), 2.0)
        sides = "ABBA" if block % 2 else "BAAB"
        for index, side in enumerate(sides):
            if (block - 1) * 4 + index >= blocks * 4:
                return
            script.say(window(script, number, side, block=block, index=index, level=a if side == "A" else b), 1.1)
        script.say(ev.BlockFinished(round=number, block=block, d=0.01), 0.3)
        script.beat()


def window(script: Script, number: int, side: str, *, block: int, index: int, level: float) -> ev.WindowMeasured:
    noise = script.random.gauss
    rate = level * (1 + noise(0, 0.015))
    ttft = [round(abs(OTHERS["median_ttft_ms"] * BASELINE / level * (1 + noise(0, 0.2))), 2) for _ in range(32)]
    values: dict[str, float | None] = {
        m.name: v for m in METRICS[1:] if (v := other_figure(m, level, rate, None, 0).b) is not None
    }
    values["output_throughput"] = round(rate, 2)
    return ev.WindowMeasured(
        round=number, side="A" if side == "A" else "B", block=block, pair=index // 2 + 1, level="c16", values=values, ttft_ms=tuple(ttft),
        tpot_ms=tuple(round(t / 18, 2) for t in ttft),
    )  # fmt: skip


def level_of(number: int) -> float:
    return BASELINE if number == 0 else next(float(r[6]) for r in ROUNDS if r[0] == number and r[6])


def measured_of(row: tuple[object, ...]) -> ev.Measured:
    outcome = {"kept": "accepted", "indecisive": "indecisive", "reverted": "rejected", "void": "void"}[str(row[5])]
    a, b = level_of(int(str(row[4]))), row[6] if isinstance(row[6], float) else None
    ratio = row[7] if isinstance(row[7], float) else None
    shown = figures(a, b, ratio, float(str(row[8]))) if b else ()
    return ev.Measured(
        outcome=outcome, reason=str(row[9]), blocks=3, figures=shown, took_s=31.4, checked_twice=row[0] == 8
    )


def finish(script: Script, row: tuple[object, ...], task: ev.TaskPlan, *, decided_by: str = "gate") -> None:
    """The round from its measurement to its record."""
    number, outcome = int(str(row[0])), ev.Outcome(str(row[5]))
    measured = None if outcome is ev.Outcome.FAILED else measured_of(row)
    if measured:
        if isinstance(row[6], float):
            measure(script, number, level_of(task.parent), row[6], blocks=3, parent=task.parent)
        script.say(ev.MeasurementFinished(round=number, measured=measured))
    kept = outcome is ev.Outcome.KEPT
    record = ev.RoundRecord(
        number=number, task=task, outcome=outcome, reason=str(row[9]), commit=f"{number:02d}" * 20, tree=f"{number:02d}" * 20,
        verdict=verdict(str(row[9]) if outcome is ev.Outcome.FAILED else ""), measured=measured, fate="champion" if kept else "discarded",
        hypothesis_outcome="proven" if kept else "disproven", files_changed=2, lines_added=41, lines_removed=6, took_s=52.0, decided_by=decided_by,
    )  # fmt: skip
    if kept:
        script.say(ev.ChampionMoved(round=number, commit=record.commit))
        script.say(profile(number))
    script.say(ev.RoundFinished(record=record))
    status = {"kept": ev.IssueStatus.DONE, "failed": ev.IssueStatus.BLOCKED}.get(outcome, ev.IssueStatus.ABANDONED)
    issue = next(i for i in issues() if i.id == row[2])
    mechanism = "" if kept else str(row[9])
    script.say(
        ev.IssueChanged(issue=issue.model_copy(update={"status": status, "rounds": (number,), "mechanism": mechanism}))
    )
    script.beat()


def profile(number: int) -> ev.ProfileTaken:
    """As py-spy and the evaluator write it."""
    return ev.ProfileTaken(
        round=number, tool="py-spy", quality="perturbed", window_s=3.0, idle=0.07, observer_effect=0.13,
        phases={"model": 0.5309, "http": 0.2618, "schedule": 0.1891, "other": 0.0182},
        operations={
            "Kernel.run (native/kernel.py)": 0.5127, "Engine._run (server/engine.py)": 0.1818,
            "BaseSelectorEventLoop._write_to_self (asyncio/selector_events.py)": 0.1164, "JSONEncoder.iterencode (json/encoder.py)": 0.0036,
        },
        hints=("http_bound", "an_unknown_code"),
    )  # fmt: skip


def rounds_through(script: Script, last: int) -> Script:
    for row in ROUNDS[:last]:
        finish(script, row, worked_on(script, row))
    if last >= 6:
        script.say(ev.RoundPinned(round=6))
    script.say(ev.MemoryChanged(text=MEMORY, by="evaluator"))
    return script


# ---- the journals -------------------------------------------------------------------------------------------------


def empty() -> Script:
    """Started, nothing measured yet."""
    return started()


def running() -> Script:
    """Round 9 of 12, in the middle of its measurement."""
    script = rounds_through(with_baseline(started()), 8)
    row = (9, *ROUNDS[11][1:4], 8, "kept", 421.6, 1.086, 0.02, "its interval stays above +2 %")
    worked_on(script, row)
    script.say(ev.OperatorNote(text="mind the p99 of TTFT; throughput alone is not the point"))
    measure(script, 9, level_of(8), 421.6, blocks=1.75, parent=8)
    return script


def waiting() -> Script:
    """Round 9 has been judged and measured and waits for the operator."""
    script = rounds_through(with_baseline(started()), 8)
    row = (9, *ROUNDS[11][1:4], 8, "kept", 421.6, 1.086, 0.02, "its interval stays above +2 %")
    worked_on(script, row)
    measure(script, 9, level_of(8), 421.6, blocks=3, parent=8)
    script.say(ev.MeasurementFinished(round=9, measured=measured_of(row)))
    script.say(ev.PhaseStarted(phase=ev.Phase.DECIDE, round=9))
    script.say(ev.ApprovalRequested(id="r9", round=9, default="approve"))
    return script


def finished() -> Script:
    """Twelve rounds of every outcome, confirmed and over."""
    script = rounds_through(with_baseline(started(approval="auto")), 12)
    script.say(ev.PhaseStarted(phase=ev.Phase.ABLATE))
    script.say(
        ev.AblationFinished(
            skill="fused-sampling", round=11, dropped=False, reason="contributes", ratio=1.03, ci_low=1.01, ci_high=1.05
        )
    )
    script.say(ev.PhaseStarted(phase=ev.Phase.CONFIRM))
    script.say(ev.Confirmed(champion=11, baseline=0, figures=figures(68.3, 391.2, 5.73, 0.09), blocks=4))
    script.say(ev.RunFinished(reason="all 12 rounds played", champion=11))
    return script


def failed() -> Script:
    script = rounds_through(with_baseline(started()), 3)
    script.say(ev.Warned(text="the sandbox fell back from bwrap to landlock"))
    script.say(ev.RunFailed(reason="the champion no longer starts: exit code 3", detail="ImportError: server.kernel"))
    return script


def engine_lost() -> Script:
    """The journal stops in the middle of an implementation."""
    script = rounds_through(with_baseline(started()), 2)
    script.say(ev.PhaseStarted(phase=ev.Phase.PLAN, round=3))
    script.say(ev.RoundPlanned(number=3, task=task_of(ROUNDS[2])))
    script.say(ev.PhaseStarted(phase=ev.Phase.IMPLEMENT, round=3))
    return script


def paused() -> Script:
    """By the operator, between two rounds."""
    script = rounds_through(with_baseline(started()), 5)
    script.say(ev.RunPausedEvent(reason="the operator asked", by="operator"))
    return script


ALL = {
    "empty": empty,
    "running": running,
    "waiting": waiting,
    "paused": paused,
    "finished": finished,
    "failed": failed,
    "engine_lost": engine_lost,
    "engine_silent": running,
}


def records(script: Script) -> Iterator[ev.Record]:
    for seq, (moment, event) in enumerate(script.events, 1):
        yield ev.Record(seq=seq, ts_wall=moment, ts_mono=moment - START, boot_id="boot", event=event)


def write_run(script: Script, folder: Path) -> Path:
    """A run directory whose journal holds the script, checksums and all."""
    folder.mkdir(parents=True, exist_ok=True)
    prev = FIRST
    with (folder / "journal.jsonl").open("wb") as file:
        for record in records(script):
            fields = {
                "v": ev.SCHEMA_VERSION, "seq": record.seq, "prev": prev, "more": 0, "boot_id": record.boot_id, "ts_wall": record.ts_wall,
                "ts_mono": record.ts_mono, "kind": record.event.kind, "data": ev.dump_event(record.event),
            }  # fmt: skip
            raw, prev = encode_line(fields)
            file.write(raw)
    return folder
