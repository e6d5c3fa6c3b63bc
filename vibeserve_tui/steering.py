"""The operator's desk: takes commands from the inbox, answers each one in the journal, and speaks for the person.

Commands arrive at any moment; what changes a run's course (pause, stop, revert) takes effect between two rounds or, where
that is what was asked for, by giving up the one in flight. The desk never plans and never measures.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from vibeserve_tui import commands as cmd
from vibeserve_tui import events as ev
from vibeserve_tui.agents.toolbox.leftovers import remove_caches
from vibeserve_tui.errors import InputError, RunPaused, VibeServeError
from vibeserve_tui.round import Decision
from vibeserve_tui.run_state import RunState
from vibeserve_tui.safe_text import clean_line
from vibeserve_tui.state import issues, memory
from vibeserve_tui.state.hand_edits import keep_edit
from vibeserve_tui.state.run import Run

T = TypeVar("T")
SCAN_S = 0.25
BEAT_S = 5.0


class StepCancelled(Exception):
    """The operator gave the round in flight up."""


@dataclass(slots=True)
class Wishes:
    """What the operator wants next, read by the engine at its step boundaries.

    All but a pause is kept in the run's state, where a crash does not undo it: who resumes a run does not want a pause.
    """

    state: RunState
    pause: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def stop(self) -> bool:
        return self.state.stop_wished

    @property
    def stop_now(self) -> bool:
        return self.state.stop_now_wished


class Desk:
    def __init__(self, run: Run, *, approval_timeout_s: float | None) -> None:
        self._run = run
        self._approval_timeout_s = approval_timeout_s
        self.wishes = Wishes(run.state)
        self._step: asyncio.Task[Any] | None = None

    # ---- the round's operator -----------------------------------------------------------------------------------

    async def decide(self, number: int, default: ev.Default) -> Decision:
        """The gate's own outcome in mode auto; otherwise the person's answer, or the default at the deadline."""
        if not self._must_ask():
            return Decision(default, "gate")
        while (answer := self._answered(number)) is None:
            waiting = self._run.state.approval or self._ask(number, default)
            left = None if waiting.deadline_ts is None else waiting.deadline_ts - time.time()
            if left is not None and left <= 0:
                self._run.emit(_decided(waiting, waiting.default, "gate", "nobody answered before the deadline"))
                continue
            self.wishes.changed.clear()
            with contextlib.suppress(TimeoutError), self._run.resting():
                await asyncio.wait_for(self.wishes.changed.wait(), timeout=left)
        return Decision(answer.action, answer.by, answer.comment)

    def _answered(self, number: int) -> ev.ApprovalDecided | None:
        here = self._run.state.in_flight
        return here.decision if here is not None and here.number == number else None

    def _must_ask(self) -> bool:
        mode, here = self._run.state.approval_mode, self._run.state.in_flight
        if mode == "auto" or here is None or here.measured is None or here.measured.outcome == "void":
            return False
        return mode == "each-round" or _has_regression(here.measured)

    def _ask(self, number: int, default: ev.Default) -> ev.ApprovalRequested:
        deadline = None if self._approval_timeout_s is None else time.time() + self._approval_timeout_s
        here = self._run.state.in_flight
        attempt = here.attempt if here else 1
        self._run.emit(
            ev.ApprovalRequested(
                id=f"{number}-{attempt}",
                round=number,
                default=default,
                deadline_ts=deadline,
            )
        )
        assert self._run.state.approval is not None
        return self._run.state.approval

    # ---- step boundaries ----------------------------------------------------------------------------------------

    async def boundary(self) -> None:
        """Between two rounds: take hand edits, obey a revert, and wait here while the run is paused."""
        self._run.take_hand_edit()
        await self._look_at_the_workspace()
        wanted = self._run.state.revert_wished
        if wanted is not None and self._run.state.in_flight is None:
            self._move_champion(wanted)
        if self.wishes.pause and not self.wishes.stop:
            self._run.emit(ev.RunPausedEvent(reason="paused by the operator", by="operator"))
            await self._until_resumed()
            if not self.wishes.stop_now:  # what ends a run takes its time too, and is no pause
                self._run.emit(ev.RunResumed(by="operator"))

    async def _look_at_the_workspace(self) -> None:
        """Whoever edited it is told that the run goes on without that; nothing of it is lost."""
        if self._run.state.in_flight is None:
            await asyncio.to_thread(remove_caches, self._run.dir.workspace)
        if edit := await asyncio.to_thread(keep_edit, self._run):
            await self.hold(edit)

    async def hold(self, halt: RunPaused) -> None:
        """Wait until the operator who looks on has helped and resumes; without one the run ends here, resumably."""
        if self._approval_timeout_s is not None:
            raise halt
        self.wishes.pause = True
        self._run.emit(ev.RunPausedEvent(reason=str(halt)))
        await self._until_resumed()
        if self.wishes.stop and not self.wishes.stop_now:
            raise halt  # the round in flight cannot be played to its end
        if not self.wishes.stop:
            self._run.emit(ev.RunResumed(by="operator"))

    async def _until_resumed(self) -> None:
        with self._run.resting():
            while self.wishes.pause and not self.wishes.stop:
                self.wishes.changed.clear()
                await self.wishes.changed.wait()

    def _move_champion(self, number: int) -> None:
        record = self._run.state.rounds[number]
        self._run.emit(
            ev.ChampionMoved(round=number, commit=record.commit, by="operator", reason=f"reverted to round {number}")
        )
        self._run.note(memory.OPERATOR, f"the operator went back to round {number} ({record.task.title})")

    async def interruptible(self, step: Coroutine[object, object, T]) -> T:
        """Await a step that cancel_step, stop --now and revert may end; raises StepCancelled then."""
        task = asyncio.create_task(step)
        self._step = task
        try:
            return await task
        except asyncio.CancelledError:
            engine = asyncio.current_task()
            if task.cancelled() and engine is not None and engine.cancelling() == 0:
                raise StepCancelled from None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            raise
        finally:
            self._step = None

    def _cancel_step(self) -> None:
        if self._step is not None:
            self._step.cancel()

    # ---- the inbox ----------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Answer commands and beat, for as long as the engine lives."""
        beat = minute = 0.0
        while True:
            self.scan()
            if (now := time.monotonic()) >= beat:
                held = what_is_held() if now >= minute else {}
                minute = now + 60.0 if held else minute
                load = round(os.getloadavg()[0], 2)
                self._run.emit(ev.Heartbeat(active_s=round(self._run.active_s, 1), load=load, **held))
                beat = now + BEAT_S
            await asyncio.sleep(SCAN_S)

    def scan(self) -> None:
        """Answer the commands that wait."""
        for path, command in self._run.dir.waiting_commands():
            name = clean_line(path.stem)[:64]
            if isinstance(command, cmd.Pause | cmd.Resume | cmd.CancelStep) and self._is_stale(path):
                reason = "was meant for an engine that ended before it saw this"
                self._run.emit(ev.CommandRejected(id=command.id, command=command.kind, reason=reason))
            else:
                self._answer(name, command)
            self._run.dir.remove_command(path)

    def _is_stale(self, path: Path) -> bool:
        """Posted before this engine took over: who then resumed the run does not want it paused."""
        try:
            return path.lstat().st_mtime < self._run.opened_wall
        except OSError:
            return False

    def turn_away(self) -> None:
        """The run is over: whoever still waits for an answer is told so."""
        for path, command in self._run.dir.waiting_commands():
            name, kind = (path.stem, "?") if isinstance(command, str) else (command.id, command.kind)
            if name not in self._run.state.answered:
                self._run.emit(ev.CommandRejected(id=clean_line(name)[:64], command=kind, reason="the run is over"))
            self._run.dir.remove_command(path)

    def _answer(self, name: str, command: cmd.AnyCommand | str) -> None:
        if isinstance(command, str):
            if name not in self._run.state.answered:
                self._run.emit(ev.CommandRejected(id=name, command="?", reason=command))
            return
        if command.id in self._run.state.answered:
            return
        try:
            effects, act = self._effects(command)
        except VibeServeError as error:
            self._run.emit(ev.CommandRejected(id=command.id, command=command.kind, reason=str(error)))
            return
        self._run.emit(_accepted(command), *effects)
        if act:
            act()
        self.wishes.changed.set()

    def _effects(self, command: cmd.AnyCommand) -> tuple[list[ev.Event], Callable[[], None] | None]:
        """The facts a command makes true at once, and what it asks of the engine. Raises InputError to reject it."""
        state = self._run.state
        match command:
            case cmd.NewIssue():
                return [issues.from_operator(state.issues, command)], None
            case cmd.EditIssue():
                return [issues.edited(state.issues, command)], None
            case cmd.EditMemory():
                return [self._edit_memory(command)], None
            case cmd.Steer(note=note):
                return [ev.OperatorNote(text=note), self._noted(note)], None
            case cmd.Pin(round=number, pinned=pinned):
                self._require_round(number)
                return [ev.RoundPinned(round=number, pinned=pinned)], None
            case cmd.SetApprovalMode(mode=mode):
                return [ev.SettingChanged(name="approval", value=mode), *self._answer_waiting_if_auto(mode)], None
            case cmd.Approve() | cmd.Retry() | cmd.RevertTo(round=None):
                return [self._answer_waiting(command)], None
            case cmd.MeasureAgain(a=a, b=b):
                self._require_measurable(a, b)
                return [ev.MeasurementAsked(a=a, b=b)], None
            case cmd.SetBudget():
                return self._budget(command), None
            case _:
                return [], self._wish(command)

    def _wish(self, command: cmd.AnyCommand) -> Callable[[], None]:
        match command:
            case cmd.RevertTo(round=int(number)):
                self._require_sound_round(number)
                return self._cancel_step  # its base is about to change
            case cmd.Pause():
                return lambda: setattr(self.wishes, "pause", True)
            case cmd.Resume():
                return lambda: setattr(self.wishes, "pause", False)
            case cmd.CancelStep():
                if self._step is None:
                    raise InputError("no round is in flight")
                return self._cancel_step
            case cmd.Stop(now=now):
                return self._cancel_step if now else lambda: None
            case _:
                raise InputError(f"{command.kind} is not understood here")

    def _require_sound_round(self, number: int) -> None:
        self._require_round(number)
        if not self._run.state.may_lead(number):
            outcome = self._run.state.rounds[number].outcome
            raise InputError(f"round {number} was {outcome}: only a judged, sound round can be champion")

    def _answer_waiting(self, command: cmd.Approve | cmd.Retry | cmd.RevertTo) -> ev.ApprovalDecided:
        waiting = self._run.state.approval
        if waiting is None:
            raise InputError("no round waits for an answer")
        if isinstance(command, cmd.Approve) and command.approval not in ("", waiting.id):
            raise InputError(f"approval {command.approval} is not the one that waits ({waiting.id})")
        return _decided(waiting, command.kind, command.by, command.comment)

    def _answer_waiting_if_auto(self, mode: str) -> list[ev.Event]:
        waiting = self._run.state.approval
        if mode != "auto" or waiting is None:
            return []
        return [_decided(waiting, waiting.default, "gate", "approval mode is now auto")]

    def _edit_memory(self, command: cmd.EditMemory) -> ev.MemoryChanged:
        self._run.take_hand_edit()
        if command.base_sha256 != memory.digest(self._run.state.memory):
            raise InputError("the memory changed meanwhile", fix="look at the new text and save again")
        return ev.MemoryChanged(text=command.text, by=command.by)

    def _noted(self, note: str) -> ev.MemoryChanged:
        self._run.take_hand_edit()
        return ev.MemoryChanged(text=memory.add_note(self._run.state.memory, memory.OPERATOR, note), by="operator")

    def _budget(self, command: cmd.SetBudget) -> list[ev.Event]:
        changes: list[ev.Event] = []
        if command.max_rounds is not None:
            changes.append(ev.SettingChanged(name="max_rounds", value=str(command.max_rounds)))
        if command.max_minutes is not None:
            changes.append(ev.SettingChanged(name="max_minutes", value=str(command.max_minutes)))
        if command.max_usd is not None:
            changes.append(ev.SettingChanged(name="max_usd", value=str(command.max_usd)))
        if command.max_tokens is not None:
            changes.append(ev.SettingChanged(name="max_tokens", value=str(command.max_tokens)))
        if not changes:
            raise InputError("set_budget: neither rounds, minutes, dollars nor tokens are given")
        return changes

    def _require_measurable(self, a: int, b: int) -> None:
        """Both must have passed the judge: what answers wrongly has no speed."""
        if a == b:
            raise InputError("two different rounds can be measured beside one another")
        for number in (a, b):
            self._require_round(number)
            verdict = self._run.state.rounds[number].verdict
            if verdict is None or not verdict.passed:
                raise InputError(f"round {number} did not pass the judge, so its speed means nothing")

    def _require_round(self, number: int) -> None:
        if number not in self._run.state.rounds:
            raise InputError(f"there is no finished round {number}")


def _accepted(command: cmd.AnyCommand) -> ev.CommandAccepted:
    back_to = command.round if isinstance(command, cmd.RevertTo) else None
    now = isinstance(command, cmd.Stop) and command.now
    return ev.CommandAccepted(id=command.id, command=command.kind, by=command.by, round=back_to, now=now)


def _decided(waiting: ev.ApprovalRequested, action: ev.Action, by: str, comment: str) -> ev.ApprovalDecided:
    return ev.ApprovalDecided(id=waiting.id, round=waiting.round, action=action, by=by, comment=comment)


class Held(TypedDict, total=False):
    rss_mib: float
    open_files: int
    children: int


def what_is_held() -> Held:
    """By this process: figures that must not grow over hours. Its folder in /proc is closed to an ordinary user's engine."""
    import psutil

    process = psutil.Process()
    return Held(
        rss_mib=round(process.memory_info().rss / 2**20, 1),
        open_files=sum(map(_is_open, range(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 4096)))),
        children=len(process.children(recursive=True)),
    )


def _is_open(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def _has_regression(measured: ev.Measured) -> bool:
    """Did any other metric get significantly worse, or was the gain so large that it was checked twice?"""
    worse = any(f.ci_high is not None and f.ci_high < 1 for f in measured.figures if not f.headline)
    return worse or measured.checked_twice
