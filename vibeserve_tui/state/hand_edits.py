"""Edits that somebody made in the workspace between two rounds: kept in the history, never part of a candidate.

The next attempt starts from a fresh tree, which would wipe them out; and a candidate that somebody helped along by hand
would be credited to its agent. What is edited while an agent works there cannot be told from the agent's own work.
"""

from __future__ import annotations

from vibeserve_tui.errors import RunPaused, WorkspaceError
from vibeserve_tui.state.run import Run


def keep_edit(run: Run) -> RunPaused | None:
    """Why the run should pause: the workspace is not what the last attempt left there. An edit is reported once."""
    left = _left_by_the_last_attempt(run)
    if left is None or not run.dir.workspace.is_dir():
        return None
    try:
        tree = run.store.write_tree(run.dir.workspace)
    except WorkspaceError as error:
        return RunPaused(f"edited by hand, and cannot be kept: {error.what}", where=error.where, fix="take that away")
    known = {left, *(run.store.tree_of(commit) for commit in run.store.refs("edits").values())}
    if tree in known:
        return None
    ref = f"edits/{max(run.state.rounds):03d}/{len(run.store.refs('edits')) + 1}"
    run.store.snapshot(
        run.dir.workspace, ref=ref, parent=run.state.attempts[-1].commit, message="edited by hand",
        when=int(run.state.ts_wall),
    )  # fmt: skip
    return RunPaused(
        f"edited by hand: kept as refs/{ref}, and no part of the run", where=str(run.dir.workspace),
        fix=f"git --git-dir {run.dir.store} show refs/{ref}; vibeserve resume {run.dir.name} goes on without it",
    )  # fmt: skip


def _left_by_the_last_attempt(run: Run) -> str | None:
    """Its tree; None while an attempt is under way, and after one that ended without a commit."""
    state = run.state
    if state.in_flight is not None or not state.attempts:
        return None
    last, record = state.attempts[-1], state.rounds[max(state.rounds)]
    return (
        last.tree
        if (last.round, last.attempt, last.commit) == (record.number, record.attempts, record.commit)
        else None
    )
