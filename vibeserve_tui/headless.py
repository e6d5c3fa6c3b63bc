"""A run without a screen: the app's twin for scripts, pipes and small terminals.

stdout is data (a line per finished round, or the journal's records as JSON), stderr is narration. The first ctrl-c
pauses after the round, the second interrupts, the third leaves; the exit code says how the run ended.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Self

from vibeserve_tui import events as ev
from vibeserve_tui.client import AttachedClient, Liveness
from vibeserve_tui.commands import Pause
from vibeserve_tui.metrics import gain_in_words, level_in_words
from vibeserve_tui.reasons import in_words
from vibeserve_tui.run_state import RunState, Status
from vibeserve_tui.safe_text import clean_line
from vibeserve_tui.state.run_dir import RunDir, lock_holder

LOOK_S = 0.1
INDENT = " " * 9
OUTCOME_MARK = {
    ev.Outcome.KEPT: "●", ev.Outcome.REVERTED: "↺", ev.Outcome.INDECISIVE: "≈", ev.Outcome.FAILED: "✗",
    ev.Outcome.VOID: "∅",
}  # fmt: skip


def follow(run: RunDir, *, events: str = "text", stop_on_interrupt: bool = True) -> int:
    """Print the run until it ends; returns its exit code. `events`: text, jsonl or quiet."""
    printer = Printer(events)
    client = AttachedClient(run, printer.show)
    printer.state = client.state
    interrupts = Interrupts(run, stop=stop_on_interrupt)
    with interrupts:
        while True:
            moved = client.poll()
            if interrupts.left:
                return 130
            if client.state.is_over and not moved:
                return _code(client.state)
            alive = client.liveness() if not moved else Liveness.RUNNING
            if alive is Liveness.PAUSED and _is_parked(run, interrupts):
                printer.say(f"paused: {client.state.status_reason}; go on with: vibeserve resume {run.name}")
                return 4
            if alive is Liveness.CRASHED:
                printer.say(f"the engine is gone; nothing recorded is lost: vibeserve resume {run.name}")
                return 4
            if not moved:
                time.sleep(LOOK_S)


def _code(state: RunState) -> int:
    return 0 if state.status is Status.FINISHED else 1


def _is_parked(run: RunDir, interrupts: Interrupts) -> bool:
    """A paused run whose engine is gone, or one that we ourselves asked to pause: then its engine is let go."""
    if lock_holder(run) is None:
        return True
    if interrupts.count:
        interrupts.signal_engine()
    return False


@dataclass
class Interrupts:
    """What ctrl-c means, by count; a hang-up or SIGTERM of this client stops the run it started, resumably."""

    run: RunDir
    stop: bool
    count: int = 0
    left: bool = False
    _old: dict[int, object] = field(default_factory=dict)

    def __enter__(self) -> Self:
        handlers: dict[int, Callable[[int, FrameType | None], None]] = {signal.SIGINT: self._interrupt}
        handlers |= {signal.SIGTERM: self._hang_up, signal.SIGHUP: self._hang_up}
        for number, handler in handlers.items():
            self._old[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # whatever stood there before

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if not self.stop or self.count > 2:
            self.left = True
        elif self.count == 1:
            self.run.post(Pause(by="headless"))
            print("pausing after this round; ctrl-c again interrupts it", file=sys.stderr)
        else:
            self.signal_engine()

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 2
        if self.stop:
            self.signal_engine()
        else:
            self.left = True

    def signal_engine(self) -> None:
        """Ask the engine to sync and go; it exits 4 and the run can be resumed."""
        pid = (lock_holder(self.run) or {}).get("pid")
        if isinstance(pid, int):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                return


class Printer:
    """Turns records into lines; foreign text only ever passes through `clean_line`."""

    def __init__(self, events: str) -> None:
        self.events = events
        self.state = RunState()

    def say(self, text: str, at: float | None = None) -> None:
        """One line of narration; `at` is when it happened, if that is not now."""
        if self.events != "quiet":
            clock = time.strftime("%H:%M:%S", time.localtime(at))
            print(f"{clock}  {clean_line(text)}", file=sys.stderr, flush=True)

    def show(self, record: ev.Record) -> None:
        if self.events == "jsonl":
            head = {"seq": record.seq, "ts_wall": record.ts_wall, "kind": record.event.kind}
            print(json.dumps(head | {"data": ev.dump_event(record.event)}), flush=True)
        elif self.events == "text":
            for line in data_lines(record.event):
                print(line, flush=True)
            for line in narration(record.event, self.state):
                self.say(line, record.ts_wall)


def narration(event: ev.Event, state: RunState) -> list[str]:
    """What is going on, for stderr: every step that takes more than a moment says so."""
    match event:
        case ev.RunStarted(plan=plan, device=device):
            agents = ", ".join(sorted(set(plan.agents.values())))
            return [
                f"run {event.run}: {plan.title} · {plan.backend} · {device.name}, {device.cores} cores",
                f"sandbox {event.sandbox} · agent {agents} · policy {plan.policy}",
            ]
        case ev.PhaseStarted():
            return phase_lines(event, state)
        case ev.RoundPlanned(number=number, task=task) if number:
            return [
                f"round {number}: {task.title}",
                *(f"{INDENT}because {row.what}: {row.value}" for row in task.why[:4]),
            ]
        case ev.ToolUsed(role=role, call=call) if role != "judge":
            return [f"{INDENT}{role}: {call.name} {call.arguments[:100]}{'' if call.ok else ' – failed'}"]
        case ev.AttemptJudged(verdict=verdict):
            return [f"{INDENT}{'' if verdict.passed else 'turned down: '}{verdict.reason}"]
        case ev.MeasurementStarted(label_a=a, label_b=b, level=level):
            return [f"{INDENT}{a} beside {b} at {level}"]
        case ev.BlockFinished(block=block, d=d, note=note):
            return [f"{INDENT}block {block}: {_times(d)} {note}".rstrip()]
        case ev.PhaseProgress(detail=detail) if detail:
            return [f"{INDENT}{detail}"]
        case ev.RunFinished(reason=reason):
            more = f"vibeserve report {state.run} · vibeserve export {state.run} DIR"
            return [total_line(state), f"finished: {reason}", more]
        case _:
            return announcements(event, state)


def phase_lines(event: ev.PhaseStarted, state: RunState) -> list[str]:
    """The step that begins; the round's title stands above it already, and a decision takes no time of its own."""
    if event.phase is ev.Phase.DECIDE:
        return []
    planned = state.in_flight.task.title if state.in_flight else ""
    detail = event.detail if event.detail and event.detail != planned else ""
    number = f"round {event.round}: " if event.round is not None else ""
    return [f"{number}{event.phase}{' – ' if detail else ''}{detail}"]


def announcements(event: ev.Event, state: RunState) -> list[str]:
    """What concerns whoever looks after the run."""
    match event:
        case ev.ApprovalRequested(round=number):
            return [f"round {number} waits for you: vibeserve approve | revert | retry {state.run}"]
        case ev.AgentWaiting(role=role, why=why, wait_s=wait_s):
            return [f"{role} waits {wait_s:.0f} s: {why}"]
        case ev.RunResumed(after_crash=after_crash):
            return [f"the run goes on{'; the step that a crash cut off is done again' if after_crash else ''}"]
        case ev.OperatorNote(text=text):
            return [f"note of the operator: {text}"]
        case ev.SettingChanged(name=name, value=value):
            return [f"{name} is now {value}"]
        case ev.Warned(text=text) | ev.RunFailed(reason=text) | ev.RunPausedEvent(reason=text):
            return [text]
        case _:
            return []


def data_lines(event: ev.Event) -> list[str]:
    """What a run found out, for stdout; everything else is narration."""
    match event:
        case ev.RoundFinished(record=record):
            return [round_line(record)]
        case ev.AblationFinished(skill=skill, dropped=dropped, reason=reason):
            return [clean_line(f"  without {skill}: {'dropped' if dropped else 'stays'} – {reason}")]
        case ev.Confirmed(figures=figures, doubt=doubt):
            return [confirmed_line(figure, "not confirmed" if doubt else "confirmed") for figure in figures]
        case ev.MeasuredAgain(a=a, b=b, measured=measured):
            return [again_line(a, b, measured)]
        case _:
            return []


def round_line(record: ev.RoundRecord) -> str:
    """`●  3  kept          388 tok/s  ×1.42 [1.39, 1.45]    continuous batching – why it was kept`, in columns."""
    figure = record.measured.headline if record.measured else None
    level = level_in_words(figure.b, figure.unit) if figure and figure.b is not None else ""
    gain = gain_in_words(figure.ratio, figure.ci_low, figure.ci_high) if figure and record.number else ""
    mark = OUTCOME_MARK[record.outcome]
    head = f"{mark} {record.number:>2}  {record.outcome:<10}  {level:>11}  {gain:<20}"
    return clean_line(f"{head}  {record.task.title} – {in_words(record.reason)}")


def again_line(a: int, b: int, measured: ev.Measured) -> str:
    """`  r2 and r8 again: ×1.52 [1.48, 1.56]`"""
    figure = measured.headline
    if figure is None or figure.ratio is None:
        return clean_line(f"  r{a} and r{b} again: {measured.outcome} – {measured.reason}")
    return f"  r{a} and r{b} again: {gain_in_words(figure.ratio, figure.ci_low, figure.ci_high)}"


def total_line(state: RunState) -> str:
    """What the run gained in all, and what its agents took."""
    gain, spend = state.total_gain, state.spend
    money = "price unknown" if spend.unpriced and not spend.usd else f"${spend.usd:.2f}{'+' if spend.unpriced else ''}"
    return f"{'gain unknown' if gain is None else f'×{gain:.2f}'} since round 0 · {spend.tokens} tokens, {money}"


def confirmed_line(figure: ev.Figure, word: str = "confirmed") -> str:
    """`  confirmed output_throughput c16: 124 → 388 tok/s  ×3.13 [3.09, 3.17]`; a metric of no level is of all of them."""
    sides = f"{level_in_words(figure.a, '')} → {level_in_words(figure.b, '')} {figure.unit}"
    gain = gain_in_words(figure.ratio, figure.ci_low, figure.ci_high) or "–"
    return clean_line(f"  {word} {figure.metric} {figure.level or 'all'}: {sides}  {gain}")


def _times(d: float | None) -> str:
    return "void" if d is None else f"×{math.exp(d):.3f}"


def is_interactive() -> bool:
    """Can the app be shown here? It draws on stderr, so both must be a terminal."""
    return sys.stdout.isatty() and sys.stderr.isatty() and sys.stdin.isatty() and os.environ.get("TERM") != "dumb"
