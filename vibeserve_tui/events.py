"""Everything the engine says, as typed events; a journal line carries exactly one of them.

An event is a fact in the past tense. A client folds them into a `RunState` and never asks the engine
anything else. Unknown fields are ignored and an unknown kind becomes `UnknownEvent`, so an older app can
open a newer run. Units stand in the names: `_s` seconds, `_ms` milliseconds, `_mib` MiB.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, ConfigDict, model_validator

SCHEMA_VERSION = 1


class Value(BaseModel):
    """A frozen part of an event; unknown keys are dropped, not refused: the reader may be older than the writer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


# ---- the nouns ----------------------------------------------------------------------------------------------------


class Outcome(StrEnum):
    """How a round ended."""

    KEPT = "kept"
    REVERTED = "reverted"
    INDECISIVE = "indecisive"
    FAILED = "failed"
    VOID = "void"


class Phase(StrEnum):
    """What the engine is doing now."""

    STARTING = "starting"
    BASELINE = "baseline"
    PLAN = "plan"
    IMPLEMENT = "implement"
    JUDGE = "judge"
    MEASURE = "measure"
    PROFILE = "profile"
    DECIDE = "decide"
    ABLATE = "ablate"
    CONFIRM = "confirm"
    IDLE = "idle"


class IssueType(StrEnum):
    FEATURE = "feature"
    BUG = "bug"
    PERF = "perf"


class IssueStatus(StrEnum):
    OPEN = "open"
    DOING = "doing"
    DONE = "done"
    BLOCKED = "blocked"
    PARKED = "parked"
    ABANDONED = "abandoned"


class MetricRef(Value):
    """One declared metric of the target."""

    name: str
    level: str
    unit: str
    direction: Literal["max", "min"]
    headline: bool = False


class DeviceSummary(Value):
    """The device a run is bound to."""

    id: str
    name: str
    backend: str
    fingerprint: str
    cores: int | None = None
    memory_mib: int | None = None
    capabilities: tuple[str, ...] = ()


class Rate(Value):
    """USD per million tokens of each bucket."""

    input: float
    output: float
    cache_read: float
    cache_write: float


class RateStep(Rate):
    """For requests of more input tokens than `above`, and then for all of their tokens."""

    above: int


class Rates(Rate):
    """What a model cost when the run was ordered."""

    steps: tuple[RateStep, ...] = ()
    """In rising order."""
    source: str = ""


class VoiceSettings(Value):
    """Who answers for a role, and within what limits. It names the variable of a key, never the key."""

    provider: str = "playbook"
    """A file of vibeserve_tui/agents."""
    name: str = ""
    """What the operator called it."""
    model: str = ""
    effort: str = ""
    fallback_models: tuple[str, ...] = ()
    """Tried once each after a refusal."""
    edit_tool: str = ""
    api: str = ""
    """Which of the provider's wires or programs."""
    base_url: str = ""
    api_key_env: str = ""
    auth: Literal["bearer", "x-api-key", "none"] = "bearer"
    context: int | None = None
    """Tokens that the model takes; None = the provider knows, or it shows."""
    usd: float = 3.0
    """Per call of the role, as are turns and wall_s."""
    turns: int = 60
    wall_s: float = 900.0
    prices: dict[str, Rates] = {}
    """By model; what is not here has an unknown price, which is not a price of 0."""


class Allowance(Value):
    """What agents may take; None = no limit."""

    usd: float | None = None
    tokens: int | None = None
    round_usd: float | None = None
    """Of one round, with its planning."""
    round_tokens: int | None = None


class PastTree(Value):
    """What a round of an earlier run left behind."""

    run: str
    round: int
    store: str
    """Path of that run's store."""
    commit: str


class RunPlan(Value):
    """All settings a run was started with; resuming reads them from here and nowhere else."""

    target: str
    target_path: str
    target_digest: str
    title: str = ""
    backend: str = "cpu"
    profile: str = "quick"
    settings: dict[str, Any] = {}
    """The run profile as it was when the run started."""
    policy: str = "agent"
    harvest: bool = False
    """The playbook first takes the recipes that are likely to pay, a model what is left."""
    agents: dict[str, str] = {}
    """Role name to provider name."""
    voices: dict[str, VoiceSettings] = {}
    """Role name to all of its agent's settings."""
    allowance: Allowance = Allowance()
    approval: Literal["auto", "each-round", "on-regression"] = "auto"
    max_rounds: int = 12
    max_minutes: float = 15.0
    seed: int = 0
    """Seeds the planner's tie-breaks; never the judge's or the gate's draws."""
    metrics: tuple[MetricRef, ...] = ()
    use_experience: bool = True
    forbids: tuple[str, ...] = ()
    """What recipes may not do in this run, beyond what the target forbids."""
    model_dir: str = ""
    """Where the weights are, for targets that do not bring them."""
    allow_no_sandbox: bool = False
    asks: bool = False
    """Somebody looks on: an approval waits for ever instead of taking its default at a deadline."""
    compares: tuple[PastTree, ...] = ()
    """Two trees, if nothing is searched for: the second is only measured beside the first."""


class Hypothesis(Value):
    """A task's falsifiable claim."""

    claim: str
    mechanism: str = ""
    metric: str = ""
    expected_low: float = 1.0
    """Expected ratio over the champion, better > 1; low and high bound the expectation."""
    expected_high: float = 1.0
    minimum_effect: float = 1.0
    """Below this ratio the change is not worth its complexity."""
    falsifier: str = ""
    activation: str = ""
    """A recipe's condition over the server's counters, or the name of one that has to rise."""
    id: str = ""
    evidence: tuple[str, ...] = ()
    """Ids of measured figures, profile rows and rounds that it rests on."""
    invariants: tuple[str, ...] = ()
    parent: str = ""
    """Id of the hypothesis that it refines."""


class WhyRow(Value):
    """One piece of evidence behind a choice: what, its value, where it comes from."""

    what: str
    value: str
    source: str = ""


class Issue(Value):
    """An entry of the board. `mechanism` says why it is blocked, parked or abandoned."""

    id: str
    type: IssueType
    title: str
    status: IssueStatus = IssueStatus.OPEN
    priority: int = 2
    """1 is the most urgent, 3 the least."""
    body: str = ""
    mechanism: str = ""
    skill: str = ""
    rounds: tuple[int, ...] = ()
    filed_by: str = "orchestrator"


class RecipeChoice(Value):
    """A recipe with its parameters."""

    skill: str
    params: dict[str, Any] = {}


class TaskPlan(Value):
    """What the policy hands to a round."""

    title: str
    issue: str = ""
    skill: str = ""
    params: dict[str, Any] = {}
    hypothesis: Hypothesis | None = None
    why: tuple[WhyRow, ...] = ()
    parent: int = 0
    """The round whose checkpoint this one starts from."""
    kind: Literal["recipe", "tune", "swap", "ablation", "agent"] = "recipe"
    rebuild: tuple[RecipeChoice, ...] = ()
    """For a swap or an ablation: the whole set, applied to the seed in this order."""
    dropped: tuple[str, ...] = ()
    """What such a rebuild leaves out."""
    version: str = ""
    """Of the recipe."""
    base_capabilities: tuple[str, ...] = ()
    """What the tree it starts from provides."""
    long_shot: bool = False
    """Tried although little is expected, because nothing better is left."""
    instructions: str = ""
    """What an implementer that writes code itself is asked to do."""
    family: str = ""
    """The part of the server that it is about."""
    scope: str = ""
    pass_criteria: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    """Skills to be read before code is written."""
    profile_focus: str = ""
    """What the next look at the profile should answer."""
    inspirations: tuple[int, ...] = ()
    """Other rounds whose ideas a child may take: a second parent, or what a mutator is shown."""


class JudgeStep(Value):
    """One step of the judge's battery, in its order."""

    id: str
    title: str
    passed: bool
    detail: str = ""
    tests: int = 0
    took_ms: float = 0.0
    numbers: dict[str, float] = {}


class Verdict(Value):
    """The judge's answer about one commit."""

    outcome: Literal["pass", "fail", "void"]
    reason: str = ""
    first_failure: str = ""
    steps: tuple[JudgeStep, ...] = ()
    commit: str = ""
    tree: str = ""
    seed: str = ""
    """The private seed, journaled only after the judgement."""
    accuracy_class: str = ""

    @property
    def passed(self) -> bool:
        return self.outcome == "pass"


class Figure(Value):
    """One metric, A (champion or baseline) beside B (candidate). `ratio` > 1 means B is better, in its own direction."""

    metric: str
    level: str
    unit: str
    direction: Literal["max", "min"]
    a: float | None = None
    b: float | None = None
    ratio: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    headline: bool = False
    guard: bool = False
    headroom: float | None = None
    """How many times better B could still get before it meets the physical floor of this device; None = not known."""
    note: str = ""


class Measured(Value):
    """The gate's answer about champion and candidate."""

    outcome: Literal["accepted", "rejected", "indecisive", "void"]
    reason: str
    blocks: int
    figures: tuple[Figure, ...] = ()
    evidence: str = ""
    """Blob of the evidence record from which the decision can be recomputed."""
    fault: str = ""
    """What the judge found wrong with the timed run's own answers; then the figures mean nothing."""
    provisional: bool = False
    checked_twice: bool = False
    took_s: float = 0.0

    @property
    def headline(self) -> Figure | None:
        return next((figure for figure in self.figures if figure.headline), None)


HypothesisOutcome = Literal["proven", "disproven", "inconclusive", "not_active", "implementation_failed", ""]


class ToolCall(Value):
    name: str
    arguments: str = ""
    ok: bool = True
    output: str = ""
    took_s: float = 0.0


class RoundRecord(Value):
    """One finished round: what was tried, what became of it, and why."""

    number: int
    task: TaskPlan
    outcome: Outcome
    reason: str
    attempts: int = 1
    commit: str = ""
    tree: str = ""
    verdict: Verdict | None = None
    measured: Measured | None = None
    fate: Literal["champion", "prerequisite", "discarded", "baseline"] = "discarded"
    hypothesis_outcome: HypothesisOutcome = ""
    files_changed: int = 0
    lines_added: int = 0
    lines_removed: int = 0
    skills: tuple[str, ...] = ()
    """Recipes in the tree after this round, in the order they were applied."""
    took_s: float = 0.0
    decided_by: str = "gate"


# ---- the events ---------------------------------------------------------------------------------------------------


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
    versions: dict[str, str] = {}


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
    values: dict[str, float | None] = {}
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
    phases: dict[str, float] = {}
    """Share of the profiled time by phase, 0..1."""
    operations: dict[str, float] = {}
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
    default: Literal["approve", "revert"]
    deadline_ts: float | None = None
    """Wall-clock time at which the default is taken; None waits for ever."""


class ApprovalDecided(Event):
    kind: Literal["approval_decided"] = "approval_decided"
    views = ("header", "approval", "rounds")
    id: str
    round: int
    action: Literal["approve", "revert", "retry"]
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
            if self.value not in ("auto", "each-round", "on-regression"):
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
    data: dict[str, Any] = {}


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
