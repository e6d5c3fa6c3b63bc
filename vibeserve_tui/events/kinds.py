"""Every kind of event: a fact in the past tense, and what a journal line makes of it.

Unknown fields are ignored and an unknown kind becomes `UnknownEvent`, so an older app can open a newer run.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

from pydantic import Field, model_validator

from vibeserve_tui.events.nouns import (
    Action,
    ApprovalMode,
    Default,
    DeviceSummary,
    Figure,
    Hypothesis,
    Issue,
    Measured,
    Phase,
    RoundRecord,
    RunPlan,
    TaskPlan,
    ToolCall,
    Value,
    Verdict,
)

SCHEMA_VERSION = 1


class Event(Value):
    """Base of all events; `kind` is the discriminator and is stored beside the data."""

    kind: str
    views: ClassVar[tuple[str, ...]] = ("header",)
    """Which parts of a screen this event may change."""


class RunStarted(Event):
    kind: Literal["run_started"] = "run_started"
    run: str
    plan: RunPlan
    device: DeviceSummary
    sandbox: str = ""
    engine_version: str = ""
    versions: dict[str, str] = Field(default_factory=dict)


class RunPausedEvent(Event):
    kind: Literal["run_paused"] = "run_paused"
    reason: str
    by: str = "engine"


class RunResumed(Event):
    kind: Literal["run_resumed"] = "run_resumed"
    by: str = "engine"
    after_crash: bool = False


class RunFinished(Event):
    kind: Literal["run_finished"] = "run_finished"
    reason: str
    champion: int = 0


class RunFailed(Event):
    kind: Literal["run_failed"] = "run_failed"
    reason: str
    detail: str = ""


class Heartbeat(Event):
    kind: Literal["heartbeat"] = "heartbeat"
    active_s: float
    """Seconds this run has been worked on, over all engine processes."""
    rss_mib: float | None = None
    open_files: int | None = None
    children: int | None = None
    """What the engine holds, once a minute: memory, descriptors, processes below it, the launcher's included."""
    load: float | None = None


class PhaseStarted(Event):
    kind: Literal["phase_started"] = "phase_started"
    phase: Phase
    round: int | None = None
    detail: str = ""
    expected_s: float | None = None


class PhaseProgress(Event):
    kind: Literal["phase_progress"] = "phase_progress"
    detail: str
    done: int = 0
    total: int = 0


class RoundPlanned(Event):
    kind: Literal["round_planned"] = "round_planned"
    views = ("header", "rounds", "board")
    number: int
    task: TaskPlan


class AttemptStarted(Event):
    kind: Literal["attempt_started"] = "attempt_started"
    views = ("header", "rounds")
    round: int
    attempt: int


class AttemptCommitted(Event):
    """The implementer's tree is in the store: ref first, then this record."""

    kind: Literal["attempt_committed"] = "attempt_committed"
    views = ("header", "rounds", "diff")
    round: int
    attempt: int
    commit: str
    tree: str
    parent: str
    ref: str
    files_changed: int = 0
    lines_added: int = 0
    lines_removed: int = 0
    summary: str = ""
    skills: tuple[str, ...] = ()
    hypothesis: Hypothesis | None = None
    """The claim of whoever chose the change while making it; it takes the place of the task's."""


class AttemptJudged(Event):
    kind: Literal["attempt_judged"] = "attempt_judged"
    views = ("header", "rounds", "judge")
    round: int
    attempt: int
    verdict: Verdict


class MeasurementStarted(Event):
    kind: Literal["measurement_started"] = "measurement_started"
    views = ("header", "live")
    round: int
    label_a: str
    label_b: str
    level: str
    purpose: Literal["baseline", "round", "ablation", "confirmation", "noise", "again"] = "round"


class WindowMeasured(Event):
    """One timed window of one side; samples are decimated to at most 64."""

    kind: Literal["window_measured"] = "window_measured"
    views = ("live",)
    round: int
    side: Literal["A", "B"]
    block: int
    pair: int
    level: str
    values: dict[str, float | None] = Field(default_factory=dict)
    ttft_ms: tuple[float, ...] = ()
    tpot_ms: tuple[float, ...] = ()


class BlockFinished(Event):
    kind: Literal["block_finished"] = "block_finished"
    views = ("header", "live")
    round: int
    block: int
    d: float | None = None
    """ln of the headline ratio of this block, > 0 = B better; None when void."""
    note: str = ""


class MeasurementFinished(Event):
    kind: Literal["measurement_finished"] = "measurement_finished"
    views = ("header", "rounds", "live")
    round: int
    measured: Measured
    purpose: Literal["baseline", "round", "ablation", "confirmation", "noise"] = "round"


class MeasurementAsked(Event):
    """The operator wants two judged rounds measured beside one another once more; done between two rounds."""

    kind: Literal["measurement_asked"] = "measurement_asked"
    views = ("header", "compare")
    a: int
    b: int


class MeasuredAgain(Event):
    """Two rounds were measured beside one another once more, for the operator; nothing is decided by it."""

    kind: Literal["measured_again"] = "measured_again"
    views = ("header", "live", "compare")
    a: int
    b: int
    measured: Measured


class ProfileTaken(Event):
    """Where the time goes, from a run of its own; never a measurement."""

    kind: Literal["profile_taken"] = "profile_taken"
    views = ("hotspots",)
    round: int
    tool: str
    quality: str
    phases: dict[str, float] = Field(default_factory=dict)
    """Share of the profiled time by phase, 0..1."""
    operations: dict[str, float] = Field(default_factory=dict)
    hints: tuple[str, ...] = ()
    window_s: float | None = None
    idle: float | None = None
    """Share of the window in which nothing was computed, at least; None where the tool cannot see it."""
    observer_effect: float | None = None
    """What the profiler cost the headline, as a share; None where there was nothing to compare with."""


class ApprovalRequested(Event):
    kind: Literal["approval_requested"] = "approval_requested"
    views = ("header", "approval", "rounds")
    id: str
    round: int
    default: Default
    deadline_ts: float | None = None
    """Wall-clock time at which the default is taken; None waits for ever."""


class ApprovalDecided(Event):
    kind: Literal["approval_decided"] = "approval_decided"
    views = ("header", "approval", "rounds")
    id: str
    round: int
    action: Action
    by: str
    comment: str = ""


class RoundFinished(Event):
    kind: Literal["round_finished"] = "round_finished"
    views = ("header", "rounds", "trend", "diff")
    record: RoundRecord


class ChampionMoved(Event):
    kind: Literal["champion_moved"] = "champion_moved"
    views = ("header", "rounds", "trend")
    round: int
    commit: str
    by: str = "gate"
    reason: str = ""


class RoundPinned(Event):
    kind: Literal["round_pinned"] = "round_pinned"
    views = ("rounds",)
    round: int
    pinned: bool = True


class IssueChanged(Event):
    kind: Literal["issue_changed"] = "issue_changed"
    views = ("board",)
    issue: Issue


class MemoryChanged(Event):
    kind: Literal["memory_changed"] = "memory_changed"
    views = ("memory",)
    text: str
    by: str


class AgentStarted(Event):
    kind: Literal["agent_started"] = "agent_started"
    views = ("agents",)
    role: str
    provider: str
    round: int | None = None
    task: str = ""


class AgentSaid(Event):
    kind: Literal["agent_said"] = "agent_said"
    views = ("agents",)
    role: str
    text: str


class ToolUsed(Event):
    kind: Literal["tool_used"] = "tool_used"
    views = ("agents",)
    role: str
    call: ToolCall


class AgentCalling(Event):
    """A paid turn of an agent begins; until it is settled, and for ever if it never is, it counts at this estimate."""

    kind: Literal["agent_calling"] = "agent_calling"
    views = ("agents", "header")
    id: str
    role: str
    round: int
    """The round in flight, or the one that is being planned."""
    model: str
    tokens: int = 0
    usd: float | None = None


class AgentSpent(Event):
    """A turn is settled: what it took, in buckets that do not overlap (reasoning is a part of output)."""

    kind: Literal["agent_spent"] = "agent_spent"
    views = ("agents", "header")
    id: str
    role: str
    model: str
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    usd: float | None = None
    """None = the price is unknown."""
    exact: bool = True
    """As the server counted; False = an estimate, for a turn that broke off or a server that does not count."""

    @property
    def tokens(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.output


class AgentWaiting(Event):
    """An agent's server failed or asked for patience; the turn is tried again after a while."""

    kind: Literal["agent_waiting"] = "agent_waiting"
    views = ("agents",)
    role: str
    why: str
    wait_s: float


class AgentFinished(Event):
    kind: Literal["agent_finished"] = "agent_finished"
    views = ("agents", "header")
    role: str
    status: str
    reason: str = ""
    tokens: int = 0
    usd: float | None = 0.0
    """None = the price is unknown; the playbook costs 0. Turns that were settled one by one are not counted again."""
    transcript: str = ""
    """Blob of the conversation, for a replay; empty for agents that need no words."""


class AblationFinished(Event):
    kind: Literal["ablation_finished"] = "ablation_finished"
    views = ("rounds",)
    skill: str
    round: int
    dropped: bool
    reason: str
    ratio: float | None = None
    """Champion over the tree without this recipe: > 1 = the recipe contributes."""
    ci_low: float | None = None
    ci_high: float | None = None


class Confirmed(Event):
    """Champion against the original baseline on a new seed, all levels; the only figures a report may quote."""

    kind: Literal["confirmed"] = "confirmed"
    views = ("header", "trend")
    champion: int
    baseline: int
    figures: tuple[Figure, ...]
    blocks: int
    evidence: str = ""
    doubt: str = ""
    """Why its figures confirm nothing and may not be quoted, though no gain was disproved: a guard, a busy machine."""


class OperatorNote(Event):
    """What the operator told the agents to mind from now on."""

    kind: Literal["operator_note"] = "operator_note"
    views = ("agents", "memory")
    text: str


class SettingChanged(Event):
    kind: Literal["setting_changed"] = "setting_changed"
    name: Literal["approval", "max_rounds", "max_minutes", "max_usd", "max_tokens"]
    value: str

    @model_validator(mode="after")
    def _is_a_value(self) -> Self:
        """Raises where `value` cannot be what `name` sets: who folds it must be able to rely on that."""
        if self.name == "approval":
            if self.value not in get_args(ApprovalMode):
                raise ValueError(f"value: {self.value!r} is no approval mode")
        elif self.name in ("max_rounds", "max_tokens"):
            int(self.value)
        else:
            float(self.value)
        return self


class CommandAccepted(Event):
    """What a command asks for beyond the facts recorded beside it is kept here, so that a crash does not undo it."""

    kind: Literal["command_accepted"] = "command_accepted"
    id: str
    command: str
    by: str = ""
    round: int | None = None
    """Of a revert: the round to go back to."""
    now: bool = False
    """Of a stop: without finishing the round in flight."""


class CommandRejected(Event):
    kind: Literal["command_rejected"] = "command_rejected"
    id: str
    command: str
    reason: str


class Warned(Event):
    kind: Literal["warned"] = "warned"
    views = ("header", "logs")
    text: str


class UnknownEvent(Event):
    """An event kind that this version does not know; kept so that nothing is lost on the way through."""

    kind: str
    data: dict[str, Any] = Field(default_factory=dict)


EVENT_CLASSES: tuple[type[Event], ...] = (
    RunStarted, RunPausedEvent, RunResumed, RunFinished, RunFailed, Heartbeat, PhaseStarted, PhaseProgress,
    RoundPlanned, AttemptStarted, AttemptCommitted, AttemptJudged, MeasurementStarted, WindowMeasured, BlockFinished,
    MeasurementFinished, MeasurementAsked, MeasuredAgain, ProfileTaken, ApprovalRequested, ApprovalDecided,
    RoundFinished, ChampionMoved, RoundPinned, IssueChanged, MemoryChanged, AgentStarted, AgentSaid, ToolUsed,
    AgentCalling, AgentSpent, AgentWaiting, AgentFinished, AblationFinished, Confirmed, OperatorNote, SettingChanged,
    CommandAccepted, CommandRejected, Warned,
)  # fmt: skip
_CLASS_OF: dict[str, type[Event]] = {get_args(cls.model_fields["kind"].annotation)[0]: cls for cls in EVENT_CLASSES}
KINDS = frozenset(_CLASS_OF)


class Record(NamedTuple):
    """One journal line: an event with its place in the order and its time."""

    seq: int
    ts_wall: float
    """Seconds since the epoch."""
    ts_mono: float
    """Seconds of the monotonic clock of `boot_id`."""
    boot_id: str
    event: Event


def parse_event(kind: str, data: dict[str, Any]) -> Event:
    """The typed event, or `UnknownEvent` for a kind of a newer version. Raises pydantic.ValidationError on bad data."""
    known = _CLASS_OF.get(kind)
    return UnknownEvent(kind=kind, data=data) if known is None else known.model_validate(data)


def dump_event(event: Event) -> dict[str, Any]:
    """The event's data without its kind, JSON-ready."""
    if isinstance(event, UnknownEvent):
        return event.data
    return event.model_dump(mode="json", exclude={"kind"})
