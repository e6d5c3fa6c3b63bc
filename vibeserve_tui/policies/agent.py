"""The issue-tracker policy: an orchestrator plans each round, the board and the memory keep what was learnt.

Every idea is an issue with a status; what did not work keeps its mechanism, so that it is neither forgotten nor tried
again for no reason. A neutral change may be spared when it opens the way to something better. With harvesting on, the
playbook takes the recipes that are likely to pay, and the model what is left.
"""

from __future__ import annotations

from collections.abc import Iterable

from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import Role
from vibeserve_tui.agents.replies import IssueDraft, PlanReply, RoundPlan
from vibeserve_tui.errors import AgentError
from vibeserve_tui.roles.filing import issue_for, issue_of
from vibeserve_tui.roles.orchestrator import Orchestrator
from vibeserve_tui.state import issues, memory
from vibeserve_tui.state.lessons import remembered, settled
from vibeserve_tui.state.run import Run

ASKS = Role.ORCHESTRATOR
PLANS = 3
"""Answers of an orchestrator that may be unusable before the search ends with what it has."""


class Policy:
    def __init__(self, run: Run, orchestrator: Orchestrator) -> None:
        self._run = run
        self._orchestrator = orchestrator

    async def plan(self, *, rounds_left: int, seconds_left: float) -> ev.TaskPlan | str:
        fault = ""
        for _ in range(PLANS):
            try:
                reply = await self._next(rounds_left, seconds_left, fault)
            except AgentError as error:
                fault = str(error)
                self._run.emit(ev.Warned(text=f"no plan: {fault}"))
                continue
            return self._taken(reply)
        return f"the orchestrator gave no plan in {PLANS} attempts: {fault}"

    async def _next(self, rounds_left: int, seconds_left: float, fault: str) -> PlanReply:
        if self._harvests() and not fault:
            prepared = await self._orchestrator.harvest(rounds_left=rounds_left, seconds_left=seconds_left)
            if prepared is not None:
                self._file_all(prepared.backlog)
            if prepared is not None and prepared.task is not None:
                return prepared
        return await self._orchestrator.plan(rounds_left=rounds_left, seconds_left=seconds_left, fault=fault)

    def _harvests(self) -> bool:
        plan = self._run.state.plan
        return plan is not None and plan.harvest

    def _taken(self, reply: PlanReply) -> ev.TaskPlan | str:
        self._file_all(reply.backlog)
        notes, named = (reply.notes, reply.issue_id) if isinstance(reply, RoundPlan) else ((), "")
        for note in notes:
            self._run.note(memory.IDEAS, note)
        task = self._orchestrator.task_of(reply)
        if task is None:
            return reply.stop_reason or "the orchestrator has no further idea"
        issue = issue_for(self._run, task, named)
        number = max(self._run.state.rounds, default=0) + 1
        self._run.emit(issues.start(issue, number))
        return task.model_copy(update={"issue": issue.id})

    def fate(self, record: ev.RoundRecord) -> ev.RoundRecord:
        spared = record.outcome is not ev.Outcome.KEPT and self._orchestrator.spares(record)
        return record.model_copy(update={"fate": "prerequisite"}) if spared else record

    def lessons(self, record: ev.RoundRecord) -> list[ev.Event]:
        state = self._run.state
        found: list[ev.Event] = []
        issue = state.issues.get(record.task.issue)
        if issue is not None:
            found.append(settled(issue, record))
        return [*found, *remembered(self._run, record)]

    def _file_all(self, drafts: Iterable[IssueDraft]) -> None:
        for draft in drafts:
            self._file(draft)

    def _file(self, draft: IssueDraft) -> None:
        """File a draft once; a blocked one opens as soon as nothing blocks it any more, and the reverse."""
        known = next(
            (i for i in self._run.state.issues.values() if i.skill == draft.skill and i.title == draft.title), None
        )
        wanted = issue_of(draft, "orchestrator")
        if known is None:
            filed = issues.file_issue(self._run.state.issues, wanted)
            if filed:
                self._run.emit(filed)
        elif known.status in (ev.IssueStatus.OPEN, ev.IssueStatus.BLOCKED) and known.filed_by == "orchestrator":
            changed = known.model_copy(
                update={"status": wanted.status, "mechanism": wanted.mechanism, "priority": wanted.priority}
            )
            if changed != known:
                self._run.emit(ev.IssueChanged(issue=changed))
