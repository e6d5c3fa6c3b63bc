"""A run that searches for nothing: what two earlier runs ended with, judged anew and measured beside one another.

The first tree stands where other runs have the seed, the second is the only round's candidate. Judge, gate and
confirmation are those of every run; no agent is asked.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from vibeserve_tui import events as ev
from vibeserve_tui.round import Work, commit_attempt
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.workspace import Store


def title_of(tree: ev.PastTree) -> str:
    return f"r{tree.round} of {tree.run}"


def fetch(tree: ev.PastTree, folder: Path) -> Path:
    """Write the tree into a folder. Raises WorkspaceError when the other run's store has it no more."""
    Store(Path(tree.store)).checkout(tree.commit, folder)
    return folder


class Fetcher:
    """Stands where the implementer stands: it brings the second tree and writes nothing itself."""

    def __init__(self, run: Run, tree: ev.PastTree) -> None:
        self._run, self._tree = run, tree

    async def implement(self, work: Work) -> ev.AttemptCommitted:
        return await asyncio.to_thread(self._commit, work)

    def _commit(self, work: Work) -> ev.AttemptCommitted:
        fetch(self._tree, self._run.dir.workspace)
        message = f"round {work.round}: {work.task.title}"
        return commit_attempt(self._run, work, message=message, when=int(self._run.state.started_wall))


class OneRound:
    """The policy: the second tree, and nothing after it."""

    def __init__(self, run: Run, tree: ev.PastTree) -> None:
        self._run, self._tree = run, tree

    async def plan(self, *, rounds_left: int, seconds_left: float) -> ev.TaskPlan | str:
        del rounds_left, seconds_left
        if len(self._run.state.rounds) > 1:
            return "both are measured beside one another"
        return ev.TaskPlan(title=title_of(self._tree), kind="agent")

    def fate(self, record: ev.RoundRecord) -> ev.RoundRecord:
        return record

    def lessons(self, record: ev.RoundRecord) -> list[ev.Event]:
        del record
        return []
