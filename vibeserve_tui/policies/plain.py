"""The plain policy: works off the issue board, one issue a round, and looks for more only when nothing is open.

Bugs come before features and features before gains, then priority, then age. What fails as often as the profile allows is
blocked with its reason. When the board is empty, the orchestrator files a few further issues, once; when it has none,
or when all that is left is blocked, the search is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import Role
from vibeserve_tui.agents.replies import IssueDraft, PlanReply, PreparedPlan, RoundPlan
from vibeserve_tui.errors import AgentError
from vibeserve_tui.inputs.profiles import Plain, RunProfile
from vibeserve_tui.roles.filing import issue_of
from vibeserve_tui.roles.orchestrator import Orchestrator
from vibeserve_tui.state import issues
from vibeserve_tui.state.lessons import in_words, remembered, settled
from vibeserve_tui.state.pace import too_late
from vibeserve_tui.state.run import Run

ASKS = Role.ORCHESTRATOR
URGENCY = (ev.IssueType.BUG, ev.IssueType.FEATURE, ev.IssueType.PERF)
REQUESTS = 3
"""Answers of an orchestrator that may be unusable before nothing further is filed."""


class Policy:
    def __init__(self, run: Run, orchestrator: Orchestrator) -> None:
        self._run = run
        self._orchestrator = orchestrator

    async def plan(self, *, rounds_left: int, seconds_left: float) -> ev.TaskPlan | str:
        if rounds_left < 1:
            return "the rounds are used up"
        if reason := too_late(self._run.state, seconds_left):
            return reason
        task = await self._next(rounds_left, seconds_left)
        if task is not None:
            return task
        reason = await self._file_further(rounds_left, seconds_left)
        return await self._next(rounds_left, seconds_left) or self._why_over(reason)

    # ---- draining -----------------------------------------------------------------------------------------------

    async def _next(self, rounds_left: int, seconds_left: float) -> ev.TaskPlan | None:
        """The first issue that can be worked on, as a task; those before it that cannot are blocked."""
        for issue in self._waiting():
            if issue.skill and issue.skill in self._present():
                self._run.emit(issues.settle(issue, ev.IssueStatus.DONE))
                continue
            plan = await self._orchestrator.plan_for(issue, rounds_left=rounds_left, seconds_left=seconds_left)
            if plan.task is not None:
                self._run.emit(issues.start(issue, max(self._run.state.rounds) + 1))
                return plan.task.model_copy(update={"issue": issue.id})
            self._run.emit(issues.settle(issue, ev.IssueStatus.BLOCKED, plan.stop_reason))
        return None

    def _waiting(self) -> list[ev.Issue]:
        """Also what was begun: an engine that is killed between two records leaves an issue behind as being done."""
        ready = (ev.IssueStatus.OPEN, ev.IssueStatus.DOING)
        waiting = [issue for issue in self._run.state.issues.values() if issue.status in ready]
        return sorted(waiting, key=lambda issue: (URGENCY.index(issue.type), issue.priority, _age(issue)))

    def _present(self) -> tuple[str, ...]:
        """The recipes in the champion's tree: what a step towards another issue needed may have been an issue itself."""
        champion = self._run.state.champion_record
        return champion.skills if champion else ()

    # ---- filing -------------------------------------------------------------------------------------------------

    async def _file_further(self, rounds_left: int, seconds_left: float) -> str:
        """File what the orchestrator would do next; the reason why there is nothing, else ""."""
        fault = ""
        for _ in range(REQUESTS):
            try:
                reply = await self._orchestrator.plan(rounds_left=rounds_left, seconds_left=seconds_left, fault=fault)
            except AgentError as error:
                fault = str(error)
                self._run.emit(ev.Warned(text=f"nothing was filed: {fault}"))
                continue
            if self._file(_drafts(reply)):
                return ""
            return reply.stop_reason or "the orchestrator has nothing that is new"
        return f"the orchestrator filed nothing in {REQUESTS} attempts: {fault}"

    def _file(self, drafts: Iterable[IssueDraft]) -> bool:
        """File as many as the settings allow, all at once: a crash must not leave a part of what was planned together."""
        board, filed = dict(self._run.state.issues), list[ev.IssueChanged]()
        for draft in drafts:
            change = _filed(board, draft) if len(filed) < self._settings().further else None
            if change is not None:
                board[change.issue.id] = change.issue
                filed.append(change)
        if filed:
            self._run.emit(*filed)
        return bool(filed)

    def _why_over(self, reason: str) -> str:
        """In words; what is blocked stands for itself, so that a person can unblock it."""
        blocked = [issue for issue in self._run.state.issues.values() if issue.status is ev.IssueStatus.BLOCKED]
        reasons = "; ".join(f"{issue.id} {issue.title}: {issue.mechanism}" for issue in sorted(blocked, key=_age))
        left = f"all that is left on the board is blocked ({reasons})" if blocked else "no issue is open"
        return f"{left}, and no further one was filed: {reason}" if reason else left

    # ---- learning -----------------------------------------------------------------------------------------------

    def fate(self, record: ev.RoundRecord) -> ev.RoundRecord:
        """A neutral link is spared for the recipe behind it, which the same issue asks for next."""
        spared = record.outcome is not ev.Outcome.KEPT and self._is_link(record) and self._orchestrator.spares(record)
        return record.model_copy(update={"fate": "prerequisite"}) if spared else record

    def lessons(self, record: ev.RoundRecord) -> list[ev.Event]:
        issue = self._run.state.issues.get(record.task.issue)
        learnt = [self._settled(issue, record)] if issue is not None else []
        return [*learnt, *remembered(self._run, record)]

    def _settled(self, issue: ev.Issue, record: ev.RoundRecord) -> ev.IssueChanged:
        if record.decided_by == "operator" and record.outcome is not ev.Outcome.KEPT:
            return settled(issue, record)  # turned down by a person
        if self._is_link(record) or self._may_return(issue, record):
            return issues.settle(issue, ev.IssueStatus.OPEN)
        if record.outcome is ev.Outcome.FAILED:
            return issues.settle(issue, ev.IssueStatus.BLOCKED, in_words(record))
        return settled(issue, record)

    def _is_link(self, record: ev.RoundRecord) -> bool:
        """Whether the round was only a step towards the recipe that its issue asks for."""
        issue = self._run.state.issues.get(record.task.issue)
        return issue is not None and bool(issue.skill) and record.task.skill != issue.skill

    def _may_return(self, issue: ev.Issue, record: ev.RoundRecord) -> bool:
        """Wrong code may be written anew as often as the profile allows; a void measurement may be made once more."""
        rounds = self._run.state.rounds
        earlier = [rounds[n] for n in issue.rounds if n in rounds and n != record.number]
        if record.outcome is ev.Outcome.VOID:
            return not any(before.outcome is ev.Outcome.VOID for before in earlier)
        failed = [one for one in (*earlier, record) if one.outcome is ev.Outcome.FAILED]
        left = sum(one.attempts for one in failed) < self._attempts()
        return record.outcome is ev.Outcome.FAILED and record.task.kind == "agent" and left

    # ---- settings -----------------------------------------------------------------------------------------------

    def _settings(self) -> Plain:
        plan = self._run.state.plan
        return Plain.model_validate(plan.settings.get("plain", {}) if plan else {})

    def _attempts(self) -> int:
        plan = self._run.state.plan
        attempts: int = (plan.settings if plan else {}).get("attempts", RunProfile.model_fields["attempts"].default)
        return attempts


def _age(issue: ev.Issue) -> int:
    return int(issue.id.removeprefix("I-"))


def _filed(board: Mapping[str, ev.Issue], draft: IssueDraft) -> ev.IssueChanged | None:
    """The draft on the board, or an issue open again where a recipe that did not make it may return."""
    known = next((i for i in board.values() if i.title == draft.title and i.skill == draft.skill), None)
    if known is None:
        return issues.file_issue(board, issue_of(draft, "orchestrator"))
    # A model may forget what it proposed; the planner knows what was tried, and on which tree.
    again = known.model_copy(update={"status": ev.IssueStatus.OPEN, "mechanism": ""})
    return ev.IssueChanged(issue=again) if draft.skill else None


def _drafts(reply: PlanReply) -> Iterator[IssueDraft]:
    """What the orchestrator would do next comes first, then its backlog; nothing that is a mere guess."""
    match reply:
        case PreparedPlan(task=ev.TaskPlan() as task) if task.kind in ("recipe", "swap") and not task.long_shot:
            claim = task.hypothesis.claim if task.hypothesis else ""
            yield IssueDraft(title=task.title, skill=task.skill, background=claim, priority=1)
        case RoundPlan(action="task"):
            yield _draft_of(reply)
        case _:
            return
    for draft in reply.backlog:
        if not draft.blocked_because:
            yield draft


def _draft_of(plan: RoundPlan) -> IssueDraft:
    return IssueDraft(
        title=plan.title,
        skill=plan.recipe.id if plan.recipe else "",
        background=plan.task,
        acceptance=plan.pass_criteria,
        expected_effect=plan.hypothesis.claim if plan.hypothesis else "",
        scope=plan.scope,
        priority=1,
    )
