"""What a role answers, as schemas; every provider fills in the same ones.

No reply has a field for a measured value: figures come from processes that the engine runs. Every text is capped, and
unknown keys are refused, because a reply is foreign input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model, model_validator

from vibeserve_tui.events import IssueType, TaskPlan

Word = Annotated[str, StringConstraints(max_length=100)]
Short = Annotated[str, StringConstraints(max_length=300)]
Long = Annotated[str, StringConstraints(max_length=8000)]
Said = Annotated[str, StringConstraints(min_length=1, max_length=300)]
"""A short text that may not be missing."""
Counter = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9_]{0,60})?$")]
"""Name of a counter in the server's /health, or ""."""
Family = Literal["launch", "model", "kv", "kernel", "dtype", "schedule", "sample", "grammar", "http"]
"""The part of a server that a change is about; the layers of recipes."""
Scope = Literal["local", "structural"]
Bottleneck = Literal[
    "model", "attention", "kv", "sample", "tokenize", "http", "schedule", "python", "kernel_launch", "memory_bandwidth",
    "compute", "synchronisation", "input", "idle", "mixed", "other",
]  # fmt: skip


class Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Some = TypeVar("Some", bound=Reply)


def checked(schema: type[Some], faults: Callable[[Some], Iterable[str]]) -> type[Some]:
    """The schema, also refusing what does not fit this run: the agent hears it while it can still mend its answer."""

    def fits(reply: Some) -> Some:
        if found := "; ".join(faults(reply)):
            raise ValueError(found)
        return reply

    validators: dict[str, Any] = {"fits": model_validator(mode="after")(fits)}
    return create_model(schema.__name__, __base__=schema, __doc__=schema.__doc__, __validators__=validators)


# ---- issues -------------------------------------------------------------------------------------------------------


class IssueDraft(Reply):
    """A task for later. Whoever files it says what speaks for it, each kind of evidence by itself."""

    type: IssueType = IssueType.PERF
    title: Said
    background: Long = ""
    acceptance: tuple[Short, ...] = Field(default=(), max_length=8)
    """What must be true when it is done, checkable by a machine."""
    code_evidence: Short = ""
    """File and line."""
    metric_evidence: Short = ""
    """Ids of measured figures."""
    profile_evidence: Short = ""
    """Ids of rows of the profile."""
    expected_effect: Short = ""
    effort: Literal["S", "M", "L"] = "M"
    scope: Scope = "local"
    skill: Word = ""
    priority: int = Field(default=2, ge=1, le=3)
    """1 is the most urgent."""
    blocked_because: Long = ""
    """Why it cannot be worked on now; empty = it can."""

    @property
    def body(self) -> str:
        """As the board shows it."""
        lines = [self.background] if self.background else []
        if self.acceptance:
            lines += ["", "Done when:", *(f"- {criterion}" for criterion in self.acceptance)]
        known = {
            "code": self.code_evidence, "metric": self.metric_evidence, "profile": self.profile_evidence,
            "expected": self.expected_effect,
        }  # fmt: skip
        if any(known.values()):
            lines += ["", *(f"{name}: {text}" for name, text in known.items() if text)]
            lines.append(f"effort {self.effort}, {self.scope}")
        return "\n".join(lines).strip()


# ---- orchestrator -------------------------------------------------------------------------------------------------


class Hypothesis(Reply):
    """A claim that a measurement can prove wrong. Ratios are over the champion; > 1 = better, whatever the metric."""

    claim: Said
    mechanism: Long = ""
    """Why it should be so: what the machine does less of."""
    evidence: tuple[Word, ...] = Field(default=(), max_length=12)
    """Ids of what it rests on, as they stand in the prompt: m:… p:… r:…"""
    metric: Word = ""
    activation: Counter = ""
    """Counter that must have risen after load, else the change never ran."""
    falsifier: Said
    expected_low: float = Field(gt=0, le=1000)
    expected_high: float = Field(gt=0, le=1000)
    minimum_effect: float = Field(default=1.02, ge=1, le=1000)
    """Below this ratio the change is not worth its complexity."""
    invariants: tuple[Short, ...] = Field(default=(), max_length=8)
    """What must stay as it is."""
    parent: Word = ""
    """Id of the hypothesis that this one refines."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.expected_low > self.expected_high:
            raise ValueError("expected_low is above expected_high")
        if self.expected_high < self.minimum_effect:
            raise ValueError("expects less than its own minimum_effect: not worth a round")
        return self


class RecipeUse(Reply):
    """A recipe of the library, to be applied as it is."""

    id: Word
    params: dict[Word, bool | int | float | Word] = {}


class PlanReply(Reply):
    """What every answer of an orchestrator has: one task, or the reason to stop."""

    action: Literal["task", "stop"]
    backlog: tuple[IssueDraft, ...] = Field(default=(), max_length=200)
    """What could be done later; drafts whose title is on the board already are dropped."""
    stop_reason: Long = ""


class PreparedPlan(PlanReply):
    """The playbook's answer: the task already worked out, with its parameters and reasons."""

    task: TaskPlan | None = None


class RoundPlan(PlanReply):
    """A model's answer: one task with a falsifiable hypothesis, in words or as a recipe."""

    title: Short = ""
    task: Long = ""
    """What the implementer is asked to do. With a recipe it may stay empty."""
    hypothesis: Hypothesis | None = None
    family: Family | None = None
    scope: Scope = "local"
    pass_criteria: tuple[Short, ...] = Field(default=(), max_length=8)
    """Checkable by a machine; of speed only the headline metric, end to end."""
    skills: tuple[Word, ...] = Field(default=(), max_length=6)
    """What the implementer has to read before it writes code."""
    recipe: RecipeUse | None = None
    issue_id: Word = ""
    """The entry of the board that this task is; empty files a new one."""
    base: int | None = Field(default=None, ge=0)
    """The round to start from; absent = the champion."""
    profile_focus: Short = ""
    """What the next look at the profile should answer."""
    notes: tuple[Short, ...] = Field(default=(), max_length=6)
    """Worth remembering for the rest of the run."""
    reasoning: Long = ""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.action == "stop" and not self.stop_reason:
            raise ValueError("stop needs a stop_reason")
        if self.action == "task":
            if missing := [name for name in ("title", "hypothesis", "family") if not getattr(self, name)]:
                raise ValueError(f"a task needs {', '.join(missing)}")
            if not self.task and self.recipe is None:
                raise ValueError("a task needs words (task) or a recipe")
            if not self.pass_criteria and self.recipe is None:
                raise ValueError("a task needs pass_criteria")
        return self


# ---- implementer and mutator --------------------------------------------------------------------------------------


class FileNote(Reply):
    """One changed file. The list is compared with the diff, never believed."""

    path: Short
    why: Short = ""


class LocalCheck(Reply):
    """A quick check of the implementer's own, which the engine runs in the candidate's box before it judges."""

    name: Said
    argv: tuple[Short, ...] = Field(min_length=1, max_length=32)
    """`{python}` stands for the interpreter; the working directory is the workspace."""
    timeout_s: float = Field(default=60.0, gt=0, le=300)
    purpose: Short = ""


class ImplReport(Reply):
    """The implementer's answer."""

    summary: Long
    changes: tuple[FileNote, ...] = Field(default=(), max_length=200)
    skills_read: tuple[Word, ...] = Field(default=(), max_length=20)
    activation_added: Counter = ""
    """Counter that proves the change ran."""
    local_checks: tuple[LocalCheck, ...] = Field(default=(), max_length=8)
    deviations: Long = ""
    """Where the work differs from what was asked, and why."""
    follow_ups: tuple[IssueDraft, ...] = Field(default=(), max_length=5)
    gave_up: Long = ""
    """Why nothing came of it; then nothing is committed."""


class MutationReport(Reply):
    """The mutator's answer: exactly one change of the parent, at most one idea taken from another candidate."""

    summary: Long
    hypothesis: Hypothesis
    kind: Literal["add", "drop", "tune", "swap", "rewrite"]
    parent: int = Field(ge=0)
    inspiration: int | None = Field(default=None, ge=0)
    changes: tuple[FileNote, ...] = Field(default=(), max_length=200)


# ---- judge --------------------------------------------------------------------------------------------------------

Suspicion = Literal[
    "", "no_forward_pass", "stored_answers", "skipped_work", "cheaper_model", "relabelled_errors", "split_or_merged_chunks",
    "branches_on_evaluator", "frozen_counter", "touches_clock", "hidden_process", "hidden_data", "state_across_starts",
]  # fmt: skip


class Criterion(Reply):
    text: Short
    met: bool
    evidence: Short = ""


class Finding(Reply):
    """One place in the diff and what is wrong with it."""

    severity: Literal["blocking", "major", "minor"]
    category: Word
    path: Short
    lines: tuple[int, int]
    """First and last line of the new file."""
    claim: Long
    how_to_reproduce: Long = ""


class JudgeReport(Reply):
    """A reviewer's answer. It may only veto what passed every test, and only with a place in the diff."""

    verdict: Literal["pass", "veto"]
    criteria: tuple[Criterion, ...] = Field(default=(), max_length=12)
    findings: tuple[Finding, ...] = Field(default=(), max_length=20)
    suspicion: Suspicion = ""
    feedback: Long = ""
    """For the implementer's next attempt."""
    bug: IssueDraft | None = None
    """At most one, and only of what lies outside this task."""

    @model_validator(mode="after")
    def _reasons(self) -> Self:
        if self.verdict == "veto" and not any(finding.severity == "blocking" for finding in self.findings):
            raise ValueError("a veto needs a blocking finding with path and lines")
        return self


# ---- evaluator ----------------------------------------------------------------------------------------------------


class Hint(Reply):
    """Something that the measurements suggest."""

    code: Word
    evidence: tuple[Word, ...] = Field(min_length=1, max_length=8)
    """Ids of figures and profile rows."""
    skills: tuple[Word, ...] = Field(default=(), max_length=6)


class PerfReport(Reply):
    """The evaluator's reading of figures and profile, as references to them: no number of its own."""

    bottleneck: Bottleneck
    limiting_resource: dict[Word, Short] = {}
    """Level to what limits it there."""
    hints: tuple[Hint, ...] = Field(default=(), max_length=12)
    issues: tuple[IssueDraft, ...] = Field(default=(), max_length=3)
    reading: Long = ""
    """Prose. Figures are written as their ids (m:… p:… r:…), which are replaced by what was measured."""
    next_profile: Short = ""


# ---- questions ----------------------------------------------------------------------------------------------------


class Answer(Reply):
    """The answer to a person's question about a run."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=8000)]
    rounds: tuple[int, ...] = Field(default=(), max_length=50)
    """The rounds that it rests on."""
