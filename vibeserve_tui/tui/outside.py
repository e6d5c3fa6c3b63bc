"""Threads for questions to the rest of the program, so that a slow probe never holds a key.

They are started before the app lowers its own priority: on Linux a process inherits the niceness of the thread that
starts it, and an engine must never run at the app's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], None]
THREADS = 3


class Outside:
    def __init__(self) -> None:
        self._waiting: SimpleQueue[Work | None] = SimpleQueue()
        for _ in range(THREADS):
            threading.Thread(target=self._work, name="outside", daemon=True).start()

    def do(self, work: Work) -> None:
        """Do this in one of the threads, in the order of asking. Work reports its own faults."""
        self._waiting.put(work)

    def close(self) -> None:
        for _ in range(THREADS):
            self._waiting.put(None)

    def _work(self) -> None:
        while work := self._waiting.get():
            work()
