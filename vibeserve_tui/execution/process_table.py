"""The launcher's descendants: found, looked at, signalled and killed as trees.

Trees are followed by the system's own lists of children, so the cost is that of the box and not of the machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

from vibeserve_tui.execution.process_facts import Process

if sys.platform == "darwin":
    from vibeserve_tui.execution.darwin_processes import (
        children,
        command_line,
        count_tasks,
        listeners,
        listens_to_others,
        marked,
        nameless_bytes,
        read,
    )
else:
    from vibeserve_tui.execution.linux_processes import (
        children,
        command_line,
        count_tasks,
        listeners,
        listens_to_others,
        marked,
        nameless_bytes,
        read,
    )

_PATIENCE_S = 30.0

__all__ = [
    "children", "command_line", "count_tasks", "descendants", "kill_descendants", "listeners", "listens_to_others",
    "marked", "nameless_bytes", "read", "read_tree", "signal_descendants",
]  # fmt: skip


def descendants(pid: int) -> list[int]:
    """All below `pid`, parents first."""
    found = children(pid)
    for child in found:  # grows while it is walked
        found += children(child)
    return found


def read_tree(pid: int) -> list[Process]:
    """`pid` and all below."""
    return [process for process in map(read, (pid, *descendants(pid))) if process is not None]


def signal_descendants(pid: int, number: signal.Signals) -> None:
    """Reach all below `pid`, those included that are forked meanwhile by one not yet reached."""
    reached: set[int] = set()
    while fresh := [child for child in descendants(pid) if child not in reached]:
        for child in fresh:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, number)
        reached.update(fresh)


def kill_descendants(pid: int) -> None:
    """Kill all below the caller's own process `pid` and reap them; stopped first, so that none can fork.

    What cannot be killed is given up: it is stuck in the kernel, or, where nothing is isolated, another user's by now.
    """
    end = time.monotonic() + _PATIENCE_S
    while descendants(pid) and time.monotonic() < end:
        signal_descendants(pid, signal.SIGSTOP)
        signal_descendants(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.001)
