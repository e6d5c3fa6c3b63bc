"""issues, memory, rounds and diff: what the run knows about itself, to be read and never written.

Drafts of issues and notes travel in replies, where the engine caps and files them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import Field

from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import Tool, ToolError
from vibeserve_tui.agents.toolbox.arguments import Arguments, told
from vibeserve_tui.agents.toolbox.outputs import Outputs
from vibeserve_tui.metrics import gain_in_words
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state.issues import in_order
from vibeserve_tui.state.workspace import Store

LISTED = 40
LIMIT = 10_000
DIFF_LIMIT = 30_000


class SearchIssues(Arguments):
    query: str = Field(default="", max_length=200, description="words that must all occur; empty lists what is open")
    id: str = Field(default="", max_length=20, description="one issue in full, such as I-3")


class SearchMemory(Arguments):
    query: str = Field(default="", max_length=200, description="words, any of which occurs; empty gives all of it")


class ShowRounds(Arguments):
    number: int | None = Field(default=None, ge=0, description="one round in full; absent lists all")


class ShowDiff(Arguments):
    number: int = Field(ge=0, description="the round")
    against: int | None = Field(default=None, ge=0, description="the other round; absent = the one it started from")


def issues_tool(state: RunState, outputs: Outputs) -> Tool:
    async def issues(arguments: SearchIssues) -> str:
        if arguments.id:
            return outputs.cut(_issue_in_full(state, arguments.id), LIMIT)
        found = [issue for issue in in_order(state.issues.values()) if _fits(issue, arguments.query)]
        lines = [issue_line(issue) for issue in found[:LISTED]]
        if len(found) > LISTED:
            lines.append(f"… and {len(found) - LISTED} more")
        return outputs.cut("\n".join(lines) or "no issue fits", LIMIT)

    return Tool("issues", "Look at the issue board. New issues travel in your reply.", SearchIssues, issues)


def memory_tool(state: RunState, outputs: Outputs) -> Tool:
    async def memory(arguments: SearchMemory) -> str:
        words = arguments.query.lower().split()
        lines = [line for line in state.memory.splitlines() if line]
        found = [line for line in lines if line.startswith("#") or any(word in line.lower() for word in words)]
        return outputs.cut("\n".join(found if words else lines) or "the memory is empty", LIMIT)

    return Tool("memory", "Search what this run has learnt so far.", SearchMemory, memory)


def rounds_tool(state: RunState, outputs: Outputs) -> Tool:
    async def rounds(arguments: ShowRounds) -> str:
        if arguments.number is None:
            lines = [round_line(state.rounds[number]) for number in sorted(state.rounds)]
            return outputs.cut("\n".join(lines) or "no round is finished", LIMIT)
        record = state.rounds.get(arguments.number)
        if record is None:
            raise ToolError(
                f"there is no finished round {arguments.number}; the last is {max(state.rounds, default=0)}"
            )
        return outputs.cut("\n".join(round_in_full(record)), LIMIT)

    return Tool("rounds", "The rounds of this run with what came of them.", ShowRounds, rounds)


def diff_tool(state: RunState, store: Store, outputs: Outputs) -> Tool:
    async def diff(arguments: ShowDiff) -> str:
        record = state.rounds.get(arguments.number)
        against = arguments.against if arguments.against is not None else record.task.parent if record else 0
        older = state.rounds.get(against)
        if record is None or older is None or not record.commit or not older.commit:
            raise ToolError("one of these rounds has no commit")
        with told():
            return outputs.cut(store.diff(older.commit, record.commit) or "no difference", DIFF_LIMIT)

    return Tool("diff", "What a round changed, as a unified diff.", ShowDiff, diff)


# ---- in words -----------------------------------------------------------------------------------------------------


def issue_line(issue: ev.Issue) -> str:
    because = f" – {issue.mechanism}" if issue.mechanism else ""
    rounds = f" (rounds {', '.join(map(str, issue.rounds))})" if issue.rounds else ""
    return f"{issue.id} {issue.type} {issue.status} P{issue.priority}{rounds}: {issue.title}{because}"


def round_line(record: ev.RoundRecord) -> str:
    """`r4 reverted ×1.01 [0.99, 1.03] from r2: title – reason`."""
    figure = record.measured.headline if record.measured else None
    gain = gain_in_words(figure.ratio, figure.ci_low, figure.ci_high, places=3) if figure else ""
    origin = f"from r{record.task.parent}" if record.number else ""
    head = " ".join(filter(None, (f"r{record.number}", record.outcome.value, gain, origin)))
    reason = " ".join(record.reason.split())[:200]
    return f"{head}: {record.task.title} – {reason}"


def round_in_full(record: ev.RoundRecord) -> Iterator[str]:
    task, hypothesis = record.task, record.task.hypothesis
    yield round_line(record)
    yield f"outcome {record.outcome.value}, decided by {record.decided_by}, after {record.attempts} attempt(s): {record.reason}"
    if task.skill:
        yield f"recipe {task.skill} {dict(task.params)}"
    if task.instructions:
        yield f"task: {task.instructions}"
    if hypothesis is not None:
        yield f"hypothesis: {hypothesis.claim}; {record.hypothesis_outcome or 'not settled'}; falsifier: {hypothesis.falsifier}"
    yield from (f"why: {row.what} = {row.value} {row.source}".rstrip() for row in task.why)
    for step in record.verdict.steps if record.verdict else ():
        yield f"judge {step.id} {step.title}: {'passed' if step.passed else 'FAILED'} {step.detail}".rstrip()
    for figure in record.measured.figures if record.measured else ():
        yield f"measured {figure_in_words(figure)}"
    yield f"diff: {record.files_changed} files, +{record.lines_added} −{record.lines_removed}; took {record.took_s:.0f} s"
    if record.skills:
        yield f"recipes in the tree: {', '.join(record.skills)}"


def figure_in_words(figure: ev.Figure) -> str:
    """Metric, both sides, and the ratio, which is > 1 where the candidate is better."""
    level = f" at {figure.level}" if figure.level else ""
    sides = f"{_number(figure.a)} → {_number(figure.b)} {figure.unit}"
    if figure.ratio is None:
        return f"{figure.metric}{level}: {sides}"
    return f"{figure.metric}{level}: {sides}, {gain_in_words(figure.ratio, figure.ci_low, figure.ci_high, places=3)}"


def _number(value: float | None) -> str:
    return "not reported" if value is None else f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def _issue_in_full(state: RunState, name: str) -> str:
    issue = state.issues.get(name)
    if issue is None:
        raise ToolError(f"there is no issue {name!r}")
    return "\n".join(filter(None, (issue_line(issue), f"filed by {issue.filed_by}", issue.body)))


def _fits(issue: ev.Issue, query: str) -> bool:
    if not query:
        return issue.status in (ev.IssueStatus.OPEN, ev.IssueStatus.DOING)
    text = f"{issue.id} {issue.title} {issue.body} {issue.skill} {issue.mechanism}".lower()
    return all(word in text for word in re.split(r"[\s,]+", query.lower()) if word)
