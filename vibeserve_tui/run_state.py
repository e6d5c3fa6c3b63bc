"""What a run is right now: every event folded into one value, by one reducer that all clients and the engine share.

`RunState.apply(record)` is the only way a run's state changes. It is pure bookkeeping: no clock, no file, no widget;
the same journal prefix always gives the same state, so a resumed engine knows exactly what its predecessor knew.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from vibeserve_tui import events as ev
from vibeserve_tui.request_times import RequestTimes, Times, times_of

FEED_LENGTH = 2000
WINDOWS_KEPT = 240
LOADS_KEPT = 240


class Status(StrEnum):
    """The run as a whole. Whether an engine process is alive is not in the journal: `client.liveness` knows."""

    NEW = "new"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    FAILED = "failed"


class FeedLine(NamedTuple):
    """One line of agent activity, newest last."""

    ts_wall: float
    role: str
    text: str
    kind: str
    ok: bool | None = None
    took_s: float | None = None
    detail: str = ""


@dataclass(slots=True)
class RoundInFlight:
    """The round being worked on: what is already recorded need not be done again after a crash."""

    number: int
    task: ev.TaskPlan
    started_wall: float
    attempt: int = 0
    committed: ev.AttemptCommitted | None = None
    verdict: ev.Verdict | None = None
    measured: ev.Measured | None = None
    approval: ev.ApprovalRequested | None = None
    decision: ev.ApprovalDecided | None = None
    failures: list[str] = field(default_factory=list)
    """Reasons of the attempts that the judge turned down."""
    feedback: str = ""
    """What the next attempt is told: why the judge turned the last one down, or what the operator asks for."""
    given_up: bool = False
    """The operator does not want it to go on."""


@dataclass(slots=True)
class LiveMeasurement:
    """The measurement that is running, or the last one that ran."""

    round: int
    purpose: str
    label_a: str
    label_b: str
    level: str
    started_wall: float
    windows: deque[ev.WindowMeasured] = field(default_factory=lambda: deque(maxlen=WINDOWS_KEPT))
    blocks: list[ev.BlockFinished] = field(default_factory=list)
    finished: ev.Measured | None = None


@dataclass(frozen=True, slots=True)
class Spend:
    """What agents took. `usd` is what is known of it, `unpriced` says that it is not all."""

    tokens: int = 0
    usd: float = 0.0
    unpriced: bool = False

    def plus(self, tokens: int, usd: float | None) -> Spend:
        return Spend(self.tokens + tokens, self.usd + (usd or 0.0), self.unpriced or usd is None)

    def __add__(self, other: Spend) -> Spend:
        return Spend(self.tokens + other.tokens, self.usd + other.usd, self.unpriced or other.unpriced)


@dataclass(slots=True)
class RunState:
    seq: int = 0
    ts_wall: float = 0.0
    status: Status = Status.NEW
    status_reason: str = ""
    run: str = ""
    started_wall: float = 0.0
    finished_wall: float | None = None
    active_s: float = 0.0
    plan: ev.RunPlan | None = None
    device: ev.DeviceSummary | None = None
    sandbox: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    phase: ev.Phase = ev.Phase.STARTING
    phase_round: int | None = None
    phase_detail: str = ""
    phase_since: float = 0.0
    phase_expected_s: float | None = None
    progress: ev.PhaseProgress | None = None

    rounds: dict[int, ev.RoundRecord] = field(default_factory=dict)
    in_flight: RoundInFlight | None = None
    champion: int = 0
    champion_commit: str = ""
    against: dict[int, int] = field(default_factory=dict)
    """Round to the champion that it was measured against."""
    pinned: set[int] = field(default_factory=set)
    attempts: list[ev.AttemptCommitted] = field(default_factory=list)
    profiles: dict[int, ev.ProfileTaken] = field(default_factory=dict)
    ablations: list[ev.AblationFinished] = field(default_factory=list)
    confirmed: list[ev.Confirmed] = field(default_factory=list)

    issues: dict[str, ev.Issue] = field(default_factory=dict)
    memory: str = ""
    notes: list[str] = field(default_factory=list)
    approval: ev.ApprovalRequested | None = None
    approval_mode: str = "auto"
    max_rounds: int = 0
    max_minutes: float = 0.0

    live: LiveMeasurement | None = None
    again: dict[tuple[int, int], ev.Measured] = field(default_factory=dict)
    """Pairs of rounds that the operator had measured once more."""
    request_times: dict[tuple[int, int], RequestTimes] = field(default_factory=dict)
    """By the rounds that were measured beside one another, A and B; of a pair measured twice, the later."""
    again_wished: list[tuple[int, int]] = field(default_factory=list)
    loads: deque[float] = field(default_factory=lambda: deque(maxlen=LOADS_KEPT))
    """The machine's load average at each beat, newest last."""
    feed: deque[FeedLine] = field(default_factory=lambda: deque(maxlen=FEED_LENGTH))
    warnings: list[str] = field(default_factory=list)
    answered: dict[str, str] = field(default_factory=dict)
    """Command id to `accepted` or the reason of its rejection."""
    stop_wished: bool = False
    stop_now_wished: bool = False
    revert_wished: int | None = None
    """A round that the operator wants back as champion, until it is."""
    spent: dict[str, Spend] = field(default_factory=dict)
    """By role; settled turns only."""
    spent_in_round: dict[int, Spend] = field(default_factory=dict)
    unsettled: dict[str, ev.AgentCalling] = field(default_factory=dict)
    """Turns that began and were not settled: one that is going on, or that a crash cut off. They count as estimated."""
    metered: set[str] = field(default_factory=set)
    """Working roles whose turns are settled one by one."""
    recorded_calls: dict[str, int] = field(default_factory=dict)
    """By role, conversations that a replay can play."""
    max_usd: float | None = None
    max_tokens: int | None = None
    roles_working: dict[str, str] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)

    # ---- reading ------------------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        return self.status in (Status.FINISHED, Status.FAILED)

    @property
    def baseline(self) -> ev.RoundRecord | None:
        return self.rounds.get(0)

    @property
    def champion_record(self) -> ev.RoundRecord | None:
        return self.rounds.get(self.champion)

    @property
    def headline(self) -> ev.MetricRef | None:
        return next((metric for metric in self.plan.metrics if metric.headline), None) if self.plan else None

    @property
    def kept(self) -> list[ev.RoundRecord]:
        return [record for record in self.rounds.values() if record.outcome is ev.Outcome.KEPT]

    @property
    def confirmation(self) -> ev.Confirmed | None:
        """The last comparison with the seed, if it holds: one that found no gain makes the seed the champion again."""
        last = self.confirmed[-1] if self.confirmed else None
        return last if last and last.champion == self.champion and not last.doubt else None

    @property
    def confirmed_headline(self) -> ev.Figure | None:
        """Champion against baseline, measured beside one another at the end; None before that or for another champion."""
        figures = self.confirmation.figures if self.confirmation else ()
        return next((figure for figure in figures if figure.headline), None)

    @property
    def rounds_played(self) -> int:
        """Ablations are not counted: they are the end of the run, not a part of the search."""
        return sum(1 for number, record in self.rounds.items() if number and record.task.kind != "ablation")

    @property
    def rounds_left(self) -> int:
        return max(0, self.max_rounds - self.rounds_played)

    @property
    def total_gain(self) -> float | None:
        """Champion over baseline, > 1 = better; 1 while the baseline is the champion."""
        figure = self.confirmed_headline
        return figure.ratio if figure and figure.ratio else self.gain(self.champion)

    def may_lead(self, number: int) -> bool:
        """Whether the operator may make it the champion: the judge passed it, and it was not measured to be slower."""
        record = self.rounds.get(number)
        return record is not None and (number == 0 or record.outcome in (ev.Outcome.KEPT, ev.Outcome.INDECISIVE))

    def times_measured(self) -> int:
        """Earlier rounds with the tree that is being worked on: trying again until it passes is no way to win."""
        committed = self.in_flight.committed if self.in_flight else None
        rounds = [record for number, record in self.rounds.items() if number and record.measured]
        return sum(1 for record in rounds if committed and record.tree == committed.tree)

    def lineage(self, number: int) -> list[int]:
        """The rounds whose changes are in this round's tree, oldest first, without the baseline."""
        chain: list[int] = []
        while number and number in self.rounds and number not in chain:
            chain.append(number)
            number = self.rounds[number].task.parent
        return chain[::-1]

    def gain(self, number: int) -> float | None:
        """How much better than the baseline this round's tree is: the product of the paired ratios on the way to it.

        Levels of different rounds are never divided, because the machine was another one by then. None while a step
        of the way was not measured.
        """
        product = 1.0
        for step in self.measured_way(number):
            record = self.rounds.get(step)
            measured = record.measured if record else self.in_flight.measured if self.in_flight else None
            figure = measured.headline if measured else None
            if figure is None or figure.ratio is None or step not in self.against:
                return None
            product *= figure.ratio
        return product

    def measured_way(self, number: int) -> list[int]:
        """The round, the champion it was measured against, that one's, and so on, without the seed."""
        way: list[int] = []
        while number and number not in way:
            way.append(number)
            number = self.against.get(number, 0)
        return way

    def level_of(self, number: int) -> float | None:
        """The headline figure of a round as measured when it was judged, in the metric's unit."""
        record = self.rounds.get(number)
        figure = record.measured.headline if record and record.measured else None
        return figure.b if figure else None

    @property
    def spend(self) -> Spend:
        """What all agents took so far."""
        settled = sum(self.spent.values(), Spend())
        return sum((Spend().plus(turn.tokens, turn.usd) for turn in self.unsettled.values()), settled)

    @property
    def tokens(self) -> int:
        return self.spend.tokens

    @property
    def usd(self) -> float | None:
        """None when the price of a part is not known."""
        spend = self.spend
        return None if spend.unpriced else spend.usd

    def spend_in_round(self, number: int) -> Spend:
        settled = self.spent_in_round.get(number, Spend())
        open_turns = (turn for turn in self.unsettled.values() if turn.round == number)
        return sum((Spend().plus(turn.tokens, turn.usd) for turn in open_turns), settled)

    def times_between(self, a: int, b: int) -> RequestTimes:
        """What requests took in rounds A and B: beside one another if they ever were, else each in its own measurement."""
        if (a, b) in self.request_times:
            return self.request_times[a, b]
        if (b, a) in self.request_times:
            return self.request_times[b, a].turned
        return RequestTimes(self.times_in(a), self.times_in(b))

    def times_in(self, number: int) -> Times:
        """What requests took in this round's own measurement."""
        return self.request_times.get((self.against.get(number, 0), number), RequestTimes()).b

    def take_dirty(self) -> set[str]:
        """The parts of a screen that changed since the last call."""
        dirty, self.dirty = self.dirty, set()
        return dirty

    # ---- folding ------------------------------------------------------------------------------------------------

    def apply(self, record: ev.Record) -> None:
        """Fold one record in. A record that was applied before is ignored: replay and live may overlap."""
        if record.seq <= self.seq:
            return
        self.seq, self.ts_wall = record.seq, record.ts_wall
        self.dirty.update(record.event.views)
        self._fold(record.event, record.ts_wall)

    def _fold(self, event: ev.Event, now: float) -> None:
        match event:
            case ev.AgentStarted() | ev.AgentSaid() | ev.ToolUsed() | ev.AgentFinished() | ev.OperatorNote():
                self._fold_agents(event, now)
            case ev.Heartbeat():
                self.active_s = event.active_s
                if event.load is not None:
                    self.loads.append(event.load)
            case ev.RunStarted() | ev.RunPausedEvent() | ev.RunResumed() | ev.RunFinished() | ev.RunFailed():
                self._fold_run(event, now)
            case ev.PhaseStarted() | ev.PhaseProgress():
                self._fold_phase(event, now)
            case (
                ev.MeasurementStarted() | ev.WindowMeasured() | ev.BlockFinished() | ev.MeasurementFinished()
                | ev.MeasurementAsked() | ev.MeasuredAgain()
            ):  # fmt: skip
                self._fold_measurement(event, now)
            case ev.AgentCalling() | ev.AgentSpent() | ev.AgentWaiting():
                self._fold_spend(event, now)
            case ev.ProfileTaken() | ev.AblationFinished() | ev.Confirmed() | ev.Warned():
                self._fold_findings(event)
            case ev.IssueChanged(issue=issue):
                self.issues[issue.id] = issue
            case ev.MemoryChanged(text=text):
                self.memory = text
            case ev.SettingChanged() | ev.CommandAccepted() | ev.CommandRejected():
                self._fold_command(event)
            case _:
                self._fold_round(event, now)

    def _fold_run(self, event: ev.Event, now: float) -> None:
        match event:
            case ev.RunStarted():
                self.status, self.run, self.started_wall = Status.RUNNING, event.run, now
                self.plan, self.device, self.sandbox = event.plan, event.device, event.sandbox
                self.versions = event.versions
                self.approval_mode = event.plan.approval
                self.max_rounds, self.max_minutes = event.plan.max_rounds, event.plan.max_minutes
                self.max_usd, self.max_tokens = event.plan.allowance.usd, event.plan.allowance.tokens
                self.phase_since = now
            case ev.RunPausedEvent(reason=reason):
                self.status, self.status_reason = Status.PAUSED, reason
            case ev.RunResumed():
                self.status, self.status_reason = Status.RUNNING, ""
                self.roles_working.clear()
            case ev.RunFinished(reason=reason) | ev.RunFailed(reason=reason):
                self.status = Status.FINISHED if isinstance(event, ev.RunFinished) else Status.FAILED
                self.status_reason, self.finished_wall = reason, now
                self.phase, self.phase_round, self.phase_since = ev.Phase.IDLE, None, now
                self.progress, self.approval = None, None
            case _:
                pass

    def _fold_phase(self, event: ev.PhaseStarted | ev.PhaseProgress, now: float) -> None:
        if isinstance(event, ev.PhaseProgress):
            self.progress = event
            return
        self.phase, self.phase_round, self.phase_detail = event.phase, event.round, event.detail
        self.phase_since, self.phase_expected_s, self.progress = now, event.expected_s, None

    def _fold_round(self, event: ev.Event, now: float) -> None:
        match event:
            case ev.RoundPlanned(number=number, task=task):
                self.in_flight = RoundInFlight(number, task, now)
            case ev.RoundFinished(record=record):
                self.rounds[record.number] = record
                self.in_flight, self.approval = None, None
            case ev.ChampionMoved(round=number, commit=commit):
                self.champion, self.champion_commit = number, commit
                if number == self.revert_wished:  # a round kept just now must not make the operator's wish forgotten
                    self.revert_wished = None
            case ev.RoundPinned(round=number, pinned=pinned):
                (self.pinned.add if pinned else self.pinned.discard)(number)
            case ev.ApprovalRequested():
                self.approval = event
                if self.in_flight:
                    self.in_flight.approval = event
            case ev.ApprovalDecided():
                self.approval = None
                if self.in_flight and self.in_flight.number == event.round:
                    self.in_flight.decision = event
                    if event.action == "retry":
                        self.in_flight.feedback = f"the operator asks: {event.comment}"
            case ev.AttemptStarted() | ev.AttemptCommitted() | ev.AttemptJudged():
                self._fold_attempt(event)
            case _:
                pass

    def _fold_attempt(self, event: ev.AttemptStarted | ev.AttemptCommitted | ev.AttemptJudged) -> None:
        if isinstance(event, ev.AttemptCommitted):
            self.attempts.append(event)
        here = self.in_flight
        if here is None or here.number != event.round:
            return
        match event:
            case ev.AttemptStarted(attempt=attempt):
                here.attempt = attempt
                here.committed = here.verdict = here.measured = here.approval = here.decision = None
            case ev.AttemptCommitted():
                here.committed = event
                if event.hypothesis is not None:
                    here.task = here.task.model_copy(update={"hypothesis": event.hypothesis})
            case ev.AttemptJudged(verdict=verdict):
                here.verdict = verdict
                if not verdict.passed:
                    here.failures.append(verdict.reason)
                    here.feedback = verdict.reason

    def _fold_measurement(self, event: ev.Event, now: float) -> None:
        match event:
            case ev.MeasurementStarted():
                self.live = LiveMeasurement(
                    event.round, event.purpose, event.label_a, event.label_b, event.level, started_wall=now
                )
            case ev.WindowMeasured() if self.live:
                self.live.windows.append(event)
            case ev.BlockFinished() if self.live:
                self.live.blocks.append(event)
            case ev.MeasurementAsked(a=a, b=b):
                self.again_wished.append((a, b))
            case ev.MeasuredAgain(a=a, b=b, measured=measured):
                self.again[a, b] = measured
                self.again_wished = [pair for pair in self.again_wished if pair != (a, b)]
                self._end_measurement(measured, a, b)
            case ev.MeasurementFinished(measured=measured):
                against = 0 if event.purpose == "confirmation" else self.champion
                self._end_measurement(measured, against, event.round)
                if event.purpose == "round" and self.in_flight and self.in_flight.number == event.round:
                    self.in_flight.measured = measured
                    self.against[event.round] = self.champion
            case _:
                pass

    def _end_measurement(self, measured: ev.Measured, a: int, b: int) -> None:
        if self.live is None:
            return
        self.live.finished = measured
        if self.live.round == b:  # a round that could not be measured leaves the windows of another one here
            self.request_times[a, b] = times_of(self.live.windows, self.live.level)

    def _fold_agents(self, event: ev.Event, now: float) -> None:
        match event:
            case ev.AgentStarted(role=role, task=task):
                self.roles_working[role] = task
                self.metered.discard(role)
                self.feed.append(FeedLine(now, role, task, "start"))
            case ev.AgentSaid(role=role, text=text):
                self.feed.append(FeedLine(now, role, text, "text"))
            case ev.ToolUsed(role=role, call=call):
                line = f"{call.name} {call.arguments}".rstrip()
                self.feed.append(FeedLine(now, role, line, "tool", call.ok, call.took_s, call.output))
            case ev.AgentFinished(role=role):
                self.roles_working.pop(role, None)
                self.recorded_calls[role] = self.recorded_calls.get(role, 0) + bool(event.transcript)
                if role not in self.metered:
                    self.spent[role] = self.spent.get(role, Spend()).plus(event.tokens, event.usd)
                self.metered.discard(role)
                if event.status != "ok":
                    self.feed.append(FeedLine(now, role, event.reason or event.status, "result", ok=False))
            case ev.OperatorNote(text=text):
                self.notes.append(text)
                self.feed.append(FeedLine(now, "operator", text, "note"))
            case _:
                pass

    def _fold_spend(self, event: ev.AgentCalling | ev.AgentSpent | ev.AgentWaiting, now: float) -> None:
        match event:
            case ev.AgentCalling():
                self.unsettled[event.id] = event
                self.metered.add(event.role)
            case ev.AgentSpent(role=role, tokens=tokens, usd=usd):
                begun = self.unsettled.pop(event.id, None)
                self.spent[role] = self.spent.get(role, Spend()).plus(tokens, usd)
                if begun is not None:
                    before = self.spent_in_round.get(begun.round, Spend())
                    self.spent_in_round[begun.round] = before.plus(tokens, usd)
            case ev.AgentWaiting(role=role, why=why, wait_s=wait_s):
                self.feed.append(FeedLine(now, role, f"waits {wait_s:.0f} s: {why}", "wait", ok=False))

    def _fold_findings(self, event: ev.ProfileTaken | ev.AblationFinished | ev.Confirmed | ev.Warned) -> None:
        match event:
            case ev.ProfileTaken():
                self.profiles[event.round] = event
            case ev.AblationFinished():
                self.ablations.append(event)
            case ev.Confirmed():
                self.confirmed.append(event)
            case ev.Warned(text=text):
                self.warnings.append(text)

    def _fold_wish(self, event: ev.CommandAccepted) -> None:
        """What the operator asked for and the engine has yet to do."""
        if event.command == "stop":
            self.stop_wished, self.stop_now_wished = True, self.stop_now_wished or event.now
        if event.command == "revert" and event.round is not None:
            self.revert_wished = event.round
        gives_up = event.command == "cancel_step" or event.now or self.revert_wished is not None
        if gives_up and self.in_flight is not None:
            self.in_flight.given_up = True

    def _fold_command(self, event: ev.SettingChanged | ev.CommandAccepted | ev.CommandRejected) -> None:
        match event:
            case ev.SettingChanged(name="approval", value=value):
                self.approval_mode = value
            case ev.SettingChanged(name="max_rounds", value=value):
                self.max_rounds = int(value)
            case ev.SettingChanged(name="max_minutes", value=value):
                self.max_minutes = float(value)
            case ev.SettingChanged(name="max_usd", value=value):
                self.max_usd = float(value)
            case ev.SettingChanged(name="max_tokens", value=value):
                self.max_tokens = int(value)
            case ev.CommandAccepted():
                self.answered[event.id] = "accepted"
                self._fold_wish(event)
            case ev.CommandRejected(id=command, reason=reason):
                self.answered[command] = reason
            case _:
                pass
