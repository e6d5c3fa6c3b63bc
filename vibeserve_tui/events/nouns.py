"""What events speak of: a run's plan, a task, a verdict, a figure, a round. None of these is an event by itself.

Units stand in the names: `_s` seconds, `_ms` milliseconds, `_mib` MiB.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

ApprovalMode = Literal["auto", "each-round", "on-regression"]
"""Who has the last word on a measured round: the gate, the operator, or the operator where something else got worse."""
Action = Literal["approve", "revert", "retry"]
"""What may become of a round that waits for an answer."""
Default = Literal["approve", "revert"]
"""What becomes of it when nobody answers: what the gate would have done."""


class Value(BaseModel):
    """A frozen part of an event; unknown keys are dropped, not refused: the reader may be older than the writer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


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
    """Role name to who plays it: a provider, or what the operator called one."""
    voices: dict[str, VoiceSettings] = {}
    """Role name to all of its agent's settings."""
    allowance: Allowance = Allowance()
    approval: ApprovalMode = "auto"
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
