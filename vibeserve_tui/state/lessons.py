"""What a finished round teaches: the sentence for the memory, and the status in which its issue leaves the work.

Shared by all policies, so that board and memory read the same whichever of them searched.
"""

from __future__ import annotations

from vibeserve_tui import events as ev
from vibeserve_tui.state import issues, memory
from vibeserve_tui.state.run import Run

_HEADINGS = {
    ev.Outcome.KEPT: memory.WORKS,
    ev.Outcome.REVERTED: memory.DEAD_ENDS,
    ev.Outcome.FAILED: memory.DEAD_ENDS,
    ev.Outcome.INDECISIVE: memory.UNCLEAR,
    ev.Outcome.VOID: memory.UNCLEAR,
}
_STATUS = {
    ev.Outcome.KEPT: ev.IssueStatus.DONE,
    ev.Outcome.REVERTED: ev.IssueStatus.ABANDONED,
    ev.Outcome.FAILED: ev.IssueStatus.ABANDONED,
    ev.Outcome.INDECISIVE: ev.IssueStatus.PARKED,
    ev.Outcome.VOID: ev.IssueStatus.PARKED,
}


def remembered(run: Run, record: ev.RoundRecord) -> list[ev.Event]:
    """The round as one more line of the memory."""
    line = f"r{record.number} {record.task.title}: {in_words(record)}"
    return run.noted(heading_of(record), line)


def heading_of(record: ev.RoundRecord) -> str:
    """Where the memory keeps the round. What only the operator did not want was never shown to be a dead end."""
    found_wanting = record.measured is not None and record.measured.outcome != "accepted"
    if record.outcome is ev.Outcome.REVERTED and record.decided_by == "operator" and not found_wanting:
        return memory.UNCLEAR
    return _HEADINGS[record.outcome]


def settled(issue: ev.Issue, record: ev.RoundRecord) -> ev.IssueChanged:
    """The issue of the round, done or given up with the round's result as the reason."""
    status = _STATUS[record.outcome]
    return issues.settle(issue, status, "" if status is ev.IssueStatus.DONE else in_words(record))


def in_words(record: ev.RoundRecord) -> str:
    """`×1.41 [1.39, 1.44] on output_throughput at c16, kept`, or the reason why there is no figure."""
    figure = record.measured.headline if record.measured else None
    if figure is None or figure.ratio is None:
        return f"{record.outcome.value}: {record.reason}"
    gain = f"×{figure.ratio:.2f}"
    if figure.ci_low is not None and figure.ci_high is not None:
        gain += f" [{figure.ci_low:.2f}, {figure.ci_high:.2f}]"
    spared = ", spared because it opens the way to more" if record.fate == "prerequisite" else ""
    params = ", ".join(f"{name}={value}" for name, value in record.task.params.items())
    return (
        f"{gain} on {figure.metric} at {figure.level}, {record.outcome.value}{spared}{f' ({params})' if params else ''}"
    )
